"""The engine of a worker process, on one event loop: claims the ids of jobs, starts a delivery for each message, stops.

Every call to the ledger or to Redis runs on a thread, in batches.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial

import structlog

from bulksend.clock import steady_seconds, wait_until
from bulksend.ledger.driver_errors import log_text
from bulksend.ledger.sending import Claimed, Opening, Release, Settlement
from bulksend.limits import MAX_LEAD_MS, Permits
from bulksend.messaging import Kind, Policy
from worker.delivery.batcher import Batcher
from worker.delivery.decision_effects import DecisionEffects
from worker.delivery.in_flight import InFlightTable
from worker.delivery.pipeline import Deliverer, Doers, Tally, Vendor
from worker.permits.permit_queue import PermitQueue
from worker.prefetch import PrefetchBuffer
from worker.recovery.flight_recorder import FlightRecorder
from worker.recovery.maintenance import (
    LimitsRestorer,
    OrphanReclaimer,
    lift_stale_pauses,
    reap_dead_workers,
    replay_spool,
    rescue_lapsed_leases,
    run_duties,
)
from worker.recovery.spool import Spool
from worker.session.campaign_cache import CampaignCache
from worker.session.lease import LeaseKeeper
from worker.session.store import Store

log = structlog.get_logger(__name__)

#: Hundreds are claimed together: begun in one turn of the loop, they would keep POSTs from their slots.
_BEGUN_AT_ONCE = 20
#: Between two transactions of results at least so much, unless there are many: nobody waits for a single one.
_SETTLE_BREATH_S = 0.025
#: Codes have threads of their own: they wait for no transaction of a blast's.
_THREADS = {
    "code-claims": 1,
    "claims": 1,
    "code-openings": 1,
    "openings": 1,
    "settlements": 1,
    "permits": 1,
    "maintenance": 2,
}


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How one worker process works. ``in_flight`` bounds POSTs under way; a tenth of it is kept for OTP."""

    in_flight: int = 200
    lease_seconds: float = 60.0
    stop_grace_seconds: float = 30.0
    in_hand: int = 4000
    """Claimed messages of a lane at most, most of them waiting for their turn."""
    claim_size: int = 500
    policy: Policy = field(default_factory=Policy)
    rescue_seconds: float = 5.0


class Engine:
    """Made on any thread, runs on the event loop that calls ``run``."""

    def __init__(
        self,
        *,
        store: Store,
        campaign_cache: CampaignCache,
        permits: Permits,
        vendor: Callable[[Callable[[], float]], Vendor],
        prefetched: PrefetchBuffer,
        spool: Spool,
        settings: EngineSettings,
        recorder: FlightRecorder,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._campaign_cache = campaign_cache
        self._permits = permits
        self._make_vendor = vendor
        self._prefetched = prefetched
        self._spool = spool
        self._settings = settings
        self._recorder = recorder
        self._dice = dice
        self.tally = Tally()

    @property
    def has_lease(self) -> bool:
        """Whether it may send; only once it runs. Without a lease nothing is claimed, opened or POSTed."""
        return self._lease.id is not None

    @property
    def under_way(self) -> int:
        """POSTs under way; only once it runs."""
        return self._hands.under_way

    # -- life ------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Work until ``stop`` is set, then stop cleanly: claim no more, finish what is in flight, give back."""
        self._loop = asyncio.get_running_loop()
        codes, bulk = asyncio.Event(), asyncio.Event()
        self._wakes = {Kind.OTP: codes, Kind.UTILITY: bulk, Kind.MARKETING: bulk}
        settings = self._settings
        self._hands = InFlightTable(
            in_flight=settings.in_flight, in_hand=settings.in_hand, claim_size=settings.claim_size
        )
        with ExitStack() as stack:
            self._threads = {
                name: stack.enter_context(ThreadPoolExecutor(many, name)) for name, many in _THREADS.items()
            }
            self._lease = LeaseKeeper(
                self._store,
                self._thread,
                lease_seconds=settings.lease_seconds,
                on_lost=self._lost,
                on_taken=self._recorder.hold_lease,
            )
            # Requests are signed by the ledger's clock: ours may be minutes off, and the vendor refuses that.
            vendor = self._make_vendor(lambda: self._lease.now_ms() / 1000)
            self._assemble(vendor)
            self._recorder.open()
            try:
                await self._work(stop, ready)
                self._recorder.close()
            finally:
                await vendor.aclose()
                # A good-bye: the other workers share the limits among fewer from now on.
                await self._thread(self._permits.close)

    def _assemble(self, vendor: Vendor) -> None:
        """Everybody who has a part in a delivery."""
        threads = self._threads
        code_opener: Batcher[Opening, bool] = Batcher(self._open_batch, threads["code-openings"])
        opener: Batcher[Opening, bool] = Batcher(self._open_batch, threads["openings"])
        self._openers = {lane: code_opener if lane is Kind.OTP else opener for lane in Kind}
        self._settler: Batcher[Settlement, None] = Batcher(
            self._settle_batch, threads["settlements"], breath_s=_SETTLE_BREATH_S
        )
        self._releaser: Batcher[Release, None] = Batcher(self._give_back_batch, threads["settlements"])
        resend_wait_ms = self._settings.policy.resend_wait_ms
        orphans = OrphanReclaimer(self._store, lease=lambda: self._lease.id, in_flight=self._hands.ids)
        self._duties: tuple[Callable[[], None], ...] = (
            partial(reap_dead_workers, self._store, self._recorder, resend_wait_ms),
            partial(rescue_lapsed_leases, self._store, resend_wait_ms),
            orphans.run,
            partial(lift_stale_pauses, self._store, self._permits),
        )
        self._desk = PermitQueue(
            self._permits,
            threads["permits"],
            lead_ms=self._lead_ms,
            on_cold=LimitsRestorer(self._store, self._permits, self._thread).start,
            room=self._free,
        )
        doers = Doers(
            hands=self._hands,
            campaign_cache=self._campaign_cache,
            desk=self._desk,
            openers=self._openers,
            vendor=vendor,
            settler=self._settler,
            releaser=self._releaser,
            follower=DecisionEffects(self._store, self._permits, self._thread, self._desk.outage),
            lease=self._lease,
            recorder=self._recorder,
            fail=lambda failures, lease: self._thread(self._store.fail, failures, lease),
        )
        self._deliverer = Deliverer(
            doers,
            policy=self._settings.policy,
            tally=self.tally,
            dice=self._dice,
            on_room=self._look_again,
        )

    async def _work(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        await self._lease.take()
        await self._thread(replay_spool, self._store, self._spool)
        loops = [
            asyncio.create_task(self._lease.keep(), name="lease"),
            asyncio.create_task(self._desk.run(), name="permits"),
            asyncio.create_task(
                run_duties(self._duties, self._thread, self._settings.rescue_seconds), name="maintenance"
            ),
        ]
        claiming = [
            asyncio.create_task(self._claim_loop(lanes), name="claims")
            for lanes in ((Kind.OTP,), (Kind.UTILITY, Kind.MARKETING))
        ]
        ready()
        stopped = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({stopped, *claiming, *loops}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopped}:
            log.error("engine_loop_ended", loop=task.get_name(), error=repr(task.exception()))
        await self._stop(claiming, loops)
        log.info("worker_stopped", **asdict(self.tally))
        stopped.cancel()
        for task in done - {stopped}:
            task.result()  # a loop that ended by itself is a bug: the process ends with its traceback

    async def _stop(
        self, claiming: Sequence[asyncio.Task[None]], loops: Sequence[asyncio.Task[None]]
    ) -> None:
        self._prefetched.close()
        for task in claiming:
            task.cancel()
        await asyncio.gather(*claiming, return_exceptions=True)
        await self._deliverer.finish(self._settings.stop_grace_seconds)
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await self._releaser.idle()
        await self._settler.idle()
        await self._give_back_unopened()
        unsettled = self._hands.unsettled
        if unsettled:
            path = self._spool.save(list(unsettled.values()))
            log.error("results_spooled", count=len(unsettled), file=path.name)
        lease = self._lease.newest
        if lease is not None:
            try:
                await self._thread(self._store.end_lease, lease)
            except Exception as error:  # noqa: BLE001 - the lease lapses by itself
                log.warning("lease_not_ended", error=log_text(error))

    async def _give_back_unopened(self) -> None:
        lease = self._lease.newest
        releases = [Release(id, 0, None, None) for id in self._hands.unopened]
        self._hands.unopened.clear()
        if lease is None or not releases:
            return
        try:
            await self._thread(self._store.give_back, releases, lease)
            self.tally.given_back += len(releases)
        except Exception as error:  # noqa: BLE001 - the ended lease gives them back as well, a little later
            log.warning("not_given_back", count=len(releases), error=log_text(error))

    def wake(self) -> None:
        """Ids came in: called from any thread."""
        self._loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        for wake in self._wakes.values():
            wake.set()

    def _look_again(self, lane: Kind) -> None:
        """One was let go: where that makes room for more that wait, they are claimed."""
        if self._hands.may_claim(lane) and self._prefetched.size(lane):
            self._wakes[lane].set()

    def _lost(self) -> None:
        """The lease is lost: what was not sent belongs to others now; what is being sent is settled as usual."""
        self._deliverer.forget()
        self._hands.unopened.clear()

    # -- claiming --------------------------------------------------------------------------------------

    async def _claim_loop(self, lanes: Sequence[Kind]) -> None:
        wake = self._wakes[lanes[0]]
        while True:
            wake.clear()
            lease = self._lease.id
            claimed_any = False
            if lease is not None:
                for lane in lanes:
                    claimed_any = await self._claim(lane, lease) or claimed_any
            if not claimed_any:
                await wait_until(wake, self._loop.time() + (0.5 if lease is None else 5.0))

    async def _claim(self, lane: Kind, lease: str) -> bool:
        ids = [id for id in self._prefetched.take(lane, self._hands.may_claim(lane)) if id not in self._hands]
        if not ids:
            return False
        asked = steady_seconds()
        try:
            claimed = await self._claim_whole(lane, ids, lease)
        except Exception as error:  # noqa: BLE001 - the ledger is away: the ids are in it, the relay finds them
            log.warning("claim_failed", lane=lane.value, error=log_text(error))
            await asyncio.sleep(0.5)
            return False
        self.tally.claimed += len(claimed)
        new = [message for message in claimed if message.id not in self._hands]
        self._hands.unopened.update(message.id for message in new)
        for few in range(0, len(new), _BEGUN_AT_ONCE):
            if self._lease.id != lease:
                break  # whoever rescues it has it
            for message in new[few : few + _BEGUN_AT_ONCE]:
                self._deliverer.begin(message, lease, asked)
            await asyncio.sleep(0)
        return True

    async def _claim_whole(self, lane: Kind, ids: Sequence[str], lease: str) -> list[Claimed]:
        """Claim on the thread; a stop in the middle of it learns what was claimed all the same, to give it back."""
        thread = self._threads["code-claims" if lane is Kind.OTP else "claims"]
        claiming = self._loop.run_in_executor(thread, self._store.claim, ids, lease)
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            self._hands.unopened.update(message.id for message in await claiming)
            raise

    def _lead_ms(self, lane: Kind) -> float:
        """How long before its slot a permit must be had: the time that a write-ahead takes lately."""
        return min(MAX_LEAD_MS, max(5.0, self._openers[lane].usual_seconds * 1000))

    def _free(self, lane: Kind) -> int:
        """How many more POSTs of a lane may be under way."""
        ahead_s = self._lead_ms(lane) / 1000 + self._desk.spare_s(lane)
        return self._hands.free(lane, self._loop.time(), ahead_s)

    # -- threads ---------------------------------------------------------------------------------------

    def _open_batch(self, openings: Sequence[Opening]) -> list[bool]:
        lease = self._lease.id
        if lease is None:
            return [False] * len(openings)
        opened = self._store.open(openings, lease)
        return [o.attempt_id in opened for o in openings]

    def _settle_batch(self, settlements: Sequence[Settlement]) -> list[None]:
        self._store.settle(settlements)
        return [None] * len(settlements)

    def _give_back_batch(self, releases: Sequence[Release]) -> list[None]:
        lease = self._lease.newest
        if lease is not None:
            self._store.give_back(releases, lease)
        return [None] * len(releases)

    async def _thread(self, work: Callable[..., object], *args: object):  # type: ignore[no-untyped-def]
        return await self._loop.run_in_executor(self._threads["maintenance"], work, *args)
