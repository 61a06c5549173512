"""The engine of a worker process, on one event loop: claims the ids of jobs, and starts the delivery of each message.

Every call to the ledger or to Redis runs on a thread, in batches.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import structlog

from bulksend.batcher import Batcher
from bulksend.clock import steady_seconds, wait_until
from bulksend.ledger.claim import Claimed
from bulksend.ledger.driver_errors import log_text
from bulksend.ledger.release import Release
from bulksend.ledger.settle import Settlement
from bulksend.ledger.write_ahead import Opening
from bulksend.limits import MAX_LEAD_MS, Permits
from bulksend.messaging import Kind, Policy
from bulksend.messaging.quiet_hours import QuietHours
from bulksend.metrics import WorkerMetrics
from bulksend.tracing import Tracing
from worker.delivery.decision_effects import DecisionEffects
from worker.delivery.dependencies import Dependencies, Totals, Vendor
from worker.delivery.in_flight import InFlightTable
from worker.delivery.pipeline import DeliveryPipeline
from worker.delivery.quiet_gate import QuietGate
from worker.permits.permit_queue import PermitQueue
from worker.prefetch import PrefetchBuffer
from worker.recovery.flight_recorder import FlightRecorder
from worker.recovery.maintenance import (
    OrphanReclaimer,
    match_pauses,
    reap_dead_workers,
    replay_spool,
    rescue_lapsed_leases,
    restore_limits,
    run_duties,
)
from worker.recovery.spool import Spool
from worker.session.campaign_cache import CampaignCache
from worker.session.lease import LeaseKeeper
from worker.session.store import Store

log = structlog.get_logger(__name__)

#: Messages started in one turn of the loop: hundreds are claimed together, and would make POSTs miss their slices.
_STARTED_PER_TURN = 20
#: How often changed rates and weights are read: they take hold within a second. So does the loss of the limiter's data.
_RATES_SECONDS = 0.5
#: Between two transactions of results, unless a batch is full: nothing waits for a single result.
_SETTLE_INTERVAL_S = 0.025
#: How often the cycles that lost connections leave are freed: Python's own rule may wait for half an hour.
_GARBAGE_SECONDS = 60.0
#: OTP has threads of its own, so that it does not wait for the transactions of other lanes. The lease, a pause and the
#: report of an outage do not wait for maintenance either: meanwhile POSTs would go on, or all of them stop.
_THREADS = {
    "otp-claims": 1,
    "claims": 1,
    "otp-openings": 1,
    "openings": 1,
    "settlements": 1,
    "permits": 1,
    "effects": 1,
    "lease": 1,
    "maintenance": 2,
}


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How one worker process works. ``in_flight`` bounds the POSTs under way; a tenth of it is reserved for OTP."""

    in_flight: int = 200
    lease_seconds: float = 60.0
    stop_grace_seconds: float = 30.0
    max_per_lane: int = 4000
    """How many messages of a lane may be claimed; most of them wait for permits."""
    claim_size: int = 500
    policy: Policy = field(default_factory=Policy)
    rescue_seconds: float = 5.0


class Engine:
    """Can be created on any thread; runs on the event loop that calls ``run``."""

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
        metrics: WorkerMetrics,
        tracing: Tracing | None = None,
        quiet_hours: QuietHours | None = None,
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
        self._metrics = metrics
        self._tracing = tracing
        self._quiet = None if quiet_hours is None else QuietGate(quiet_hours, campaign_cache.timezone)
        self._dice = dice
        self.totals = Totals()
        self._next: set[str] = set()
        """Codes that go first when they are claimed: they take the turn of an older one."""

    @property
    def has_lease(self) -> bool:
        """Whether it may send. Without a lease nothing is claimed, opened or POSTed. Only while it runs."""
        return self._lease.id is not None

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Work until ``stop`` is set, then claim no more, finish the POSTs under way and give back the rest.

        ``ready`` is called once the worker has its lease.
        """
        self._loop = asyncio.get_running_loop()
        otp, bulk = asyncio.Event(), asyncio.Event()
        self._wakes = {Kind.OTP: otp, Kind.UTILITY: bulk, Kind.MARKETING: bulk}
        settings = self._settings
        self.in_flight = InFlightTable(
            capacity=settings.in_flight, max_per_lane=settings.max_per_lane, claim_size=settings.claim_size
        )
        self._metrics.watch_in_flight(lambda: self.in_flight.posting)
        with ExitStack() as stack:
            self._threads = {
                name: stack.enter_context(ThreadPoolExecutor(many, name)) for name, many in _THREADS.items()
            }
            self._lease = LeaseKeeper(
                self._store,
                self._runner("lease"),
                lease_seconds=settings.lease_seconds,
                on_lost=self._on_lease_lost,
                on_taken=self._recorder.hold_lease,
            )
            # Requests are signed by the ledger's clock: this machine's may be minutes off, which the vendor refuses.
            vendor = self._make_vendor(lambda: self._lease.now_ms() / 1000)
            self._assemble(vendor)
            self._recorder.open()
            try:
                await self._work(stop, ready)
                self._recorder.close()
            finally:
                await vendor.aclose()

    def _assemble(self, vendor: Vendor) -> None:
        threads = self._threads
        otp_opener: Batcher[Opening, bool] = Batcher(self._open_batch, threads["otp-openings"])
        opener: Batcher[Opening, bool] = Batcher(self._open_batch, threads["openings"])
        self._openers = {lane: otp_opener if lane is Kind.OTP else opener for lane in Kind}
        self._settler: Batcher[Settlement, None] = Batcher(
            self._settle_batch, threads["settlements"], interval_s=_SETTLE_INTERVAL_S
        )
        self._releaser: Batcher[Release, None] = Batcher(self._give_back_batch, threads["settlements"])
        resend_wait_ms = self._settings.policy.resend_wait_ms
        orphans = OrphanReclaimer(self._store, lease=lambda: self._lease.id, in_flight=self.in_flight.ids)
        self._duties: dict[str, Callable[[], None]] = {
            "reap": partial(reap_dead_workers, self._store, self._recorder, resend_wait_ms),
            "rescue": partial(rescue_lapsed_leases, self._store, resend_wait_ms),
            "orphans": orphans.run,
            "pauses": partial(match_pauses, self._store, self._permits),
        }
        self._permit_queue = PermitQueue(
            self._permits,
            threads["permits"],
            lead_ms=self._lead_ms,
            capacity=self._expected_capacity,
            weight=self._campaign_cache.weight,
        )
        self._pipeline = DeliveryPipeline(
            Dependencies(
                in_flight=self.in_flight,
                campaign_cache=self._campaign_cache,
                permits=self._permit_queue,
                openers=self._openers,
                vendor=vendor,
                settler=self._settler,
                releaser=self._releaser,
                effects=DecisionEffects(
                    self._store,
                    self._permits,
                    self._runner("effects"),
                    self._runner("permits"),
                    self._permit_queue.note_outage,
                ),
                lease=self._lease,
                recorder=self._recorder,
                fail=partial(self._runner("effects"), self._store.fail),
                policy=self._settings.policy,
                dice=self._dice,
                on_removed=self._on_removed,
                totals=self.totals,
                metrics=self._metrics,
                tracing=self._tracing,
                quiet=self._quiet,
            )
        )

    async def _work(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        await self._lease.take()
        maintain = self._runner("maintenance")
        await maintain(replay_spool, self._store, self._spool)
        often = {"rates": self._refresh_rates, "limits": self._restore_limits}
        loops = [
            asyncio.create_task(self._lease.keep(), name="lease"),
            asyncio.create_task(self._permit_queue.run(), name="permits"),
            asyncio.create_task(
                run_duties(self._duties, maintain, self._settings.rescue_seconds), name="maintenance"
            ),
            asyncio.create_task(run_duties(often, maintain, _RATES_SECONDS), name="rates"),
            asyncio.create_task(
                run_duties({"garbage": gc.collect}, maintain, _GARBAGE_SECONDS), name="garbage"
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
        log.info("worker_stopped", **asdict(self.totals))
        stopped.cancel()
        for task in done - {stopped}:
            task.result()  # a loop that ended is a bug: raise its exception, which ends the process

    async def _stop(
        self, claiming: Sequence[asyncio.Task[None]], loops: Sequence[asyncio.Task[None]]
    ) -> None:
        self._prefetched.close()
        for task in claiming:
            task.cancel()
        await asyncio.gather(*claiming, return_exceptions=True)
        await self._pipeline.stop(self._settings.stop_grace_seconds)
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        # Results come to rest before anything else is tried: a ledger that is away costs seconds each time, and the
        # process waits for this thread only so long.
        await asyncio.gather(self._releaser.idle(), self._settler.idle())
        unsettled = self.in_flight.unsettled
        if unsettled:
            path = self._spool.save(list(unsettled.values()))
            log.error("results_spooled", count=len(unsettled), file=path.name)
        lease = self._lease.newest
        if lease is not None:
            try:
                wait_ms = self._settings.policy.resend_wait_ms
                ended = await self._runner("lease")(self._store.end_lease, lease, wait_ms)
                self.totals.given_back += len(ended.given_back)
            except Exception as error:  # noqa: BLE001 - the lease lapses on its own
                log.warning("lease_not_ended", error=log_text(error))

    def _refresh_rates(self) -> None:
        """Take over the campaigns' rates that an operator changed. Runs on a thread."""
        changed = self._store.changed_rates()
        if changed:
            self._loop.call_soon_threadsafe(self._permit_queue.set_rates, changed)

    def _restore_limits(self) -> None:
        """Give a limiter that lost its data the ledger's. Runs on a thread."""
        if self._permit_queue.needs_restore:
            restore_limits(self._store, self._permits)
            self._permit_queue.needs_restore = False

    def wake(self) -> None:
        """Claim now: there are new ids. May be called from any thread."""
        for wake in set(self._wakes.values()):
            self._loop.call_soon_threadsafe(wake.set)

    def _on_removed(self, lane: Kind) -> None:
        """A message left the in-flight table: claim more if there is room now."""
        if self.in_flight.claimable(lane) and self._prefetched.size(lane):
            self._wakes[lane].set()

    def _on_lease_lost(self) -> None:
        """Other workers may claim the messages without an attempt now; the POSTs under way are settled as usual."""
        self._pipeline.lose_lease()

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
        ids = [
            id
            for id in self._prefetched.take(lane, self.in_flight.claimable(lane))
            if id not in self.in_flight
        ]
        if not ids:
            return False
        asked = steady_seconds()
        try:
            claimed = await self._claim_ids(lane, ids, lease)
        except Exception as error:  # noqa: BLE001 - the ledger does not answer; the relay publishes the ids again
            log.warning("claim_failed", lane=lane.value, error=log_text(error))
            await asyncio.sleep(0.5)
            return False
        self.totals.claimed += len(claimed)
        batch = None
        if self._tracing is not None:
            attributes: dict[str, str | int] = {
                "bulksend.kind": lane.value,
                "bulksend.messages": len(claimed),
            }
            batch = self._tracing.record("claim", steady_seconds() - asked, attributes)
        new = [message for message in claimed if message.id not in self.in_flight]
        for first in range(0, len(new), _STARTED_PER_TURN):
            if self._lease.id != lease:
                break  # the rest is rescued by other workers
            for message in new[first : first + _STARTED_PER_TURN]:
                self._pipeline.start(message, lease, asked, batch)
                if message.id in self._next:
                    self._pipeline.go_first(message.id)
            await asyncio.sleep(0)
        self._next.difference_update(ids)
        return True

    async def _claim_ids(self, lane: Kind, ids: Sequence[str], lease: str) -> list[Claimed]:
        """Claim on a thread. When a stop cancels it, it waits for the claim, which the end of the lease then finds."""
        thread = self._threads["otp-claims" if lane is Kind.OTP else "claims"]
        claiming = self._loop.run_in_executor(thread, self._claim_batch, ids, lease)
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            await asyncio.gather(claiming, return_exceptions=True)
            raise

    def _lead_ms(self, lane: Kind) -> float:
        """How long before its slice a message needs its permit: the duration of a write-ahead."""
        return min(MAX_LEAD_MS, max(5.0, self._openers[lane].expected_seconds * 1000))

    def _expected_capacity(self, lane: Kind) -> int:
        lead_s = self._lead_ms(lane) / 1000 + self._permit_queue.extra_lead_s(lane)
        return self.in_flight.expected_capacity(lane, self._loop.time(), lead_s)

    def _claim_batch(self, ids: Sequence[str], lease: str) -> list[Claimed]:
        with self._metrics.commit("claim"):
            return self._store.claim(ids, lease)

    def _open_batch(self, openings: Sequence[Opening]) -> list[bool]:
        lease = self._lease.id
        if lease is None:
            return [False] * len(openings)
        with self._metrics.commit("open"):
            opened = self._store.open(openings, lease, self._on_next)
        return [o.attempt_id in opened for o in openings]

    def _on_next(self, ids: Sequence[str]) -> None:
        """Newer codes take the turn of older ones that they replace. Runs on a thread."""
        self._loop.call_soon_threadsafe(self._send_next, ids)

    def _send_next(self, ids: Sequence[str]) -> None:
        elsewhere = [id for id in ids if not self._pipeline.go_first(id)]
        if elsewhere:
            self._next.update(elsewhere)
            self._prefetched.add_first(Kind.OTP, elsewhere)
            self._wakes[Kind.OTP].set()

    def _settle_batch(self, settlements: Sequence[Settlement]) -> list[None]:
        with self._metrics.commit("settle"):
            self._store.settle(settlements)
        return [None] * len(settlements)

    def _give_back_batch(self, releases: Sequence[Release]) -> list[None]:
        lease = self._lease.newest
        if lease is not None:
            self._store.give_back(releases, lease)
        return [None] * len(releases)

    def _runner(self, threads: str) -> Callable[..., Awaitable[Any]]:
        """What runs blocking work on these threads."""
        return partial(self._loop.run_in_executor, self._threads[threads])
