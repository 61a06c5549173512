"""A canary: its slice is sent, the rest stays unsent until it passed; and campaigns that fail too much pause."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from bulksend.ledger import campaigns, canary, due, notices, operator_log, pauses, senders
from bulksend.ledger.campaigns import Campaign
from bulksend.messaging.canary import CanaryRules, CanaryState, Next
from bulksend.messaging.failure_share import FailureLimit
from bulksend.messaging.outcome import Refused
from bulksend.messaging.states import CampaignStatus, Kind
from producer.campaign_guards import CampaignGuards
from tests.integration.ledger.conftest import SENDER, Desk

REFUSED = Refused("#131026", "undeliverable (#131026)")
RULES = CanaryRules(max_failed=0.05, min_delivered=0.7, wait_ms=60_000)
N = 120


@pytest.fixture
def watched(desk: Desk) -> tuple[Campaign, list[str]]:
    """A campaign with a canary, its rows stored, and the ids of its messages in their order."""
    ids = desk.queued(n=N, canary="1%")
    campaign = desk.read(campaigns.get, str(desk.row(ids[0])["campaign_id"]))
    return campaign, sorted(ids)


def advance(desk: Desk, campaign: Campaign) -> Next:
    now = desk.read(campaigns.get, campaign.id)
    return desk.write(canary.advance, now, RULES, actor="relay")


def fail(desk: Desk, ids: list[str]) -> None:
    for opening in desk.sent(desk.lease(), ids):
        desk.settle(opening, REFUSED)


def deliver(desk: Desk, ids: list[str]) -> None:
    desk.accepted(ids)
    for id in ids:
        desk.sql("UPDATE messages SET status = 'delivered' WHERE CAST(id AS text) = :id", id=id)


def test_nothing_goes_out_before_the_slice_is_known(desk: Desk, watched: Any) -> None:
    campaign, ids = watched
    assert campaign.canary_state is CanaryState.PENDING
    assert desk.claim(desk.lease(), ids) == []
    assert desk.read(due.due_messages, campaign.id, 500, held_after=campaign.held_after) == []


def test_a_slice_waits_for_the_end_of_the_intake(desk: Desk) -> None:
    campaign = desk.campaign(canary="1%")
    desk.take(campaign, *(desk.new_message(row) for row in range(1, 80)))
    assert advance(desk, campaign) is Next.WAIT
    assert desk.read(campaigns.get, campaign.id).canary_state is CanaryState.PENDING


def test_only_the_slice_is_published_and_claimed(desk: Desk, watched: Any, plans_in: Any) -> None:
    campaign, ids = watched
    assert advance(desk, campaign) is Next.WAIT
    held_after = desk.read(campaigns.get, campaign.id).held_after
    assert held_after == ids[49]
    found = desk.read(due.due_messages, campaign.id, 500, held_after=held_after)
    assert sorted(row.id for row in found) == ids[:50]
    assert sorted(message.id for message in desk.claim(desk.lease(), ids)) == ids[:50]
    # Of millions of waiting messages it does not look at those that are held, as the index of all that wait would.
    told = plans_in(desk.database)(due.due_messages, campaign.id, 500, held_after=held_after)
    assert "ix_messages_due" not in told


def test_a_slice_that_arrives_lets_the_rest_go(desk: Desk, watched: Any) -> None:
    campaign, ids = watched
    advance(desk, campaign)
    deliver(desk, ids[:49])
    assert advance(desk, campaign) is Next.WAIT
    deliver(desk, ids[49:50])
    assert desk.broken() == {}
    assert advance(desk, campaign) is Next.GO
    passed = desk.read(campaigns.get, campaign.id)
    assert (passed.canary_state, passed.held_after) == (CanaryState.PASSED, None)
    assert len(desk.claim(desk.lease(), ids)) == N - 50
    acts = desk.read(operator_log.of, "campaign", campaign.id)
    assert [(act.act, act.actor) for act in acts[1:]] == [("canary", "relay")] * 2
    assert acts[1].why == "the first 50 of 120 messages"


def test_a_message_that_moves_during_a_look_is_counted_once(server: Desk) -> None:
    ids = sorted(server.queued(n=N, canary="50"))
    campaign = server.read(campaigns.get, str(server.row(ids[0])["campaign_id"]))
    advance(server, campaign)
    campaign = server.read(campaigns.get, campaign.id)
    waiting = ids[:50]
    with server.database.write() as tx:

        def deliver_one(*_: object) -> None:
            server.sql("UPDATE messages SET status = 'delivered' WHERE id = :id", id=waiting.pop())

        event.listen(tx, "before_cursor_execute", deliver_one)
        for _ in range(3):
            assert canary.look(tx, campaign).size == 50
    assert len(waiting) <= 47


def test_a_slice_that_fails_pauses_the_campaign_and_a_resume_sends_the_rest(desk: Desk, watched: Any) -> None:
    campaign, ids = watched
    advance(desk, campaign)
    fail(desk, ids[:3])
    assert advance(desk, campaign) is Next.PAUSE
    failed = desk.read(campaigns.get, campaign.id)
    assert (failed.status, failed.canary_state) == (CampaignStatus.PAUSED, CanaryState.FAILED)
    assert failed.pause_why is not None
    assert failed.pause_why.startswith("canary failed: of 50 messages 0 delivered, 3 failed: more than 5%")
    assert desk.claim(desk.lease(), ids) == []
    assert desk.read(canary.undecided) == []
    desk.write(pauses.resume_campaign, campaign.id, actor="ada", why="they moved")
    resumed = desk.read(campaigns.get, campaign.id)
    assert (resumed.canary_state, resumed.held_after) == (CanaryState.SKIPPED, None)
    assert len(desk.claim(desk.lease(), ids)) == N - 3


def test_a_pause_by_a_person_does_not_end_a_canary(desk: Desk, watched: Any) -> None:
    campaign, ids = watched
    advance(desk, campaign)
    held_after = desk.read(campaigns.get, campaign.id).held_after
    desk.write(pauses.pause_campaign, campaign.id, actor="ada", why="lunch")
    desk.write(pauses.resume_campaign, campaign.id, actor="ada", why="lunch is over")
    resumed = desk.read(campaigns.get, campaign.id)
    assert (resumed.canary_state, resumed.held_after) == (CanaryState.SENDING, held_after)
    assert len(desk.claim(desk.lease(), ids)) == 50


def test_a_campaign_that_is_no_larger_than_its_canary_is_sent_whole(desk: Desk) -> None:
    ids = desk.queued(n=30, canary="1%")
    (campaign,) = desk.read(canary.undecided)
    assert advance(desk, campaign) is Next.GO
    assert len(desk.claim(desk.lease(), ids)) == 30


def test_two_relays_begin_a_slice_once(desk: Desk, watched: Any) -> None:
    campaign, _ = watched
    for _ in range(2):
        desk.write(canary.advance, campaign, RULES, actor="relay")
    assert [act.act for act in desk.read(operator_log.of, "campaign", campaign.id)] == ["create", "canary"]


# -- too many failures ---------------------------------------------------------------------------------------


def guards(window: int = 40) -> CampaignGuards:
    return CampaignGuards(FailureLimit(0.05, window), RULES)


def campaign_of(desk: Desk, id: str) -> Campaign:
    return desk.read(campaigns.get, str(desk.row(id)["campaign_id"]))


def test_a_campaign_of_whose_last_messages_too_many_failed_pauses_with_the_reason(desk: Desk) -> None:
    watch = guards()
    desk.write(watch.pause_failing)
    ids = desk.queued(n=20)
    fail(desk, ids[:2])
    assert desk.write(watch.pause_failing) == {"paused": 0}
    fail(desk, ids[2:3])
    assert desk.write(watch.pause_failing) == {"paused": 1}
    paused = campaign_of(desk, ids[0])
    assert paused.status is CampaignStatus.PAUSED
    assert paused.pause_why == "3 of its last 3 messages failed; the limit is 5% of 40"
    assert desk.write(watch.pause_failing) == {"paused": 0}

    # After a resume only what fails from then on counts.
    desk.write(pauses.resume_campaign, paused.id, actor="ada", why="the others are right")
    fail(desk, ids[3:5])
    assert desk.write(watch.pause_failing) == {"paused": 0}
    fail(desk, ids[5:6])
    assert desk.write(watch.pause_failing) == {"paused": 1}


def test_a_new_relay_does_not_pause_for_what_failed_before_it(desk: Desk) -> None:
    ids = desk.queued(n=20)
    fail(desk, ids[:10])
    watch = guards()
    assert [desk.write(watch.pause_failing)["paused"] for _ in range(2)] == [0, 0]
    fail(desk, ids[10:13])
    assert desk.write(watch.pause_failing) == {"paused": 1}


@pytest.mark.parametrize(
    ("kind", "max_failed", "paused"),
    [(Kind.UTILITY, None, 1), (Kind.OTP, None, 0), (Kind.OTP, 0.05, 1), (Kind.MARKETING, 1.0, 0)],
)
def test_a_campaign_may_have_a_limit_of_its_own(
    desk: Desk, kind: Kind, max_failed: float | None, paused: int
) -> None:
    watch = guards()
    desk.write(watch.pause_failing)
    fail(desk, desk.queued(kind, n=5, max_failed=max_failed))
    # A finished campaign is not paused; this one has another message.
    desk.sql("UPDATE campaigns SET status = 'running'")
    assert desk.write(watch.pause_failing) == {"paused": paused}


def test_a_canary_is_judged_by_its_own_rule_and_the_limit_of_its_campaign(desk: Desk) -> None:
    watch = guards()
    desk.write(watch.pause_failing)
    ids = sorted(desk.queued(n=N, canary="50", max_failed=0.5))
    assert desk.write(watch.canaries) == {"passed": 0, "paused": 0}
    fail(desk, ids[:25])
    assert desk.write(watch.canaries) == {"passed": 0, "paused": 0}
    assert desk.write(watch.pause_failing) == {"paused": 0}
    fail(desk, ids[25:26])
    assert desk.write(watch.canaries) == {"passed": 0, "paused": 1}


# -- the quality of a sender -----------------------------------------------------------------------------------


def test_a_sender_whose_quality_falls_to_red_pauses_its_marketing_campaigns(desk: Desk) -> None:
    desk.write(senders.register, SENDER)
    marketing, utility, other = (
        campaign_of(desk, desk.queued(kind, **of)[0])
        for kind, of in (
            (Kind.MARKETING, {}),
            (Kind.UTILITY, {}),
            (Kind.MARKETING, {"sender": "15550100199"}),
        )
    )
    change = notices.SenderChange(SENDER, quality="YELLOW", at=1)
    desk.write(notices.change_sender, change, actor="sync")
    assert desk.read(campaigns.get, marketing.id).status is CampaignStatus.RUNNING
    desk.write(notices.change_sender, replace_quality(change, "RED", 2), actor="sync")
    paused = desk.read(campaigns.get, marketing.id)
    assert paused.status is CampaignStatus.PAUSED
    assert "RED" in str(paused.pause_why)
    for each in (utility, other):
        assert desk.read(campaigns.get, each.id).status is CampaignStatus.RUNNING
    # A list that says the same again does not pause it after a resume.
    desk.write(pauses.resume_campaign, marketing.id, actor="ada", why="it must go on")
    desk.write(notices.change_sender, replace_quality(change, "RED", 3), actor="sync")
    assert desk.read(campaigns.get, marketing.id).status is CampaignStatus.RUNNING


def replace_quality(change: notices.SenderChange, quality: str, at: int) -> notices.SenderChange:
    return change._replace(quality=quality, at=at)
