"""The delivery of messages by a ledger in memory, a scripted vendor and the limiter's rules, in virtual time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from bulksend.batcher import Batcher
from bulksend.clock import steady_seconds
from bulksend.gateway import SendOrder
from bulksend.ledger.claim import Claimed
from bulksend.limits import SenderLimits
from bulksend.messaging import Answer, Evidence, Kind, NotSent, Policy, Refused, Remedy, Retry, Scope, Unknown
from bulksend.messaging.quiet_hours import read_quiet_hours
from bulksend.messaging.units import parse_instant_ms
from bulksend.metrics import WorkerMetrics
from bulksend.tracing import Tracing
from tests.faults.judge import fullest_second
from tests.unit.worker.fakes import (
    Calls,
    MemoryCampaigns,
    MemoryLimiter,
    MemoryStore,
    NoRecorder,
    ScriptedVendor,
    VirtualTimeLoop,
    a_message,
    run,
    until,
)
from worker.delivery.decision_effects import DecisionEffects
from worker.delivery.dependencies import Dependencies, Totals
from worker.delivery.in_flight import InFlightTable, Stage
from worker.delivery.pipeline import DeliveryPipeline
from worker.delivery.quiet_gate import QuietGate
from worker.permits.permit_queue import PermitQueue
from worker.session.lease import LeaseKeeper

#: Quiet hours for the numbers of two countries, and not for the ids that other tests have as recipients.
NIGHT = read_quiet_hours(
    "kind,where,quiet,days\nmarketing,GB US,21:00-08:00,\nmarketing,+8816,21:00-08:00,\n"
)
LONDON, SATELLITE = "447700900123", "881612345678"
EVENING, MORNING = (
    parse_instant_ms(text, timezone=None, now_ms=0)
    for text in ("2030-01-10T21:00:00Z", "2030-01-11T08:00:00Z")
)
#: With an idle connection a POST needs no task; without one it connects in a task first.
BOTH_WAYS = pytest.mark.parametrize("idle", [100, 0], ids=["connected", "not connected"])


class Rig:
    """A pipeline whose parts a test can reach. ``loop.work_s`` is how long the ledger takes for a batch."""

    def __init__(self, loop: VirtualTimeLoop, folder: Path, idle: int, capacity: int = 10) -> None:
        self.loop = loop
        self.calls = Calls()
        self.registry = CollectorRegistry()
        self.spans = InMemorySpanExporter()
        self.tracing = Tracing(self.spans, "worker")
        self.store = MemoryStore(calls=self.calls)
        self.campaigns = MemoryCampaigns()
        self.vendor = ScriptedVendor(self.calls, idle=idle)
        self.limiter = MemoryLimiter(loop, self.calls)
        self.in_flight = InFlightTable(capacity=capacity, max_per_lane=1000, claim_size=100)
        self.totals = Totals()
        self.zones: dict[str, str] = {}
        self.lease = LeaseKeeper(self.store, self._thread, lease_seconds=60, on_lost=lambda: None)
        self.permits = PermitQueue(
            self.limiter,
            None,  # type: ignore[arg-type]
            lead_ms=lambda lane: 10.0,
        )
        """It asks for as many permits as it can get, so that only the last check keeps to the capacity."""
        opener: Any = self._batcher(self._open)
        self.pipeline = DeliveryPipeline(
            Dependencies(
                in_flight=self.in_flight,
                campaign_cache=self.campaigns,
                permits=self.permits,
                openers=dict.fromkeys(Kind, opener),
                vendor=self.vendor,
                settler=self._batcher(self._settle),
                releaser=self._batcher(self._give_back),
                effects=DecisionEffects(
                    self.store, self.limiter, self._thread, self._thread, self.permits.note_outage
                ),
                lease=self.lease,
                recorder=NoRecorder(folder, most=100),
                fail=lambda failures, lease: self._thread(self.store.fail, failures, lease),
                policy=Policy(),
                dice=lambda: 0.5,
                on_removed=lambda lane: None,
                totals=self.totals,
                metrics=WorkerMetrics(self.registry),
                tracing=self.tracing,
                quiet=QuietGate(NIGHT, lambda message: self.zones.get(message.id)),
            )
        )

    def _batcher(self, work: Any) -> Any:
        return Batcher(work, None)  # type: ignore[arg-type]

    async def _thread(self, work: Any, *args: Any) -> Any:
        return await self.loop.run_in_executor(None, work, *args)

    def _open(self, openings: Any) -> list[bool]:
        opened = self.store.open(openings, self.lease.newest or "")
        return [opening.attempt_id in opened for opening in openings]

    def _settle(self, settlements: Any) -> list[None]:
        self.store.settle(settlements)
        return [None] * len(settlements)

    def _give_back(self, releases: Any) -> list[None]:
        self.store.give_back(releases, self.lease.newest or "")
        return [None] * len(releases)

    def start(self, *messages: Claimed) -> None:
        """Claim messages and start their delivery."""
        self.store.rows |= MemoryStore(messages).rows
        lease = self.lease.id
        assert lease is not None
        for message in self.store.claim([message.id for message in messages], lease):
            self.pipeline.start(message, lease, steady_seconds())

    async def until_empty(self) -> None:
        """Until no message is in flight."""
        await until(self.in_flight.empty.is_set)


@asynccontextmanager
async def rig(
    loop: VirtualTimeLoop, folder: Path, idle: int = 100, capacity: int = 10, now_ms: int | None = None
) -> AsyncIterator[Rig]:
    rig = Rig(loop, folder, idle, capacity)
    if now_ms is not None:
        rig.store.now_ms = now_ms
    await rig.lease.take()
    serving = asyncio.create_task(rig.permits.run())
    try:
        yield rig
    finally:
        serving.cancel()
        await rig.pipeline.stop(0.0)


@BOTH_WAYS
def test_an_attempt_is_open_in_the_ledger_before_its_post_starts(tmp_path: Path, idle: int) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, idle) as at:
            at.start(*(a_message(str(n)) for n in range(30)))
            await at.until_empty()
            for n in range(30):
                assert at.calls.of(str(n)) == ["claim", "open", "post", "settle"]

    run(main)


@BOTH_WAYS
def test_an_answer_is_settled_once_and_its_capacity_is_free_again(tmp_path: Path, idle: int) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, idle) as at:
            at.start(*(a_message(str(n)) for n in range(30)))
            await at.until_empty()
            assert sorted(at.calls.ids("settle")) == sorted(str(n) for n in range(30))
            assert set(at.store.statuses().values()) == {"accepted"}
            assert at.in_flight.posting == 0
            assert at.in_flight.unsettled == {}
            assert at.in_flight.expected_capacity(Kind.OTP, 1e9, 0.0) == 10
            assert (at.totals.posted, at.totals.accepted) == (30, 30)

    run(main)


@BOTH_WAYS
def test_a_message_past_its_deadline_is_not_posted(tmp_path: Path, idle: int) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, idle) as at:
            at.start(a_message("late", Kind.OTP, left_ms=0), a_message("other", Kind.OTP, left_ms=60_000))
            await at.until_empty()
            assert at.calls.ids("post") == ["other"]
            (outcome,) = [s.outcome for s in at.store.settlements if s.message == "late"]
            assert isinstance(outcome, NotSent)

    run(main)


def test_a_deadline_that_passes_while_the_request_is_made_is_seen_before_its_first_byte(
    tmp_path: Path,
) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path) as at:
            at.vendor.make_ready = lambda order: time.sleep(0.25 * (order.to == "late"))
            at.start(a_message("late", Kind.OTP, left_ms=250), a_message("other", Kind.OTP, left_ms=60_000))
            await at.until_empty()
            assert at.calls.ids("post") == ["other"]
            assert at.store.statuses() == {"late": "retry", "other": "accepted"}

    run(main)


def test_a_message_that_the_ledger_does_not_open_is_not_posted(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path) as at:
            at.store.refused = {"cancelled"}
            at.start(a_message("cancelled"), a_message("other"))
            await at.until_empty()
            assert at.calls.ids("post") == ["other"]
            assert at.calls.of("cancelled") == ["claim"]

    run(main)


def test_while_the_ledger_does_not_answer_nothing_is_posted_and_then_it_is_opened(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path) as at:
            at.store.away = {"open"}
            at.start(a_message("1"))
            await asyncio.sleep(5.0)
            assert at.calls.of("1") == ["claim"]
            at.store.away = set()
            await at.until_empty()
            assert at.calls.of("1") == ["claim", "open", "post", "settle"]

    with capture_logs() as logs:
        run(main)
    assert [line["event"] for line in logs if line["event"] == "not_opened"] == ["not_opened"]


def test_a_message_whose_lease_was_lost_while_the_ledger_did_not_answer_is_dropped(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path) as at:
            at.store.away = {"open"}
            at.start(a_message("1"))
            await asyncio.sleep(5.0)
            await at.lease.take()
            await at.until_empty()
            assert at.calls.of("1") == ["claim"]

    run(main)


def test_a_result_that_the_ledger_does_not_take_is_offered_until_it_does(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path) as at:
            at.store.away = {"settle"}
            at.start(a_message("1"))
            await asyncio.sleep(5.0)
            assert [s.message for s in at.in_flight.unsettled.values()] == ["1"]
            at.store.away = set()
            await at.until_empty()
            assert at.calls.of("1") == ["claim", "open", "post", "settle"]

    with capture_logs() as logs:
        run(main)
    assert [line["event"] for line in logs if line["event"] == "not_written"] == ["not_written"]


@BOTH_WAYS
def test_a_lost_lease_stops_the_posts_of_attempts_that_are_open(tmp_path: Path, idle: int) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, idle) as at:
            at.vendor.connect_s = 1.0
            at.start(a_message("1"))
            await until(lambda: bool(at.calls.ids("open")))
            await at.lease.take()
            await at.until_empty()
            assert at.calls.ids("post") == []
            (settlement,) = at.store.settlements
            assert isinstance(settlement.outcome, NotSent)
            assert settlement.tries == 0

    run(main)


async def opened_too_late(loop: VirtualTimeLoop, at: Rig) -> None:
    """A message whose write-ahead took longer than the lead: it misses its slice."""
    await asyncio.sleep(1.0)
    loop.work_s = 0.200
    at.start(a_message("1"))
    await until(lambda: bool(at.calls.ids("open")))
    loop.work_s = 0.001


def test_a_lost_lease_settles_what_is_open_and_not_posted_without_waiting_for_the_limiter(
    tmp_path: Path,
) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path) as at:
            await opened_too_late(loop, at)
            at.limiter.is_away = True
            await asyncio.sleep(1.0)
            assert at.calls.of("1") == ["claim", "open"]
            at.pipeline.lose_lease()
            await at.until_empty()
            assert at.calls.of("1") == ["claim", "open", "settle"]
            (settlement,) = at.store.settlements
            assert isinstance(settlement.outcome, NotSent)
            assert settlement.tries == 0
            at.limiter.is_away = False
            await asyncio.sleep(1.0)
            assert at.calls.ids("post") == []

    run(main)


def test_a_lost_lease_drops_the_messages_without_an_attempt(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path) as at:
            at.limiter.pause(Scope.CAMPAIGN, "campaign")
            at.store.away = {"give_back"}
            at.start(a_message("1"))
            await asyncio.sleep(1.0)
            at.pipeline.lose_lease()
            assert at.in_flight.ids() == set()
            await at.lease.take()
            at.store.away = set()
            await asyncio.sleep(5.0)
            assert at.calls.of("1") == ["claim"]

    run(main)


def test_what_missed_its_slice_gets_another(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path) as at:
            await opened_too_late(loop, at)
            await at.until_empty()
            assert at.totals.missed_slices == 1
            assert at.calls.of("1") == ["claim", "open", "post", "settle"]

    run(main)


def test_a_post_held_up_after_the_last_look_puts_no_second_over_the_limit(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path) as at:
            at.campaigns.limits = SenderLimits(80.0, None)
            numbers = count(1)

            def off_the_processor(order: SendOrder) -> None:
                # Of most POSTs the slices that stay unused anyway would make up for it: 2 of 82.
                loop.now += 0.0505 * (next(numbers) == 69)

            at.vendor.write = off_the_processor
            at.start(*(a_message(str(n)) for n in range(200)))
            await at.until_empty()
            assert len(at.vendor.posted_at) == 200
            assert fullest_second(at.vendor.posted_at) == 80

    run(main)


def test_what_missed_its_slice_and_a_pause_blocks_is_settled_as_not_sent(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path) as at:
            await asyncio.sleep(1.0)
            loop.work_s = 0.200
            at.start(a_message("1"))
            await until(lambda: bool(at.calls.ids("open")))
            loop.work_s = 0.001
            at.limiter.pause(Scope.CAMPAIGN, "campaign")
            await at.until_empty()
            assert at.calls.of("1") == ["claim", "open", "settle"]
            (settlement,) = at.store.settlements
            assert isinstance(settlement.outcome, NotSent)
            assert settlement.tries == 0

    run(main)


def test_a_paused_message_is_given_back_with_its_gate(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path) as at:
            at.limiter.pause(Scope.CAMPAIGN, "campaign")
            at.start(a_message("1"))
            await at.until_empty()
            assert at.calls.of("1") == ["claim", "give_back"]
            assert at.store.rows["1"].gate == "campaign_paused"

    run(main)


@BOTH_WAYS
def test_no_more_posts_are_under_way_than_the_capacity_and_a_tenth_is_reserved_for_otp(
    tmp_path: Path, idle: int
) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, idle) as at:
            at.vendor.reply_s = 3.0
            at.start(*(a_message(f"blast{n}") for n in range(30)))
            await asyncio.sleep(1.0)
            assert at.in_flight.posting == 9
            at.start(a_message("code", Kind.OTP))
            await asyncio.sleep(1.0)
            assert at.calls.ids("post")[-1] == "code"
            at.vendor.reply_s = 0.01
            await at.until_empty()
            assert at.vendor.most_under_way == 10

    run(main)


@BOTH_WAYS
def test_a_bug_of_the_vendors_client_makes_its_message_unknown_and_the_others_go_on(
    tmp_path: Path, idle: int
) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, idle) as at:
            at.vendor.answers["2"] = RuntimeError("a bug")
            at.start(*(a_message(str(n)) for n in range(5)))
            await at.until_empty()
            statuses = at.store.statuses()
            assert statuses.pop("2") == "unknown"
            assert set(statuses.values()) == {"accepted"}
            assert at.in_flight.posting == 0

    run(main)


def test_a_bug_before_the_attempt_gives_the_message_back_for_later(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path) as at:
            at.campaigns.bug = RuntimeError("a bug")
            at.start(a_message("1"))
            await at.until_empty()
            assert at.calls.of("1") == ["claim", "give_back"]
            assert at.store.rows["1"].due_at >= at.store.now_ms + 20_000

    run(main)


def test_a_message_that_cannot_be_rendered_fails_without_a_permit(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path) as at:
            at.start(a_message("1", payload=None))
            await at.until_empty()
            assert at.calls.of("1") == ["claim", "fail"]

    run(main)


@BOTH_WAYS
def test_a_stop_waits_for_the_posts_under_way_and_settles_them(tmp_path: Path, idle: int) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, idle) as at:
            at.vendor.reply_s = 3.0
            at.campaigns.limits = SenderLimits(5.0, None)
            at.start(*(a_message(str(n)) for n in range(30)))
            await until(lambda: at.in_flight.posting == 4)
            await at.pipeline.stop(10.0)
            posted = set(at.calls.ids("post"))
            assert set(at.calls.ids("settle")) == posted
            assert {id for id, status in at.store.statuses().items() if status == "claimed"} == (
                at.store.rows.keys() - posted
            )
            assert at.in_flight.ids() == set()

    run(main)


@BOTH_WAYS
def test_a_stop_cancels_a_post_that_takes_longer_and_leaves_its_attempt_open(
    tmp_path: Path, idle: int
) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, idle) as at:
            at.vendor.reply_s = 60.0
            at.start(a_message("1"))
            await until(lambda: at.in_flight.posting == 1)
            await at.pipeline.stop(1.0)
            await asyncio.sleep(100.0)
            assert at.calls.of("1") == ["claim", "open", "post", "cancelled"]
            assert at.store.statuses() == {"1": "sending"}
            assert at.in_flight.ids() == set()

    run(main)


def test_a_pause_that_an_answer_asks_for_is_in_force_before_its_message_is_settled(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path) as at:
            remedy = Remedy(retry=Retry.FREE, pause=Scope.CAMPAIGN)
            at.vendor.answers["1"] = Answer(Refused("17125", "no money", remedy), Evidence())
            at.start(a_message("1"))
            await at.until_empty()
            done = [event for event in at.calls.events if event[0] in ("pause", "limiter_pause", "settle")]
            assert done == [("pause", "campaign"), ("limiter_pause", "campaign"), ("settle", "1")]

    run(main)


def test_two_outages_in_a_row_stop_the_posts_whose_permits_are_older(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, capacity=100) as at:
            at.campaigns.limits = SenderLimits(400.0, None)
            for n in range(50):
                at.vendor.answers[str(n)] = Answer(Unknown("HTTP 503"), Evidence(http_status=503))
            at.start(*(a_message(str(n)) for n in range(50)))
            await asyncio.sleep(1.5)
            # Some forty have permits when the second answer comes, 12 ms after the first POST.
            assert 2 <= len(at.calls.ids("post")) <= 15
            assert Stage.POSTING not in {message.stage for message in at.in_flight}

    run(main)


@BOTH_WAYS
def test_each_answer_is_counted_and_a_message_without_a_post_only_by_its_status(
    tmp_path: Path, idle: int
) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, idle) as at:
            at.start(a_message("late", Kind.OTP, left_ms=0), a_message("1", Kind.OTP), a_message("2"))
            await at.until_empty()
            count = at.registry.get_sample_value
            posted = {"sender": a_message("1").sender, "outcome": "accepted", "code": ""}
            assert count("bulksend_attempts_total", posted) == 2
            assert count("bulksend_attempt_duration_seconds_count", {"sender": posted["sender"]}) == 2
            assert count("bulksend_messages_total", {"kind": "otp", "status": "accepted"}) == 1
            assert count("bulksend_queue_wait_seconds_count", {"kind": "otp"}) == 1

    run(main)


def test_the_span_of_a_post_says_its_outcome_and_no_number(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path) as at:
            at.start(a_message("1", Kind.OTP))
            await at.until_empty()
            at.tracing.close()
            (span,) = at.spans.get_finished_spans()
            expected = {"bulksend.kind": "otp", "bulksend.outcome": "accepted", "bulksend.code": 0}
            assert (span.name, dict(span.attributes or {})) == ("post", expected)

    run(main)


# -- quiet hours ------------------------------------------------------------------------------------------------------


def test_in_quiet_hours_a_message_goes_back_to_the_ledger_until_they_end(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, now_ms=EVENING) as at:
            at.zones = {"abroad": "America/New_York", "west": "America/New_York"}
            at.start(
                a_message("1", recipient=LONDON),
                a_message("code", Kind.OTP, recipient=LONDON),
                a_message("abroad", recipient=LONDON),
                a_message("west", recipient="13125550123"),
            )
            await at.until_empty()
            assert at.calls.of("1") == ["claim", "give_back"]
            assert (at.store.rows["1"].gate, at.store.rows["1"].due_at) == ("quiet_hours", MORNING)
            assert at.store.statuses() == {
                "1": "queued",
                "code": "accepted",
                "abroad": "accepted",
                "west": "accepted",
            }

    run(main)


def test_a_message_whose_number_shows_no_zone_fails_where_quiet_hours_apply_to_it(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, now_ms=MORNING) as at:
            at.zones = {"known": "Europe/London"}
            at.start(a_message("1", recipient=SATELLITE), a_message("known", recipient=SATELLITE))
            await at.until_empty()
            assert at.calls.of("1") == ["claim", "fail"]
            assert at.store.statuses() == {"1": "failed", "known": "accepted"}

    run(main)


def _pass_the_evening(rig: Rig) -> None:
    """The ledger's clock is read from the real one."""
    while rig.lease.now_ms() <= EVENING:
        pass


def test_quiet_hours_that_begin_while_it_waits_for_its_slot_hold_it(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, now_ms=EVENING - 50) as at:
            at.limiter.is_away = True
            at.start(a_message("1", recipient=LONDON))
            await asyncio.sleep(0.01)
            _pass_the_evening(at)
            at.limiter.is_away = False
            await at.until_empty()
            assert at.calls.of("1") == ["claim", "give_back"]
            assert (at.store.rows["1"].gate, at.store.rows["1"].due_at) == ("quiet_hours", MORNING)

    run(main)


@BOTH_WAYS
def test_quiet_hours_that_begin_when_its_attempt_is_open_still_forbid_the_post(
    tmp_path: Path, idle: int
) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, idle, now_ms=EVENING - 50) as at:
            at.vendor.connect_s = 1.0
            at.start(a_message("1", recipient=LONDON))
            await until(lambda: bool(at.calls.ids("open")))
            _pass_the_evening(at)
            await at.until_empty()
            assert at.calls.of("1") == ["claim", "open", "settle"]
            (settlement,) = at.store.settlements
            assert (settlement.status.value, settlement.tries) == ("queued", 0)

    run(main)


def test_what_has_no_connection_in_its_slice_is_posted_in_another_when_it_has_one(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, idle=0) as at:
            at.vendor.connect_s = 0.5
            at.start(*(a_message(str(n)) for n in range(3)))
            await at.until_empty()
            assert at.totals.missed_slices == 3
            for n in range(3):
                assert at.calls.of(str(n)) == ["claim", "open", "post", "settle"]

    run(main)


def test_a_connection_that_cannot_be_had_is_the_answer_to_one_message_each(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, idle=0) as at:
            remedy = Remedy(retry=Retry.BACKOFF)
            at.vendor.refuses = Answer(NotSent("no connection to the vendor", remedy), Evidence())
            at.vendor.connect_s = 0.5
            at.start(*(a_message(str(n)) for n in range(3)))
            await at.until_empty()
            assert at.calls.ids("post") == []
            assert [type(each.outcome) for each in at.store.settlements] == [NotSent] * 3
            assert [each.tries for each in at.store.settlements] == [1] * 3

    run(main)


def test_a_vendor_that_ends_each_connection_before_a_post_is_an_outage(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, idle=0) as at:
            at.vendor.hangs_up = True
            at.start(*(a_message(str(n)) for n in range(3)))
            await at.until_empty()
            assert at.calls.ids("post") == []
            whys = {each.outcome.why for each in at.store.settlements if isinstance(each.outcome, NotSent)}
            assert "the vendor ends each connection before the POST" in whys

    run(main)
