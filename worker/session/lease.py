"""Keeps this worker's lease, and says at every instant whether it may still act under it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

import structlog

from bulksend.clock import RemoteClock, steady_seconds
from bulksend.ledger.driver_errors import log_text
from worker.session.store import Store

log = structlog.get_logger(__name__)

#: The lease is taken for over this much before the database says so, for clocks are not equally fast.
MARGIN_SECONDS = 1.0


class LeaseKeeper:
    """Takes a lease, renews it each third of its length, and takes a new one when it was lost."""

    def __init__(
        self,
        store: Store,
        executor: Executor,
        *,
        lease_seconds: float,
        on_lost: Callable[[], None],
        on_taken: Callable[[str], None] = lambda lease: None,
        clock: Callable[[], float] = steady_seconds,
    ) -> None:
        self._store = store
        self._executor = executor
        self._lease_ms = int(lease_seconds * 1000)
        self._on_lost = on_lost
        self._on_taken = on_taken
        self._clock = clock
        self._id: str | None = None
        self._valid_until = float("-inf")
        self._database_clock = RemoteClock(clock)

    def now_ms(self) -> int:
        """The database's clock now."""
        return int(self._database_clock())

    @property
    def id(self) -> str | None:
        """The lease, while it surely holds by our own clock; None otherwise: then nothing may be sent."""
        return self._id if self._clock() < self._valid_until else None

    @property
    def newest(self) -> str | None:
        """The lease that was taken last, whether it holds or not."""
        return self._id

    async def take(self) -> None:
        """Take a new lease; tries until the ledger answers."""
        while True:
            asked = self._clock()
            try:
                self._id, now_ms = await self._in_thread(self._store.take_lease, self._lease_ms)
            except Exception as error:  # noqa: BLE001 - the ledger may be away for long; we outlive that
                log.warning("lease_not_taken", error=log_text(error))
                await asyncio.sleep(1.0)
                continue
            self._held_since(asked, now_ms)
            if self._id is not None:
                self._on_taken(self._id)
            return

    async def keep(self) -> None:
        """Renew until cancelled."""
        while True:
            await asyncio.sleep(min(self._lease_ms / 3000, max(0.2, self._valid_until - self._clock())))
            await self._renew()

    async def _renew(self) -> None:
        asked = self._clock()
        if self._id is None or asked >= self._valid_until:
            await self._replace("lapsed")
            return
        try:
            now_ms = await self._in_thread(self._store.renew, self._id, self._lease_ms)
        except Exception as error:  # noqa: BLE001 - see take
            log.warning("lease_not_renewed", error=log_text(error))
            await asyncio.sleep(0.5)
            return
        if now_ms is not None:
            self._held_since(asked, now_ms)
        else:
            await self._replace("rescued by another worker")

    def _held_since(self, asked: float, now_ms: int) -> None:
        self._valid_until = asked + self._lease_ms / 1000 - MARGIN_SECONDS
        self._database_clock.observe(now_ms)

    async def _replace(self, why: str) -> None:
        log.warning("lease_lost", why=why)
        self._valid_until = float("-inf")
        self._on_lost()
        await self.take()

    async def _in_thread(self, work: Callable[..., object], *args: object):  # type: ignore[no-untyped-def]
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *args)
