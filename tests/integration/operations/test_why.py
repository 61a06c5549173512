"""``messages why``: which gate holds a message, and the earliest it may go. Real ledgers, a real Valkey."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable

import pytest
import redis
from sqlalchemy import update

from bulksend.ledger import campaign_creation, campaigns, intake, leases, pauses, senders
from bulksend.ledger.campaign_creation import NewCampaign
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.claim import claim
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.ids import new_id
from bulksend.ledger.message_rows import NewMessage
from bulksend.ledger.migrate import migrate
from bulksend.ledger.release import Release, release
from bulksend.ledger.schema import campaigns as campaigns_table
from bulksend.ledger.schema import messages as messages_table
from bulksend.ledger.schema import workers as workers_table
from bulksend.ledger.settle import Settlement, settle
from bulksend.ledger.write_ahead import Opening, open_attempts
from bulksend.limits import Ask, Gate, Permit, RedisPermits, SenderLimits
from bulksend.messaging import Evidence, Kind, NotSent, OnUnknown, Outcome, Refused, Scope, Status, Unknown
from bulksend.messaging.canary import CanaryState
from bulksend.operations.why import Why, explain
from tests.waiting import until

SENDER = "8615000579987"


def a_campaign(
    ledger: Database, *, count: int = 1, due_in_ms: int = 0, rate: float | None = None
) -> tuple[Campaign, list[str]]:
    with ledger.write() as tx:
        now = read_clock(tx)
        senders.register(tx, SENDER)
        new = NewCampaign(
            key=f"k{time.monotonic_ns()}",
            name="spring",
            kind=Kind.MARKETING,
            sender=SENDER,
            type="text",
            content='{"body":"x"}',
            source_hash="h",
            source_name="f",
            due_at=now,
            ttl_ms=None,
            rate=rate,
            on_unknown=OnUnknown.HOLD,
            created_by="t",
        )
        campaign, _ = campaign_creation.create_or_find(tx, new)
        numbers = [f"4477009{n:05d}" for n in range(count)]
        planned = [
            NewMessage(n, to, False, to, SENDER, "text", {"v": {}}, "", now + due_in_ms, None)
            for n, to in enumerate(numbers, start=1)
        ]
        taken = intake.store_chunk(
            tx,
            campaign,
            after_row=0,
            planned=planned,
            refused=[],
            cipher=Cipher([bytes(32)]),
        )
        campaigns.finish_intake(tx, campaign.id)
    if taken.ready:
        return campaign, taken.ready
    with ledger.read() as tx:
        from sqlalchemy import select

        return campaign, [str(id) for id in tx.execute(select(messages_table.c.id)).scalars()]


def a_worker(ledger: Database) -> str:
    with ledger.write() as tx:
        return leases.take(tx, "test:1", 60_000)[0]


def ask(ledger: Database, id: str, permits: RedisPermits | None = None) -> Why:
    return explain(ledger, permits, id, account="default", default_rate=80.0)


# -- what the ledger alone knows -----------------------------------------------------------------------


def test_a_scheduled_message_waits_for_its_time(ledger: Database) -> None:
    _, (id,) = a_campaign(ledger, due_in_ms=3_600_000)
    a_worker(ledger)
    why = ask(ledger, id)
    assert (why.status, why.gate) == ("queued", "due_time")
    with ledger.read() as tx:
        assert why.earliest is not None
        assert 3_590_000 < why.earliest - read_clock(tx) <= 3_600_000


def test_after_a_failed_attempt_it_waits_for_its_backoff(ledger: Database) -> None:
    _, (id,) = a_campaign(ledger)
    lease = a_worker(ledger)
    with ledger.write() as tx:
        (claimed,) = claim(tx, [id], lease=lease, account="default")
        attempt, now = new_id(), read_clock(tx)
        open_attempts(tx, [Opening(claimed, attempt)], lease=lease, account="default")
        outcome = NotSent("the connection was refused")
        settlement = Settlement(
            id, attempt, outcome, Evidence(), 1.0, Status.RETRY, now + 90_000, 1, 0, outcome.why
        )
        settle(tx, [settlement])
    why = ask(ledger, id)
    assert (why.status, why.gate, why.earliest) == ("retry", "backoff", now + 90_000)
    assert "the connection was refused" in why.why


def test_a_message_behind_a_canary_is_held_by_it(ledger: Database) -> None:
    _, ids = a_campaign(ledger, count=2)
    a_worker(ledger)
    first, last = sorted(ids)
    with ledger.write() as tx:
        tx.execute(
            update(campaigns_table).values(canary="1%", canary_state=CanaryState.SENDING, held_after=first)
        )
    assert ask(ledger, first).gate != "canary"
    why = ask(ledger, last)
    assert (why.gate, why.earliest) == ("canary", None)


@pytest.mark.parametrize("gate", [Gate.PAIR_RATE, Gate.QUOTA, Gate.OUTAGE, Gate.QUIET_HOURS])
def test_what_a_worker_gave_back_names_the_gate_that_held_it(ledger: Database, gate: Gate) -> None:
    _, (id,) = a_campaign(ledger)
    lease = a_worker(ledger)
    with ledger.write() as tx:
        claim(tx, [id], lease=lease, account="default")
        until = read_clock(tx) + 30_000
        release(tx, [Release(id, until, gate.value, until)], lease=lease)
    why = ask(ledger, id)
    assert (why.status, why.gate, why.earliest) == ("queued", gate.value, until)


ANSWERS = [
    (
        Evidence(http_status=200, ret_code=17115, whatsapp_code=139999, bytes_sent=True, reply_began=True),
        "RetCode 17115 with WhatsApp code 139999",
    ),
    (Evidence(http_status=200, ret_code=150, bytes_sent=True, reply_began=True), "RetCode 150"),
    (Evidence(http_status=503, bytes_sent=True, reply_began=True), "HTTP 503"),
    (Evidence(bytes_sent=True, reply_began=True, error="DisconnectedError"), "an incomplete reply"),
    (Evidence(bytes_sent=True, error="ReadTimeoutError"), "no reply (ReadTimeoutError)"),
    (Evidence(error="ConnectionRefusedError"), "no connection (ConnectionRefusedError)"),
]


@pytest.mark.parametrize(("evidence", "told"), ANSWERS, ids=[told for _, told in ANSWERS])
def test_case_24_an_outage_is_told_with_what_the_vendor_answered(
    ledger: Database, evidence: Evidence, told: str
) -> None:
    """Case 24: `why` said "the vendor does not answer" when answers came."""
    _, (id, *others) = a_campaign(ledger, count=4)
    lease = a_worker(ledger)
    with ledger.write() as tx:
        claim(tx, [id], lease=lease, account="default")
        until = read_clock(tx) + 30_000
        release(tx, [Release(id, until, Gate.OUTAGE.value, until)], lease=lease)
    assert "the last replies: none on record" in ask(ledger, id).why
    odd = f"odd ({evidence.error}); the message may have been sent" if evidence.error else "odd"
    outcomes = [Unknown(odd), Unknown(odd), NotSent("held by outage before the POST")]
    for other, outcome in zip(others, outcomes, strict=True):
        seen = evidence if isinstance(outcome, Unknown) else Evidence()
        settled(ledger, lease, other, outcome, seen)
    why = ask(ledger, id)
    assert why.gate == "outage"
    assert why.why.endswith(f"the last replies: {told} (2 times)")
    assert "does not answer" not in why.why


def settled(ledger: Database, lease: str, id: str, outcome: Outcome, evidence: Evidence) -> None:
    """An attempt that came to this."""
    with ledger.write() as tx:
        (claimed,) = claim(tx, [id], lease=lease, account="default")
        attempt = new_id()
        open_attempts(tx, [Opening(claimed, attempt)], lease=lease, account="default")
        ends = Status.UNKNOWN if isinstance(outcome, Unknown) else Status.QUEUED
        due_at = None if isinstance(outcome, Unknown) else read_clock(tx) + 60_000
        settlement = Settlement(id, attempt, outcome, evidence, 1.0, ends, due_at, 1, 0, outcome.why)
        settle(tx, [settlement])


def test_a_retry_after_an_answer_is_not_told_as_one_that_never_reached_the_vendor(ledger: Database) -> None:
    _, (id,) = a_campaign(ledger)
    lease = a_worker(ledger)
    with ledger.write() as tx:
        (claimed,) = claim(tx, [id], lease=lease, account="default")
        attempt, now = new_id(), read_clock(tx)
        open_attempts(tx, [Opening(claimed, attempt)], lease=lease, account="default")
        outcome = Refused("17115", "the vendor could not send the message (17115)")
        evidence = Evidence(http_status=200, ret_code=17115, bytes_sent=True, reply_began=True)
        settlement = Settlement(
            id, attempt, outcome, evidence, 1.0, Status.RETRY, now + 90_000, 1, 0, outcome.why
        )
        settle(tx, [settlement])
    why = ask(ledger, id)
    assert "could not send the message (17115)" in why.why
    assert "did not reach" not in why.why


@pytest.mark.parametrize("what", ["campaign", "sender", "account"])
def test_a_pause_is_named_with_its_reason_and_has_no_end_of_its_own(ledger: Database, what: str) -> None:
    campaign, (id,) = a_campaign(ledger)
    a_worker(ledger)
    with ledger.write() as tx:
        acts: dict[str, Callable[[], bool]] = {
            "campaign": lambda: pauses.pause_campaign(tx, campaign.id, actor="ann", why="wrong picture"),
            "sender": lambda: pauses.pause_sender(tx, SENDER, actor="ann", why="wrong picture"),
            "account": lambda: pauses.pause_account(tx, "default", actor="ann", why="wrong picture"),
        }
        assert acts[what]()
    why = ask(ledger, id)
    assert (why.gate, why.earliest) == (f"{what}_paused", None)
    assert "wrong picture" in why.why


def test_a_pause_does_not_hold_a_post_that_is_under_way(ledger: Database) -> None:
    campaign, (id,) = a_campaign(ledger)
    with ledger.write() as tx:
        lease, _ = leases.take(tx, "test:1", 60_000)
        (claimed,) = claim(tx, [id], lease=lease, account="default")
        open_attempts(tx, [Opening(claimed, new_id())], lease=lease, account="default")
        pauses.pause_campaign(tx, campaign.id, actor="ann", why="wrong picture")
    why = ask(ledger, id)
    assert (why.status, why.gate, why.earliest, why.also) == ("sending", "in_hand", None, [])
    assert "may have gone out" in why.why


def test_of_several_gates_the_one_that_holds_longest_comes_first(ledger: Database) -> None:
    campaign, (id,) = a_campaign(ledger, due_in_ms=60_000)
    with ledger.write() as tx:
        pauses.pause_campaign(tx, campaign.id, actor="a", why="w")
    why = ask(ledger, id)
    assert why.gate == "campaign_paused"
    assert [other.gate for other in why.also] == ["due_time"]


def test_without_a_worker_that_is_what_holds_it(ledger: Database) -> None:
    _, (id,) = a_campaign(ledger)
    why = ask(ledger, id)
    assert ask(ledger, id.upper()) == why
    assert why.gate == "no_worker"
    assert "bulksend worker" in why.why


def test_in_the_queue_of_its_sender_it_is_told_how_many_go_before_it(ledger: Database) -> None:
    _, ids = a_campaign(ledger, count=801)
    a_worker(ledger)
    why = ask(ledger, ids[-1])
    assert why.gate == "sender_rate"
    assert "800 messages of its campaign are sent before it at 80/s" in why.why
    with ledger.read() as tx:
        assert why.earliest is not None
        assert 5_000 < why.earliest - read_clock(tx) <= 10_000


def test_a_campaign_slower_than_its_sender_is_named(ledger: Database) -> None:
    _, ids = a_campaign(ledger, count=21, rate=2.0)
    a_worker(ledger)
    assert ask(ledger, ids[-1]).gate == "campaign_rate"


@pytest.mark.parametrize(
    "status", ["accepted", "failed", "expired", "suppressed", "cancelled", "superseded", "unknown"]
)
def test_nothing_holds_a_message_that_has_ended(ledger: Database, status: str) -> None:
    _, (id,) = a_campaign(ledger)
    with ledger.write() as tx:
        tx.execute(update(messages_table).values(status=status, error="because"))
    why = ask(ledger, id)
    assert (why.gate, why.earliest) == (None, None)
    assert "because" in why.why


# -- what only the limiter knows -----------------------------------------------------------------------


@pytest.fixture
def permits(valkey: redis.Redis) -> RedisPermits:
    """A limiter that has come out of its cold start."""
    made = RedisPermits(valkey, hash_key=bytes(32), account="default")
    warm = _an_ask("447700900999", sender="447700900998")
    made.ask([warm], lead_ms=0)
    made.restore(pauses=[], recent=[])
    deadline = time.monotonic() + 60
    while any(wait.gate is Gate.COLD for wait in made.peek(warm)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    made.restore(pauses=[], recent=[])
    return made


def _an_ask(to: str, *, sender: str = SENDER, quota: int | None = None, campaign: str = "c") -> Ask:
    return Ask(Kind.OTP, sender, campaign, to, SenderLimits(80.0, quota), None)


def _wait_out(permits: RedisPermits, asks: list[Ask]) -> int:
    """Ask until nothing more is given; how many permits there were."""
    return sum(isinstance(answer, Permit) for answer in permits.ask(asks, lead_ms=0).answers)


def test_the_limiters_gates_are_named_as_they_are_now(
    tmp_path_factory: pytest.TempPathFactory, permits: RedisPermits
) -> None:
    ledger = Database(f"sqlite:///{tmp_path_factory.mktemp('why') / 'ledger.db'}")
    migrate(ledger)
    campaign, (id,) = a_campaign(ledger)
    a_worker(ledger)
    to = "447700900000"

    # An outage: two in a row, from any worker.
    permits.report(outages=2)
    why = ask(ledger, id, permits)
    assert why.gate == "outage"
    assert why.earliest is not None
    permits.report(successes=1)

    # A pause in Redis that the ledger has as well is told once, with the ledger's reason.
    permits.pause(Scope.CAMPAIGN, campaign.id)
    with ledger.write() as tx:
        pauses.pause_campaign(tx, campaign.id, actor="ann", why="wrong picture")
    why = ask(ledger, id, permits)
    assert (why.gate, [other.gate for other in why.also]) == ("campaign_paused", [])
    permits.resume(Scope.CAMPAIGN, campaign.id)
    with ledger.write() as tx:
        pauses.resume_campaign(tx, campaign.id, actor="ann", why="right picture")

    # The quota: other people have all the places that the account has in 24 h.
    with ledger.write() as tx:
        senders.change(tx, SENDER, actor="a", quota=10)
    assert _wait_out(permits, [_an_ask(f"447700900{n}", quota=10) for n in range(100, 111)]) == 10
    why = ask(ledger, id, permits)
    assert why.gate == "quota"
    with ledger.read() as tx:
        assert why.earliest is not None
        assert 86_000_000 < why.earliest - read_clock(tx) <= 86_402_000
    with ledger.write() as tx:
        senders.change(tx, SENDER, actor="a", no_quota=True)

    # The pair rate: 45 at once to one person, then one every 6 s.
    given = 0
    deadline = time.monotonic() + 60
    while (why := ask(ledger, id, permits)).gate != "pair_rate":
        given += _wait_out(permits, [_an_ask(to)])
        assert given <= 50
        assert time.monotonic() < deadline
    with ledger.read() as tx:
        assert why.earliest is not None
        assert 0 < why.earliest - read_clock(tx) <= 6_500

    # The sender's rate: codes have its tokens as far ahead as marketing may reach, but for one in twenty.
    people = (f"1202555{n:04d}" for n in itertools.count(100))

    def gates_of_a_busy_sender() -> dict[str, str]:
        _wait_out(permits, [_an_ask(next(people)) for _ in range(80)])
        why = ask(ledger, id, permits)
        return {holding.gate or "": holding.why for holding in (why, *why.also)}

    until(lambda: "sender_rate" in gates_of_a_busy_sender())

    # Throttled by the vendor, the sender uses half of its rate.
    permits.report(slow=[(Scope.SENDER, SENDER)])
    assert 0.5 <= permits.pace_of(SENDER) < 0.7
    throttled = re.compile(r"the vendor throttled its sender, which uses \d\d% of its rate now")
    until(lambda: throttled.search(gates_of_a_busy_sender().get("sender_rate", "")))
    ledger.close()


# -- said once -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("expired", "its time to live passed before it could be sent"),
        ("expired", "its time to live passed before the POST"),
        ("cancelled", "campaign cancelled"),
        ("superseded", "a newer code for the same person and purpose was sent in its place"),
        ("suppressed", "its recipient must not get this kind of message"),
        ("unknown", "it may have gone out, and was not sent again: campaign cancelled"),
        ("unknown", "its worker was lost while it was being sent"),
        ("failed", "131026: Message undeliverable"),
    ],
)
def test_no_sentence_is_said_twice(ledger: Database, status: str, error: str) -> None:
    _, (id,) = a_campaign(ledger)
    with ledger.write() as tx:
        tx.execute(update(messages_table).values(status=status, error=error))
    words = ask(ledger, id).why.lower().split()
    threes = list(zip(words, words[1:], words[2:], strict=False))
    assert len(set(threes)) == len(threes), " ".join(words)


def test_a_pause_is_told_once_by_the_campaigns_own_clock(ledger: Database) -> None:
    campaign, (id,) = a_campaign(ledger, due_in_ms=60_000)
    with ledger.write() as tx:
        pauses.pause_campaign(tx, campaign.id, actor="ann", why="wrong picture")
        tx.execute(update(messages_table).values(gate="campaign_paused"))
        tx.execute(update(campaigns_table).values(timezone="Asia/Tokyo", paused_at=1_899_795_600_000))
    why = ask(ledger, id)
    assert why.also == []
    assert why.why == "campaign spring has been paused since 2030-03-15 18:00:00 (Asia/Tokyo): wrong picture"


def test_it_is_said_that_a_message_expires_before_its_gate_opens(ledger: Database) -> None:
    campaign, (id,) = a_campaign(ledger, due_in_ms=60_000)
    ends = 1_899_795_600_000
    with ledger.write() as tx:
        tx.execute(update(messages_table).values(due_at=ends - 1, expires_at=ends))
    assert "expires" not in ask(ledger, id).why
    with ledger.write() as tx:
        tx.execute(update(messages_table).values(due_at=ends + 1))
    late = "; it expires at 2030-03-15 09:00:00 UTC if it is not sent before"
    assert ask(ledger, id).why.endswith(late)
    with ledger.write() as tx:
        pauses.pause_campaign(tx, campaign.id, actor="ann", why="wrong picture")
    assert ask(ledger, id).why.endswith("wrong picture" + late)


def test_behind_many_others_a_used_up_rate_is_not_the_whole_wait(
    tmp_path_factory: pytest.TempPathFactory, permits: RedisPermits
) -> None:
    ledger = Database(f"sqlite:///{tmp_path_factory.mktemp('turns') / 'ledger.db'}")
    migrate(ledger)
    _, ids = a_campaign(ledger, count=801)
    lease = a_worker(ledger)
    with ledger.write() as tx:
        assert len(claim(tx, ids, lease=lease, account="default")) == 801
    # The rate is used up for some seconds, by people of others.
    _wait_out(permits, [_an_ask(f"447700901{n}") for n in range(100, 400)])
    why = ask(ledger, ids[-1], permits)
    assert (why.gate, why.also) == ("sender_rate", [])
    assert why.why.startswith("800 messages of its campaign are sent before it at 80/s, about 10s")
    with ledger.write() as tx:
        tx.execute(update(workers_table).values(lease_until=0))
    assert ask(ledger, ids[-1], permits).gate == "no_worker"
