"""Runs the engine of a process on a thread with its own event loop; Celery's threads only pass it ids."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from bulksend import bootstrap
from bulksend.broker import read_ids
from bulksend.errors import InvalidInput, LedgerUnreachable, SchemaOutdated
from bulksend.ledger.readiness import check_ledger_works
from bulksend.limits import Permits
from bulksend.messaging import Kind, Policy
from bulksend.metrics import HostMetrics, WorkerMetrics, listen, process_registry
from bulksend.settings import Settings
from bulksend.tracing import Tracing
from worker import event_loop
from worker.delivery.dependencies import Totals
from worker.engine import Engine, EngineSettings
from worker.prefetch import PrefetchBuffer
from worker.recovery.flight_recorder import FlightRecorder
from worker.recovery.spool import Spool
from worker.session.campaign_cache import CampaignCache
from worker.session.store import Store

log = structlog.get_logger(__name__)


class Runtime:
    """Starts and stops the engine. ``on_failure`` is called when the engine ends by itself."""

    def __init__(
        self,
        settings: Settings,
        *,
        on_failure: Callable[[], None] = lambda: None,
        around_permits: Callable[[Permits], Permits] = lambda permits: permits,
    ) -> None:
        self._settings = settings
        self._around_permits = around_permits
        self._on_failure = on_failure
        self._registry = process_registry()
        self._metrics = WorkerMetrics(self._registry)
        self._tracing = bootstrap.tracing(settings, "worker")
        self._prefetched = PrefetchBuffer(high_water=settings.batch_size * 2)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._engine: Engine | None = None
        self._started = threading.Event()
        self.ready = threading.Event()
        """Set when the worker has its lease and can send."""
        self.failed = False

    @property
    def totals(self) -> Totals:
        """What the engine has done so far."""
        return self._engine.totals if self._engine is not None else Totals()

    def why_not_sending(self) -> str | None:
        """Why this worker cannot send though it runs; None when it can."""
        if self.failed:
            return "its engine has ended"
        if self._engine is None or not self._engine.has_lease:
            return "it has no lease: the ledger does not answer"
        return None

    def post_counts(self) -> tuple[int, int]:
        """POSTs under way, and POSTs made since the start."""
        return (
            (0, 0) if self._engine is None else (self._engine.in_flight.posting, self._engine.totals.posted)
        )

    def start(self) -> None:
        """Start the engine's thread; returns when it accepts ids. Raises OSError when the metrics' port is taken."""
        if self._settings.metrics_port is not None:
            HostMetrics(self._registry, Path(self._settings.spool_dir))
            listen(self._registry, self._settings.metrics_port, self._settings.metrics_host)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()
        self._started.wait()

    def accept(self, lane: str, ids: object) -> int:
        """Accept the ids of a job, from any thread; returns how many were new. A value that is not an id is ignored."""
        if lane in set(Kind):
            self._metrics.count_job(lane)
        read = read_ids(ids)
        count = self._prefetched.add(Kind(lane), read) if lane in set(Kind) else 0
        if count and self._engine is not None:
            self._engine.wake()
        return count

    def open_lanes(self) -> list[Kind]:
        """Lanes that have room for another job, by priority."""
        return self._prefetched.open_lanes()

    def stop(self) -> None:
        """Stop cleanly: finish the POSTs under way, settle them, give the rest back."""
        if self._loop is not None and self._stop is not None and self._thread is not None:
            if self._thread.is_alive():
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(self._settings.stop_grace_seconds + 20)

    def _run(self) -> None:
        try:
            event_loop.run(self._main())
        except (InvalidInput, SchemaOutdated) as error:
            self.failed = True
            log.critical("worker_misconfigured", why=str(error))
            self._on_failure()
        except BaseException as error:
            self.failed = True
            log.critical("engine_failed", error=type(error).__name__, exc_info=True)
            self._on_failure()
        finally:
            self._started.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        store = build_store(self._settings)
        try:
            engine = await self._build_engine(store)
            if engine is None:
                return
            running = asyncio.create_task(engine.run(self._stop, self._on_ready))
            await asyncio.sleep(0)
            self._engine = engine
            self._started.set()
            await running
        finally:
            store.close()
            if self._tracing is not None:
                self._tracing.close()

    async def _build_engine(self, store: Store) -> Engine | None:
        """The engine, when the ledger answers: a worker may start before its ledger. None when it was stopped first."""
        assert self._stop is not None
        while not self._stop.is_set():
            try:
                return await asyncio.to_thread(
                    build_engine,
                    self._settings,
                    store,
                    self._prefetched,
                    self._around_permits,
                    self._metrics,
                    self._tracing,
                )
            except LedgerUnreachable as error:
                log.warning("ledger_unreachable", why=str(error))
                self._started.set()  # Celery goes on, so that it can stop us meanwhile
                await asyncio.sleep(0.5)
        return None

    def _on_ready(self) -> None:
        self.ready.set()
        log.info("worker_ready", worker=worker_name(), ledger=self._settings.database_address())


def worker_name() -> str:
    """The name of this process in the ledger and for operators: host and process id."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}"


def build_store(settings: Settings) -> Store:
    """The ledger under this process's name."""
    campaign_cache = CampaignCache(bootstrap.cipher(settings), default_rate=settings.default_rate)
    database = bootstrap.database(settings, by_key=True)
    return Store(database, campaign_cache, name=worker_name(), account=settings.account())


def build_engine(
    settings: Settings,
    store: Store,
    prefetched: PrefetchBuffer,
    around_permits: Callable[[Permits], Permits],
    metrics: WorkerMetrics,
    tracing: Tracing | None,
) -> Engine:
    """The engine with its real parts. Raises LedgerUnreachable, LedgerUnfit, SchemaOutdated, and InvalidInput
    when the quiet hours cannot be read.
    """
    check_ledger_works(store.database)
    permits = bootstrap.limiter(settings, store.database)
    policy = Policy(
        max_tries=settings.max_tries,
        base_ms=int(settings.retry_base_seconds * 1000),
        cap_ms=int(settings.retry_cap_seconds * 1000),
        resend_wait_ms=int(settings.resend_wait_seconds * 1000),
    )
    return Engine(
        store=store,
        campaign_cache=store.campaign_cache,
        permits=around_permits(permits),
        vendor=lambda clock: bootstrap.vendor_client(settings, clock),
        prefetched=prefetched,
        spool=Spool(Path(settings.spool_dir)),
        recorder=FlightRecorder(Path(settings.spool_dir), most=settings.worker_in_flight * 3),
        settings=EngineSettings(
            in_flight=settings.worker_in_flight,
            lease_seconds=settings.lease_seconds,
            stop_grace_seconds=settings.stop_grace_seconds,
            claim_size=settings.batch_size,
            policy=policy,
        ),
        metrics=metrics,
        tracing=tracing,
        quiet_hours=bootstrap.quiet_hours(settings),
    )
