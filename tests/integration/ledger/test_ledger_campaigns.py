"""Campaigns are paused, resumed, cancelled, retried, finished and found."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.errors import CampaignNotFound, InvalidInput, WrongState
from bulksend.ledger import (
    campaign_control,
    campaign_retry,
    campaigns,
    messages,
    operator_log,
    pauses,
    suppressions,
    templates,
)
from bulksend.ledger.campaign_control import Cancelled
from bulksend.ledger.campaign_retry import Counted
from bulksend.ledger.intake import IntakeConflict
from bulksend.ledger.templates import TemplateChange
from bulksend.messaging.outcome import Accepted, NotSent, Refused, Unknown
from bulksend.messaging.states import CampaignStatus, Kind, OnUnknown, Status
from bulksend.operations.campaign_settings import preview_retry

BY = {"actor": "ada", "why": "because"}
REFUSED, UNKNOWN = Refused("17009", "no such template"), Unknown("ReadTimeout")
NONE = (0, False)


def campaign_of(desk: Any, id: str) -> str:
    return str(desk.row(id)["campaign_id"])


def failed(desk: Any, kind: Kind = Kind.MARKETING, **of: Any) -> str:
    (id,) = desk.queued(kind, **of)
    (opening,) = desk.sent(desk.lease(), [id])
    desk.settle(opening, REFUSED)
    return str(id)


# -- pause, resume ---------------------------------------------------------------------------------------------


def test_pausing_and_resuming_a_campaign_is_logged_once(desk: Any) -> None:
    (id,) = desk.queued()
    campaign = campaign_of(desk, id)
    assert desk.write(pauses.pause_campaign, campaign, **BY) is True
    assert desk.write(pauses.pause_campaign, campaign, **BY) is False
    paused = desk.read(campaigns.get, campaign)
    assert (paused.status, paused.pause_why) == (CampaignStatus.PAUSED, "because")
    assert desk.write(pauses.resume_campaign, campaign, **BY) is True
    assert desk.write(pauses.resume_campaign, campaign, **BY) is False
    resumed = desk.read(campaigns.get, campaign)
    assert (resumed.status, resumed.paused_at, resumed.pause_why) == (CampaignStatus.RUNNING, None, None)
    assert [act.act for act in desk.read(operator_log.of, "campaign", campaign)] == [
        "create",
        "pause",
        "resume",
    ]


def test_a_campaign_paused_during_intake_stores_rows_and_stays_paused(desk: Any) -> None:
    campaign = desk.campaign()
    desk.write(pauses.pause_campaign, campaign.id, **BY)
    (id,) = desk.take(campaign, desk.new_message(1)).ready
    desk.write(campaigns.finish_intake, campaign.id)
    assert desk.read(campaigns.get, campaign.id).status is CampaignStatus.PAUSED
    assert desk.claim(desk.lease(), [id]) == []
    desk.write(pauses.resume_campaign, campaign.id, **BY)
    assert desk.read(campaigns.get, campaign.id).status is CampaignStatus.RUNNING


def test_a_campaign_resumed_during_intake_continues_its_intake(desk: Any) -> None:
    campaign = desk.campaign()
    desk.write(pauses.pause_campaign, campaign.id, **BY)
    desk.write(pauses.resume_campaign, campaign.id, **BY)
    assert desk.read(campaigns.get, campaign.id).status is CampaignStatus.INTAKE
    assert desk.take(campaign, desk.new_message(1)).messages == 1


def test_only_campaigns_in_intake_or_running_are_active(desk: Any) -> None:
    reading, paused = desk.campaign(), desk.campaign()
    desk.write(pauses.pause_campaign, paused.id, **BY)
    assert [c.id for c in desk.read(campaigns.active)] == [reading.id]


# -- cancel ----------------------------------------------------------------------------------------------------


def test_a_cancel_ends_waiting_messages_and_leaves_those_being_sent(desk: Any) -> None:
    ids = desk.queued(Kind.OTP, n=3)
    lease = desk.lease()
    (opening,) = desk.sent(lease, ids[:1])
    desk.claim(lease, ids[1:2])
    campaign = campaign_of(desk, ids[0])
    assert campaign_control.cancel(desk.database, campaign, **BY) == Cancelled(waiting=1, held=1, sending=1)
    assert [desk.status(id) for id in ids] == ["sending", "cancelled", "cancelled"]
    assert (desk.row(ids[2])["error"], desk.payload(ids[2])) == ("campaign cancelled", None)
    desk.settle(opening, Accepted("mid-1", "rid"))
    assert desk.status(ids[0]) == "accepted"
    assert campaign_control.cancel(desk.database, campaign, **BY) is None
    assert [act.act for act in desk.read(operator_log.of, "campaign", campaign)] == ["create", "cancel"]


def test_a_message_given_back_to_a_cancelled_campaign_is_cancelled_at_any_time(desk: Any) -> None:
    waiting, retrying = desk.queued(n=2)
    lease = desk.lease()
    (opening,) = desk.sent(lease, [retrying])
    desk.claim(lease, [waiting])
    # A claim that began before the cancel and commits after it.
    desk.write(campaign_control.mark_cancelled, campaign_of(desk, waiting), **BY)
    desk.sql("UPDATE campaigns SET ended_at = ended_at - 999999999")
    # Its POST was before the cancel, too.
    desk.sql("UPDATE in_flight SET started_at = started_at - 999999999")
    desk.settle(opening, NotSent("ConnectError"))
    desk.lapse(lease)
    desk.rescue()
    assert (desk.status(waiting), desk.status(retrying)) == ("queued", "retry")
    assert desk.write(campaign_control.end_cancelled) == 2
    assert (desk.status(waiting), desk.status(retrying)) == ("cancelled", "cancelled")
    assert desk.write(campaign_control.end_cancelled) == 0
    assert desk.broken() == {}


def test_cancelled_messages_end_in_chunks(desk: Any) -> None:
    ids = desk.queued(n=5)
    campaign = campaign_of(desk, ids[0])
    desk.sql("UPDATE campaigns SET status = 'cancelled'")
    assert [desk.write(campaign_control.end_cancelled, limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert desk.read(campaigns.status_counts, campaign) == {"cancelled": 5}


def test_a_cancelled_campaign_stores_no_more_rows(desk: Any) -> None:
    campaign = desk.campaign()
    campaign_control.cancel(desk.database, campaign.id, **BY)
    with pytest.raises(IntakeConflict):
        desk.take(campaign, desk.new_message(1))
    assert desk.read(campaigns.get, campaign.id).messages == 0


@pytest.mark.parametrize("by", ["cancel", "straggle"])
def test_a_message_that_may_have_been_sent_is_unknown_and_not_cancelled(desk: Any, by: str) -> None:
    (id,) = desk.queued(on_unknown=OnUnknown.RESEND)
    (opening,) = desk.sent(desk.lease(), [id])
    campaign = campaign_of(desk, id)
    if by == "straggle":
        campaign_control.cancel(desk.database, campaign, **BY)
    desk.settle(opening, UNKNOWN, status=Status.RETRY, due_at=0)
    if by == "cancel":
        campaign_control.cancel(desk.database, campaign, **BY)
    desk.write(campaign_control.end_cancelled)
    assert desk.status(id) == "unknown"
    assert desk.row(id)["error"] == "it may have gone out, and was not sent again: campaign cancelled"
    assert desk.broken() == {}


# -- retry -----------------------------------------------------------------------------------------------------


def retried(desk: Any, campaign: str, **named: int) -> tuple[int, bool]:
    """How many messages a retry queued, and whether the relay has more to look at."""
    done = campaign_retry.retry(desk.database, campaign, **named, **BY)
    return done.queued, done.goes_on


def test_a_retry_queues_failed_messages_and_reopens_their_campaign(desk: Any) -> None:
    id = failed(desk)
    campaign = campaign_of(desk, id)
    assert desk.write(campaigns.finish_ended) == [campaign]
    assert retried(desk, campaign) == (1, False)
    row = desk.row(id)
    assert (row["status"], row["tries"], row["error"], row["ended_at"]) == ("queued", 0, None, None)
    assert desk.read(campaigns.get, campaign).status is CampaignStatus.RUNNING
    desk.accepted([id])
    assert desk.outcomes(id) == ["refused", "accepted"]
    assert desk.broken() == {}
    assert "retry 1 failed" in [act.act for act in desk.read(operator_log.of, "campaign", campaign)]


def some_failed(desk: Any, n: int) -> tuple[str, list[str]]:
    """A campaign of failed messages, and their ids."""
    ids = desk.queued(n=n)
    for opening in desk.sent(desk.lease(), ids):
        desk.settle(opening, REFUSED)
    return campaign_of(desk, ids[0]), ids


def test_the_preview_of_a_retry_leaves_out_people_who_are_suppressed_by_now(desk: Any) -> None:
    campaign, ids = some_failed(desk, 5)
    for id in ids[1], ids[4]:
        suppressing = {"scope": "marketing", "reason": "STOP", "source": "stop word", "actor": "ada"}
        desk.write(suppressions.add, {desk.row(id)["recipient"]: None}, **suppressing)
    preview = desk.read(preview_retry, campaign)
    assert (preview.send, preview.suppressed, preview.not_possible, preview.exact) == (3, 2, 0, True)
    found = desk.read(campaigns.get, campaign)
    assert desk.read(campaign_retry.count_retried, found, at_once=2) == Counted(3, 2, exact=True)
    # Out of time after the first two.
    least = desk.read(campaign_retry.count_retried, found, at_once=2, seconds=0)
    assert least == Counted(4, 1, exact=False)


def test_a_quick_preview_of_a_retry_looks_at_some_and_counts_the_others_as_those_that_can_go(
    desk: Any,
) -> None:
    campaign, ids = some_failed(desk, 5)
    by_stop_word = {"scope": "marketing", "reason": "STOP", "source": "stop word", "actor": "ada"}
    for id in ids[1], ids[4]:
        desk.write(suppressions.add, {desk.row(id)["recipient"]: None}, **by_stop_word)
    preview = desk.read(preview_retry, campaign, is_quick=True)
    assert (preview.send, preview.suppressed, preview.not_possible, preview.exact) == (3, 2, 0, True)
    found = desk.read(campaigns.get, campaign)
    some = desk.read(campaign_retry.look_at_retried, found, 5, looked_at=2)
    assert some == Counted(4, 1, exact=False)


def test_a_finished_campaign_is_not_retried_while_its_template_cannot_be_sent(desk: Any) -> None:
    content = '{"name": "sale", "language": {"code": "en"}}'
    id = failed(desk, type="template", content=content)
    desk.write(campaigns.finish_ended)
    paused = TemplateChange("sale", "en", status="PAUSED", category="MARKETING", synced=True)
    desk.write(templates.change_template, paused, actor="sync")
    campaign = campaign_of(desk, id)
    with pytest.raises(WrongState, match=r"is not retried: .*PAUSED"):
        campaign_retry.retry(desk.database, campaign, **BY)
    with pytest.raises(WrongState, match="is not retried"):
        desk.read(preview_retry, campaign)
    assert desk.read(campaigns.get, campaign).retry_until is None
    desk.write(templates.change_template, paused._replace(status="APPROVED"), actor="sync")
    assert campaign_retry.retry(desk.database, campaign, **BY).queued == 1


def test_a_large_retry_is_one_act_that_the_relay_works_off_in_steps(desk: Any) -> None:
    campaign, ids = some_failed(desk, 7)
    assert retried(desk, campaign, at_once=4, step=2) == (4, True)
    assert [desk.status(id) for id in ids] == ["queued"] * 4 + ["failed"] * 3
    assert desk.write(campaign_retry.retry_rest, 2) == {"looked_at": 2, "queued": 2}
    assert desk.write(campaign_retry.retry_rest, 2) == {"looked_at": 1, "queued": 1}
    assert desk.write(campaign_retry.retry_rest, 2) == {"looked_at": 0, "queued": 0}
    assert {desk.status(id) for id in ids} == {"queued"}
    acts = [act.act for act in desk.read(operator_log.of, "campaign", campaign)]
    assert [act for act in acts if "retry" in act] == ["retry failed"]
    assert desk.broken() == {}


def test_a_campaign_does_not_finish_before_its_retry_has_looked_at_all_failed_messages(desk: Any) -> None:
    campaign, ids = some_failed(desk, 3)
    campaign_retry.retry(desk.database, campaign, at_once=2, step=2, **BY)
    desk.accepted(ids[:2])
    assert desk.write(campaigns.finish_ended) == []
    desk.write(campaign_retry.retry_rest)
    desk.accepted(ids[2:])
    assert desk.write(campaigns.finish_ended) == [campaign]


def test_a_retry_ends_with_a_cancel_of_its_campaign(desk: Any) -> None:
    campaign, ids = some_failed(desk, 3)
    campaign_retry.retry(desk.database, campaign, at_once=1, step=1, **BY)
    campaign_control.cancel(desk.database, campaign, **BY)
    assert desk.write(campaign_retry.retry_rest) == {"looked_at": 0, "queued": 0}
    assert [desk.status(id) for id in ids] == ["cancelled", "failed", "failed"]
    assert desk.read(campaigns.get, campaign).retry_until is None


def test_a_retry_leaves_out_what_failed_after_it_began(desk: Any) -> None:
    campaign, ids = some_failed(desk, 2)
    campaign_retry.retry(desk.database, campaign, at_once=1, step=1, **BY)
    desk.sql("UPDATE messages SET ended_at = :later WHERE status = 'failed'", later=desk.now() + 60_000)
    assert desk.write(campaign_retry.retry_rest) == {"looked_at": 1, "queued": 0}
    assert [desk.status(id) for id in ids] == ["queued", "failed"]


def test_a_retry_queues_only_failed_messages(desk: Any) -> None:
    ids = desk.queued(n=4)
    accepted, unknown, *_ = desk.sent(desk.lease(), ids[:2])
    desk.settle(accepted, Accepted("mid-1", "rid"))
    desk.settle(unknown, UNKNOWN)
    before = [desk.status(id) for id in ids]
    assert retried(desk, campaign_of(desk, ids[0])) == NONE
    assert [desk.status(id) for id in ids] == before


def test_a_retry_leaves_out_one_time_codes(desk: Any) -> None:
    id = failed(desk, Kind.OTP)
    campaign = campaign_of(desk, id)
    assert retried(desk, campaign) == NONE
    assert "retry" not in " ".join(act.act for act in desk.read(operator_log.of, "campaign", campaign))


def test_a_retry_leaves_out_accepted_messages_whose_receipt_says_failed(desk: Any) -> None:
    from bulksend.ledger.receipts import Receipt

    ids = desk.queued()
    (message_id,) = desk.accepted(ids)
    desk.receive(Receipt(message_id, "failed", 5, "131026", "not on WhatsApp"))
    assert desk.status(ids[0]) == "failed"
    assert retried(desk, campaign_of(desk, ids[0])) == NONE


def test_a_retry_leaves_out_messages_with_an_unknown_attempt(desk: Any) -> None:
    (id,) = desk.queued(on_unknown=OnUnknown.RESEND)
    lease = desk.lease()
    (first,) = desk.sent(lease, [id])
    desk.settle(first, UNKNOWN, status=Status.RETRY, due_at=0)
    (second,) = desk.sent(lease, [id])
    desk.settle(second, REFUSED)
    assert desk.status(id) == "unknown"
    assert retried(desk, campaign_of(desk, id)) == NONE


def test_a_retry_queues_messages_that_a_person_resolved_as_failed(desk: Any) -> None:
    (id,) = desk.queued()
    (opening,) = desk.sent(desk.lease(), [id])
    desk.settle(opening, UNKNOWN)
    desk.write(messages.resolve, id, as_="failed", **BY)
    assert campaign_retry.retry(desk.database, campaign_of(desk, id), **BY).queued == 1
    desk.accepted([id])
    assert desk.outcomes(id) == ["unknown", "accepted"]
    assert desk.broken() == {}


def test_a_retry_leaves_out_messages_past_their_time_to_live(desk: Any) -> None:
    id = failed(desk, life_ms=60_000)
    desk.sql("UPDATE messages SET expires_at = :now", now=desk.now())
    assert retried(desk, campaign_of(desk, id)) == NONE


def test_a_retry_of_a_cancelled_campaign_is_refused(desk: Any) -> None:
    id = failed(desk)
    campaign_control.cancel(desk.database, campaign_of(desk, id), **BY)
    with pytest.raises(InvalidInput, match="cancelled"):
        campaign_retry.retry(desk.database, campaign_of(desk, id), **BY)
    assert desk.status(id) == "failed"


# -- finish ----------------------------------------------------------------------------------------------------


def test_a_campaign_finishes_when_all_its_messages_have_ended(desk: Any) -> None:
    ids = desk.queued(n=2)
    campaign, lease = campaign_of(desk, ids[0]), desk.lease()
    assert desk.write(campaigns.finish_ended) == []
    first, second = desk.sent(lease, ids)
    assert desk.write(campaigns.finish_ended) == []
    desk.settle(first, Accepted("mid-1", "rid"))
    desk.settle(second, UNKNOWN)
    assert desk.write(campaigns.finish_ended) == [campaign]
    finished = desk.read(campaigns.get, campaign)
    assert (finished.status, finished.ended_at is not None) == (CampaignStatus.FINISHED, True)
    assert desk.write(campaigns.finish_ended) == []


def test_a_campaign_in_intake_does_not_finish(desk: Any) -> None:
    desk.campaign()
    assert desk.write(campaigns.finish_ended) == []


def test_a_campaign_with_only_refused_rows_finishes(desk: Any) -> None:
    campaign = desk.campaign()
    desk.write(campaigns.finish_intake, campaign.id)
    assert desk.write(campaigns.finish_ended) == [campaign.id]


# -- finding ---------------------------------------------------------------------------------------------------


def test_a_campaign_is_found_by_its_id_or_by_a_name_that_only_it_has(desk: Any) -> None:
    first, second = desk.campaign(name="spring"), desk.campaign(name="spring")
    only = desk.campaign(name="autumn")
    assert desk.read(campaigns.find, first.id) == first
    assert desk.read(campaigns.find, "autumn") == only
    with pytest.raises(CampaignNotFound, match="2 campaigns") as caught:
        desk.read(campaigns.find, "spring")
    assert first.id in str(caught.value)
    assert second.id in str(caught.value)


@pytest.mark.parametrize("name", ["winter", "", "01a20750-3744-7540-9dcb-7b7c0f530716"])
def test_an_unknown_id_or_name_raises_campaign_not_found(desk: Any, name: str) -> None:
    with pytest.raises(CampaignNotFound, match="campaigns list"):
        desk.read(campaigns.find, name)


def test_the_newest_campaigns_come_first(desk: Any) -> None:
    made = [desk.campaign().id for _ in range(3)]
    assert [c.id for c in desk.read(campaigns.newest, 2)] == made[:0:-1]
    assert set(desk.read(campaigns.by_ids, made)) == set(made)


def test_a_finished_campaign_with_a_waiting_message_is_reopened(desk: Any) -> None:
    (id,) = desk.queued()
    campaign = str(desk.row(id)["campaign_id"])
    desk.sql("UPDATE campaigns SET status = 'finished', ended_at = :now", now=desk.now())
    assert desk.write(campaigns.reopen_waiting) == [campaign]
    assert desk.read(campaigns.get, campaign).status is CampaignStatus.RUNNING
    assert desk.write(campaigns.reopen_waiting) == []


def test_a_late_result_that_queues_its_message_reopens_a_finished_campaign(desk: Any) -> None:
    (id,) = desk.queued()
    lease = desk.lease()
    (opening,) = desk.sent(lease, [id])
    desk.lapse(lease)
    desk.rescue()
    assert desk.write(campaigns.finish_ended) == [opening.message.campaign_id]
    # The worker of the lost lease reports that it had not sent the message.
    desk.settle(opening, NotSent("the worker's lease was lost"), status=Status.QUEUED, due_at=0)
    assert desk.read(campaigns.get, opening.message.campaign_id).status is CampaignStatus.RUNNING
