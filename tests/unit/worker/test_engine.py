"""The engine by a ledger in memory, a scripted vendor and the limiter's rules, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from bulksend.ledger.claim import Claimed
from bulksend.ledger.settle import Settlement
from bulksend.messaging import Evidence, Kind, Scope, Status, Unknown
from bulksend.metrics import WorkerMetrics
from tests.unit.worker.fakes import (
    Calls,
    MemoryCampaigns,
    MemoryLimiter,
    MemoryStore,
    NoRecorder,
    Row,
    ScriptedVendor,
    VirtualTimeLoop,
    a_message,
    run,
    until,
)
from worker.engine import Engine, EngineSettings
from worker.prefetch import PrefetchBuffer
from worker.recovery.spool import Spool


class Rig:
    """An engine whose parts a test can reach."""

    def __init__(
        self,
        loop: VirtualTimeLoop,
        folder: Path,
        messages: Iterable[Claimed],
        rate: float,
        rows: Mapping[str, Row],
        **settings: Any,
    ) -> None:
        self.calls = Calls()
        self.registry = CollectorRegistry()
        self.store = MemoryStore(messages, self.calls)
        """It renews its lease every 20 s."""
        self.store.rows |= rows
        self.vendor = ScriptedVendor(self.calls, idle=100)
        self.limiter = MemoryLimiter(loop, self.calls)
        self.prefetched = PrefetchBuffer(high_water=10_000)
        self.spool = Spool(folder)
        self.engine = Engine(
            store=self.store,
            campaign_cache=MemoryCampaigns(rate),
            permits=self.limiter,
            vendor=lambda clock: self.vendor,
            prefetched=self.prefetched,
            spool=self.spool,
            settings=EngineSettings(**{"in_flight": 10, "stop_grace_seconds": 10.0} | settings),
            recorder=NoRecorder(folder, most=100),
            metrics=WorkerMetrics(self.registry),
        )
        self.stop = asyncio.Event()

    def offer(self, *ids: str, lane: Kind = Kind.MARKETING) -> None:
        """A job with these ids arrives."""
        self.prefetched.add(lane, ids)
        self.engine.wake()


@asynccontextmanager
async def rig(
    loop: VirtualTimeLoop,
    folder: Path,
    messages: Iterable[Claimed],
    rate: float = 1000.0,
    rows: Mapping[str, Row] = MappingProxyType({}),
    **settings: Any,
) -> AsyncIterator[Rig]:
    """A running engine; it stops at the end if the test has not stopped it."""
    rig = Rig(loop, folder, messages, rate, rows, **settings)
    ready = asyncio.Event()
    running = asyncio.create_task(rig.engine.run(rig.stop, ready.set))
    if "take_lease" not in rig.store.away:
        await until(ready.is_set)
    try:
        yield rig
    finally:
        rig.stop.set()
        await running


def ids(count: int) -> list[str]:
    return [str(n) for n in range(count)]


def test_messages_are_claimed_posted_and_settled(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, map(a_message, ids(50))) as at:
            at.offer(*ids(50))
            await until(lambda: set(at.store.statuses().values()) == {"accepted"})
            assert (at.engine.totals.claimed, at.engine.totals.posted) == (50, 50)

    run(main)


def test_an_id_in_flight_is_not_claimed_again(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, map(a_message, ids(5)), rate=1.0) as at:
            at.offer(*ids(5))
            await until(lambda: len(at.calls.ids("claim")) == 5)
            for _ in range(3):
                at.offer(*ids(5))
                await asyncio.sleep(0.1)
            assert sorted(at.calls.ids("claim")) == ids(5)
            await until(lambda: set(at.store.statuses().values()) == {"accepted"})
            assert sorted(at.calls.ids("post")) == ids(5)

    run(main)


def test_a_lane_holds_no_more_messages_than_its_bound_and_otp_does_not_wait_for_it(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        messages = [*map(a_message, ids(50)), a_message("code", Kind.OTP)]
        async with rig(loop, tmp_path, messages, rate=10.0, max_per_lane=20, claim_size=10) as at:
            at.offer(*ids(50))
            await asyncio.sleep(0.5)
            assert len(at.store.claimed_under(at.store.lease or "")) <= 20
            at.offer("code", lane=Kind.OTP)
            await until(lambda: at.store.statuses()["code"] == "accepted")
            assert len(at.calls.ids("post")) < 20
            await until(lambda: set(at.store.statuses().values()) == {"accepted"})

    run(main)


def test_a_claim_that_fails_is_logged_and_the_next_one_works(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, map(a_message, ids(2))) as at:
            at.store.away = {"claim"}
            at.offer("0")
            await asyncio.sleep(1.0)
            at.store.away = set()
            at.offer("1")  # the relay publishes "0" again
            await until(lambda: at.store.statuses() == {"0": "queued", "1": "accepted"})

    run(main)


def test_nothing_is_claimed_without_a_lease(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, map(a_message, ids(5))) as at:
            at.store.away = {"take_lease"}
            at.store.valid.clear()
            await until(lambda: not at.engine.has_lease, 0.1)
            at.offer(*ids(5))
            await asyncio.sleep(10.0)
            assert at.calls.ids("claim") == []
            at.store.away = set()
            await until(lambda: set(at.store.statuses().values()) == {"accepted"})

    run(main)


def test_a_lost_lease_drops_the_messages_without_an_attempt_and_settles_the_posts_under_way(
    tmp_path: Path,
) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, map(a_message, ids(100)), rate=1.0, rescue_seconds=1e6) as at:
            at.vendor.reply_s = 30.0
            at.offer(*ids(100))
            await until(lambda: at.engine.in_flight.posting > 0)
            under_way = set(at.calls.ids("post"))
            at.store.valid.clear()
            await until(lambda: at.store.lease == "lease-2", 0.1)
            opened = set(at.calls.ids("open"))
            await asyncio.sleep(60.0)
            assert under_way <= set(at.calls.ids("settle"))
            # The claims of the old lease are left to a rescue.
            assert {id for id, row in at.store.rows.items() if row.owner == "lease-1"} == (
                at.store.rows.keys() - opened
            )
            assert set(at.calls.ids("post")) <= opened
            # Once rescued they can be claimed under the new lease, though the worker had them in flight.
            dropped = [row for row in at.store.rows.values() if row.owner == "lease-1"]
            for row in dropped:
                row.status, row.owner = "queued", None
            at.offer(*(row.message.id for row in dropped))
            await until(lambda: {row.owner for row in dropped} == {"lease-2"})

    run(main)


def test_a_stop_finishes_the_posts_under_way_and_gives_back_the_rest(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, map(a_message, ids(100)), rate=10.0) as at:
            at.vendor.reply_s = 2.0
            at.offer(*ids(100))
            await until(lambda: at.engine.in_flight.posting == 5)
        posted = set(at.calls.ids("post"))
        assert {id for id, status in at.store.statuses().items() if status == "accepted"} == posted
        assert set(at.calls.ids("give_back")) == at.store.rows.keys() - posted
        assert set(at.store.statuses().values()) == {"accepted", "queued"}
        assert at.calls.events[-1] == ("end_lease", "lease-1")
        assert at.spool.files() == []

    run(main)


def test_a_stop_saves_the_results_that_the_ledger_does_not_take(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, map(a_message, ids(3)), stop_grace_seconds=1.0) as at:
            at.store.away = {"settle"}
            at.offer(*ids(3))
            await until(lambda: len(at.calls.ids("post")) == 3)
        (file,) = at.spool.files()
        assert {settlement.message for settlement in at.spool.load(file)} == set(ids(3))
        assert set(at.store.statuses().values()) == {"sending"}

    run(main)


@pytest.mark.parametrize("idle", [100, 0], ids=["connected", "not connected"])
def test_a_stop_without_a_limiter_queues_again_what_has_an_open_attempt_and_missed_its_slice(
    tmp_path: Path, idle: int
) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, map(a_message, ids(5)), stop_grace_seconds=2.0) as at:
            at.vendor.idle = idle
            loop.work_s = 0.5  # the write-ahead takes longer than the lead: every slice is missed
            at.offer(*ids(5))
            await until(lambda: len(at.calls.ids("open")) == 5)
            at.limiter.is_away = True
        assert at.calls.ids("post") == []
        assert at.store.statuses() == dict.fromkeys(ids(5), "queued")
        assert at.spool.files() == []

    run(main)


def test_what_expires_without_a_limiter_goes_back_to_the_ledger_and_takes_no_permit_later(
    tmp_path: Path,
) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        late = [a_message(id, Kind.OTP, left_ms=0) for id in ids(200)]
        async with rig(loop, tmp_path, [*late, a_message("code", Kind.OTP, left_ms=600_000)]) as at:
            at.limiter.is_away = True
            at.offer(*ids(200), "code", lane=Kind.OTP)
            await until(lambda: set(at.calls.ids("give_back")) == set(ids(200)))
            await asyncio.sleep(60.0)
            at.limiter.is_away = False
            await until(lambda: at.store.statuses()["code"] == "accepted")
            assert set(at.limiter.asked) == {"code"}
            assert {at.store.rows[id].gate for id in ids(200)} == {"cold"}

    run(main)


def test_a_limiter_that_lost_its_data_gets_it_back_from_the_ledger(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, map(a_message, ids(5))) as at:
            at.store.away = {"pauses"}
            at.limiter.forget()
            await asyncio.sleep(10.0)
            at.offer(*ids(5))
            await asyncio.sleep(10.0)
            assert at.calls.ids("post") == []
            at.store.away = set()
            await until(lambda: set(at.store.statuses().values()) == {"accepted"})

    run(main)


def test_a_start_replays_the_results_of_an_earlier_worker(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        unknown = Settlement("0", "a-0", Unknown("?"), Evidence(), 1.0, Status.UNKNOWN, None, 1, 0, "?")
        file = Spool(tmp_path).save([unknown])
        before = Row(a_message("0"), "sending", attempt_id="a-0")
        async with rig(loop, tmp_path, [], rows={"0": before}) as at:
            assert at.store.statuses() == {"0": "unknown"}
            assert not file.exists()

    run(main)


def test_a_stop_ends_while_a_claim_fails(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, [a_message("0")]) as at:
            loop.work_s = 1.0
            at.store.away = {"claim"}
            at.offer("0")
            await until(lambda: at.prefetched.size(Kind.MARKETING) == 0)
        assert at.calls.events == [("end_lease", "lease-1")]

    run(main)


def test_a_stop_while_a_claim_is_under_way_gives_back_what_it_claimed(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, map(a_message, ids(50))) as at:
            loop.work_s = 1.0
            at.offer(*ids(50))
            await until(lambda: at.prefetched.size(Kind.MARKETING) == 0)
            assert at.calls.ids("claim") == []
        assert len(at.calls.ids("claim")) == 50
        assert set(at.store.statuses().values()) == {"queued"}
        assert at.calls.ids("post") == []

    run(main)


def test_a_message_that_leaves_makes_room_for_the_next_claim(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, map(a_message, ids(40)), max_per_lane=8, claim_size=4) as at:
            began = loop.time()
            at.offer(*ids(40))
            await until(lambda: set(at.store.statuses().values()) == {"accepted"})
            assert loop.time() - began < 4.0, "it waited for the next regular claim"

    run(main)


def test_a_paused_campaign_goes_back_to_the_ledger(tmp_path: Path) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async with rig(loop, tmp_path, map(a_message, ids(20)), rescue_seconds=1e6) as at:
            at.limiter.pause(Scope.CAMPAIGN, "campaign")
            at.offer(*ids(20))
            await until(lambda: len(at.calls.ids("give_back")) == 20)
            assert {row.gate for row in at.store.rows.values()} == {"campaign_paused"}
            assert at.calls.ids("post") == []

    run(main)


@pytest.mark.parametrize("max_per_lane", [40, 10])
def test_a_newer_code_takes_the_turn_of_the_older_one_that_it_replaces(
    tmp_path: Path, max_per_lane: int
) -> None:
    """It is in flight already, or has not been claimed."""

    async def main(loop: VirtualTimeLoop) -> None:
        codes = [a_message(id, Kind.OTP) for id in ids(30)]
        async with rig(loop, tmp_path, codes, rate=2.0, max_per_lane=max_per_lane) as at:
            at.store.refused, at.store.newer = {"5"}, {"5": "29"}
            at.offer(*ids(30), lane=Kind.OTP)
            await until(lambda: "29" in at.calls.ids("post"))
            assert len(at.calls.ids("post")) < 15

    run(main)
