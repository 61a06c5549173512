"""Campaigns: what a face shows of them, and what an operator may do to them, on record."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.errors import CampaignNotFound, InvalidInput
from bulksend.ledger import campaign_creation, campaigns, operator_log
from bulksend.ledger.campaigns import Campaign
from bulksend.messaging import RefusedRow
from bulksend.messaging.outcome import Accepted, Refused, Scope
from bulksend.messaging.states import Kind, Status
from bulksend.messaging.units import format_instant
from bulksend.operations.campaigns import NO_REASON, Act, ActResult, act, details, find, newest, sent, show
from bulksend.settings import Settings
from tests.integration.ledger.conftest import Desk


class Flags:
    """Stands for the limiter: it notes the flags that are set."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Scope, str]] = []

    def pause(self, scope: Scope, id: str) -> None:
        self.told.append(("pause", scope, id))

    def resume(self, scope: Scope, id: str) -> None:
        self.told.append(("resume", scope, id))


def campaign_of(desk: Desk, *, messages: int = 1, **of: object) -> tuple[Campaign, list[str]]:
    ids = desk.queued(n=messages, **of)
    return desk.read(campaigns.get, str(desk.row(ids[0])["campaign_id"])), ids


def do(
    desk: Desk, campaign: str, what: Act, *, why: str | None = "wrong list", flags: Flags | None = None
) -> ActResult:
    return act(desk.database, lambda: flags, campaign, what, actor="ada", why=why)  # type: ignore[arg-type,return-value]


def fail(desk: Desk, id: str) -> None:
    (opening,) = desk.sent(desk.lease(), [id])
    desk.settle(opening, Refused("131026", "not on WhatsApp"), status=Status.FAILED)


# -- what is shown -------------------------------------------------------------------------------------


def test_a_list_entry_has_the_fields_of_the_interface(desk: Desk) -> None:
    campaign, (first, _) = campaign_of(desk, messages=2)
    desk.accepted([first])
    (shown,) = desk.read(newest, 20)
    assert list(shown) == [
        *("campaign_id", "name", "kind", "status", "sender", "total", "statuses", "attempts", "rate"),
        *("eta_seconds", "created_at", "due_at", "paused_at", "ended_at"),
    ]
    assert (shown["campaign_id"], shown["kind"], shown["total"]) == (campaign.id, "marketing", 2)
    assert (shown["statuses"], shown["attempts"]) == ({"accepted": 1, "queued": 1}, 1)
    assert shown["created_at"].endswith("+00:00")
    assert sent(shown["statuses"]) == 1


def test_the_newest_campaign_is_the_first_of_the_list(desk: Desk) -> None:
    old, new = (campaign_of(desk, name=name)[0].id for name in ("old", "new"))
    assert [shown["campaign_id"] for shown in desk.read(newest, 20)] == [new, old]
    assert [shown["campaign_id"] for shown in desk.read(newest, 1)] == [new]


def test_details_add_where_it_came_from_why_messages_failed_and_the_acts(desk: Desk) -> None:
    campaign = desk.campaign()
    refused = [RefusedRow(2, "to", "44***", "is too short")]
    (id,) = desk.take(campaign, desk.new_message(1), refused=refused).ready
    fail(desk, id)
    do(desk, campaign.id, Act.PAUSE)
    shown = desk.read(details, campaign.id)
    assert (shown["source"], shown["rows"], shown["refused_count"]) == ("people.csv", 2, 1)
    assert shown["refused"] == [{"row": 2, "field": "to", "value": "44***", "why": "is too short"}]
    (reason,) = shown["reasons"]
    assert (reason["status"], reason["count"], shown["reasons_of"]) == ("failed", 1, {"failed": 1})
    entry = shown["acts"][-1]
    assert (entry["actor"], entry["act"], entry["why"]) == ("ada", "pause", "wrong list")
    assert (entry["before"], entry["after"]) == ({"paused": False}, {"paused": True})
    assert (shown["status"], shown["pause_why"]) == ("paused", "wrong list")


def test_details_of_codes_tell_how_long_they_took(desk: Desk) -> None:
    """From intake, or from their due time where that is later."""
    assert desk.read(details, desk.campaign().id)["latency"] is None
    begin = desk.now() + 1_000_000
    campaign = desk.campaign(Kind.OTP, due_at=begin, ttl_ms=600_000)
    codes = [desk.new_message(n, due_at=begin, expires_at=begin + 600_000) for n in range(1, 101)]
    desk.take(campaign, *codes)
    desk.sql("UPDATE messages SET status = 'accepted', sent_at = :at + row * 10", at=begin)
    delivered = "UPDATE messages SET status = 'delivered', delivered_at = :at + 5000 WHERE row <= 10"
    desk.sql(delivered, at=begin)
    desk.sql(
        "UPDATE messages SET first_due_at = first_due_at + 7000, sent_at = sent_at + 7000 WHERE row = 100"
    )
    assert desk.read(details, campaign.id)["latency"] == {
        "posted": {"count": 100, "p50_ms": 500, "p95_ms": 950, "p99_ms": 990},
        "delivered": {"count": 10, "p50_ms": 5000, "p95_ms": 5000, "p99_ms": 5000},
    }
    single = desk.send(desk.new_send())[0].id
    posted = "UPDATE messages SET status = 'accepted', sent_at = queued_at + 40 WHERE CAST(id AS text) = :id"
    desk.sql(posted, id=single)
    standing = desk.read(details, str(desk.row(single)["campaign_id"]))
    assert standing["latency"]["posted"]["p99_ms"] == 40


def test_show_adds_what_holds_its_messages_now(desk: Desk) -> None:
    campaign, _ = campaign_of(desk)
    do(desk, campaign.id, Act.PAUSE)
    settings = Settings.from_env({"DATABASE_URL": desk.database.url.render_as_string(hide_password=False)})
    shown = show(settings, desk.database, "spring")
    assert shown["campaign_id"] == campaign.id
    assert any("wrong list" in text for text in shown["stopped_by"])


@pytest.mark.parametrize("status", [Act.PAUSE, Act.CANCEL])
def test_a_campaign_that_sends_nothing_has_no_estimate(desk: Desk, status: Act) -> None:
    campaign, _ = campaign_of(desk)
    do(desk, campaign.id, status)
    assert desk.read(details, campaign.id)["eta_seconds"] is None


@pytest.mark.parametrize(
    ("posts", "limit", "is_known"), [(4, None, False), (5, None, True), (1, 0.1, True), (1, 40, False)]
)
def test_a_few_posts_foretell_an_end_only_where_no_more_may_go_out(
    desk: Desk, posts: int, limit: float | None, is_known: bool
) -> None:
    """In an outage one POST at a time is tried: 200,000 messages at 0.1/s would take 23 days."""
    campaign, ids = campaign_of(desk, messages=10)
    desk.sent(desk.lease(), ids[:posts])
    desk.sql("UPDATE campaigns SET rate = :rate", rate=limit)
    shown = desk.read(details, campaign.id)
    assert (shown["rate"], shown["eta_seconds"] is not None) == (posts / 10, is_known)


def test_a_campaign_is_found_by_its_name_only_if_the_name_is_unique(desk: Desk) -> None:
    campaign, _ = campaign_of(desk, name="one")
    assert desk.read(find, "one").id == desk.read(find, campaign.id).id == campaign.id
    campaign_of(desk, name="one")
    for name in ("one", "none"):
        with pytest.raises(CampaignNotFound, match=name):
            desk.read(find, name)


# -- what an operator may do ---------------------------------------------------------------------------


def answer(done: ActResult, *, in_flight: int = 0, why_not: str | None = None) -> dict[str, Any]:
    """The JSON of an act without what every act says."""
    shown = done.as_json()
    assert shown.pop("effective_at") == format_instant(done.at)
    assert (shown.pop("in_flight"), shown.pop("why_not")) == (in_flight, why_not)
    return shown


def test_a_pause_and_a_resume_are_on_record_and_set_the_flag(desk: Desk) -> None:
    campaign, _ = campaign_of(desk, messages=3)
    flags = Flags()
    paused = do(desk, campaign.name, Act.PAUSE, flags=flags)
    assert answer(paused) == {"campaign_id": campaign.id, "status": "paused", "changed": True}
    assert paused.left == 3
    resumed = do(desk, campaign.id, Act.RESUME, why=None, flags=flags)
    assert answer(resumed) == {"campaign_id": campaign.id, "status": "running", "changed": True}
    _, *log = desk.read(operator_log.of, "campaign", campaign.id)
    assert [(a.actor, a.act, a.why) for a in log] == [
        ("ada", "pause", "wrong list"),
        ("ada", "resume", NO_REASON),
    ]
    assert flags.told == [("pause", Scope.CAMPAIGN, campaign.id), ("resume", Scope.CAMPAIGN, campaign.id)]


def test_an_act_that_changes_nothing_says_so_and_is_not_on_record(desk: Desk) -> None:
    campaign, _ = campaign_of(desk)
    done = do(desk, campaign.id, Act.RESUME)
    assert (done.changed, done.as_json()["why_not"]) == (False, "the campaign is running")
    assert [a.act for a in desk.read(operator_log.of, "campaign", campaign.id)] == ["create"]


def test_an_act_needs_no_limiter(desk: Desk) -> None:
    campaign, _ = campaign_of(desk)
    assert act(desk.database, lambda: None, campaign.id, Act.PAUSE, actor="ada", why="w").changed is True


def test_the_limiter_is_opened_after_the_commit(desk: Desk) -> None:
    """Where Redis is away, opening it takes seconds."""
    campaign, _ = campaign_of(desk)
    seen: list[str] = []
    act(
        desk.database,
        lambda: seen.append(desk.read(campaigns.get, campaign.id).status),
        campaign.id,
        Act.PAUSE,
        actor="ada",
        why="w",
    )
    assert seen == ["paused"]


def test_a_cancel_counts_what_waited_what_a_worker_held_and_what_is_being_sent(desk: Desk) -> None:
    campaign, (sending, claimed, _) = campaign_of(desk, messages=3)
    lease = desk.lease()
    desk.sent(lease, [sending])
    desk.claim(lease, [claimed])
    flags = Flags()
    done = do(desk, campaign.id, Act.CANCEL, flags=flags)
    assert answer(done, in_flight=1) == {
        **{"campaign_id": campaign.id, "status": "cancelled"},
        **{"changed": 2, "waiting": 1, "held": 1, "sending": 1},
    }
    assert flags.told == [("pause", Scope.CAMPAIGN, campaign.id)]
    again = answer(do(desk, campaign.id, Act.CANCEL), in_flight=1, why_not="the campaign is cancelled")
    assert again == {"campaign_id": campaign.id, "status": "cancelled", "changed": None}


def test_a_retry_queues_failed_messages_and_no_accepted_ones(desk: Desk) -> None:
    campaign, (failed, accepted) = campaign_of(desk, messages=2)
    fail(desk, failed)
    desk.accepted([accepted])
    done = do(desk, campaign.id, Act.RETRY)
    assert answer(done) == {
        **{"campaign_id": campaign.id, "status": "running", "changed": 1, "goes_on": False},
    }
    assert (desk.status(failed), desk.status(accepted)) == ("queued", "accepted")
    assert desk.broken() == {}


def test_nothing_of_a_cancelled_campaign_is_retried(desk: Desk) -> None:
    campaign, _ = campaign_of(desk)
    do(desk, campaign.id, Act.CANCEL)
    with pytest.raises(InvalidInput, match="cancelled"):
        do(desk, campaign.id, Act.RETRY)


@pytest.mark.parametrize("what", [Act.PAUSE, Act.CANCEL, Act.RETRY])
def test_the_standing_campaign_of_single_sends_is_never_stopped(desk: Desk, what: Act) -> None:
    standing = desk.write(campaign_creation.standing_campaign, Kind.OTP)
    with pytest.raises(InvalidInput, match="nothing was changed"):
        do(desk, standing.id, what)
    assert [a.act for a in desk.read(operator_log.of, "campaign", standing.id)] == ["create"]


def test_an_act_on_an_unknown_campaign_raises(desk: Desk) -> None:
    with pytest.raises(CampaignNotFound):
        do(desk, "none", Act.PAUSE)


def test_accepted_messages_stay_accepted_after_a_cancel(desk: Desk) -> None:
    campaign, (id,) = campaign_of(desk)
    (opening,) = desk.sent(desk.lease(), [id])
    do(desk, campaign.id, Act.CANCEL)
    desk.settle(opening, Accepted("mid", "rid"))
    assert desk.status(id) == "accepted"
