"""Keeps this worker's lease and knows at any moment whether it is valid."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog

from bulksend.clock import RemoteClock, steady_seconds
from bulksend.ledger.driver_errors import log_text

log = structlog.get_logger(__name__)

#: The lease counts as lapsed this long before the database says so: two clocks never run equally fast.
MARGIN_SECONDS = 1.0


class Leases(Protocol):
    """The ledger's leases, as Store has them."""

    def take_lease(self, lease_ms: int) -> tuple[str, int]:
        """The id of a new lease, and the database's clock (ms)."""
        ...

    def renew(self, lease: str, lease_ms: int) -> int | None:
        """The database's clock (ms); None when the lease has lapsed."""
        ...


class LeaseKeeper:
    """Takes a lease, renews it each third of its length, and takes a new one when it has lapsed.

    ``in_thread`` runs blocking work away from the event loop. ``clock`` is this machine's and never jumps.
    """

    def __init__(
        self,
        leases: Leases,
        in_thread: Callable[..., Awaitable[Any]],
        *,
        lease_seconds: float,
        on_lost: Callable[[], None],
        on_taken: Callable[[str], None] = lambda lease: None,
        clock: Callable[[], float] = steady_seconds,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._leases = leases
        self._in_thread = in_thread
        self._lease_ms = int(lease_seconds * 1000)
        self._on_lost = on_lost
        self._on_taken = on_taken
        self._clock = clock
        self._sleep = sleep
        self._id: str | None = None
        self._valid_until = float("-inf")
        self._database_clock = RemoteClock(clock)

    def now_ms(self) -> int:
        """The database's clock now."""
        return int(self._database_clock())

    @property
    def id(self) -> str | None:
        """The lease while it is valid; None otherwise, and then nothing may be claimed, opened or sent."""
        return self._id if self._clock() < self._valid_until else None

    @property
    def newest(self) -> str | None:
        """The lease that was taken last, valid or not."""
        return self._id

    async def take(self) -> None:
        """Take a new lease; tries every second until the ledger answers."""
        while True:
            asked = self._clock()
            try:
                self._id, now_ms = await self._in_thread(self._leases.take_lease, self._lease_ms)
            except Exception as error:  # noqa: BLE001 - a worker outlives a ledger that is away
                log.warning("lease_not_taken", error=log_text(error))
                await self._sleep(1.0)
                continue
            self._extend(asked, now_ms)
            self._on_taken(self._id)
            return

    async def keep(self) -> None:
        """Renew until cancelled."""
        while True:
            await self._sleep(min(self._lease_ms / 3000, max(0.2, self._valid_until - self._clock())))
            await self.renew()

    async def renew(self) -> None:
        """Renew once. A lapsed lease is replaced by a new one; when the ledger is away, the old end stays."""
        asked = self._clock()
        if self._id is None or asked >= self._valid_until:
            await self._replace("lapsed")
            return
        try:
            now_ms = await self._in_thread(self._leases.renew, self._id, self._lease_ms)
        except Exception as error:  # noqa: BLE001 - see take
            log.warning("lease_not_renewed", error=log_text(error))
            await self._sleep(0.5)
            return
        if now_ms is not None:
            self._extend(asked, now_ms)
        else:
            await self._replace("rescued by another worker")

    def _extend(self, asked: float, now_ms: int) -> None:
        # From the moment of the request: the database may have read its clock right then.
        self._valid_until = asked + self._lease_ms / 1000 - MARGIN_SECONDS
        self._database_clock.observe(now_ms)

    async def _replace(self, why: str) -> None:
        log.warning("lease_lost", why=why)
        self._valid_until = float("-inf")
        self._on_lost()
        await self.take()
