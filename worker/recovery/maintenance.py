"""What a worker does beside sending: it takes from the dead, mends what the limiter does not know, replays results."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from bulksend.ledger.driver_errors import log_text
from bulksend.ledger.sending import Release
from bulksend.limits import Permits
from bulksend.messaging import Scope
from worker.recovery.flight_recorder import FlightRecorder, reap
from worker.recovery.spool import Spool
from worker.session.lease import LeaseKeeper
from worker.session.store import Store

log = structlog.get_logger(__name__)


class Maintenance:
    """Done every ``rescue_seconds``, and when asked. ``in_thread`` runs blocking work away from the event loop."""

    def __init__(
        self,
        *,
        store: Store,
        permits: Permits,
        recorder: FlightRecorder,
        spool: Spool,
        in_flight_ids: Callable[[], set[str]],
        lease: LeaseKeeper,
        in_thread: Callable[..., Awaitable[Any]],
        resend_wait_ms: int,
    ) -> None:
        self._store = store
        self._permits = permits
        self._recorder = recorder
        self._spool = spool
        self._in_flight_ids = in_flight_ids
        self._lease = lease
        self._in_thread = in_thread
        self._resend_wait_ms = resend_wait_ms
        self._strays: set[str] = set()
        self._restoring: asyncio.Task[None] | None = None

    async def run(self, every_seconds: float) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._in_thread(self._reap_dead_workers)
                done = await self._in_thread(self._store.rescue, self._resend_wait_ms)
                if done.given_back or done.unknown:
                    log.warning("rescued", given_back=len(done.given_back), unknown=len(done.unknown))
                await self._give_back_strays()
                await self._heal_pauses()
            except Exception as error:  # noqa: BLE001 - tried again soon
                log.warning("rescue_failed", error=log_text(error))
            await asyncio.sleep(every_seconds)

    async def replay_spool(self) -> None:
        """Results that an earlier process could not bring into the ledger."""
        for path in self._spool.files():
            settlements = self._spool.load(path)
            if settlements:
                await self._in_thread(self._store.settle, settlements)
            self._spool.done(path)
            log.warning("spool_replayed", file=path.name, results=len(settlements))

    async def _give_back_strays(self) -> None:
        """What is claimed under our lease and not in our hands: a claim's COMMIT took place after we had given it up.

        Nobody else may touch it as long as we live. Twice seen, since a claim may be under way while we look.
        """
        lease = self._lease.id
        if lease is None:
            return
        strays = await self._in_thread(self._store.claimed_under, lease) - self._in_flight_ids()
        twice, self._strays = strays & self._strays, strays
        if twice:
            log.warning("strays_given_back", count=len(twice))
            releases = [Release(id, 0, None, None) for id in twice]
            await self._in_thread(self._store.give_back, releases, lease)

    def _reap_dead_workers(self) -> None:
        """What dead workers of this machine held is free at once: nobody waits for their leases to lapse."""
        for flight, path in self._recorder.dead():
            done = self._store.reap(flight, self._resend_wait_ms)
            reap(path)
            log.warning(
                "neighbour_buried",
                given_back=len(done.given_back),
                unknown=len(done.unknown),
                quarantined=done.quarantined,
                rendering=flight.rendering,
            )

    async def _heal_pauses(self) -> None:
        """Lift pause flags that the ledger no longer has: somebody resumed while Redis could not be reached.

        Flags are read first: whoever pauses writes the ledger before the flag, so no flag is lifted too early.
        """
        flags = await self._in_thread(self._permits.paused)
        if not flags:
            return
        pauses = await self._in_thread(self._store.pauses)
        stale: list[tuple[Scope, str]] = [
            (flag.scope, flag.id)
            for flag in flags
            if (flag.scope is Scope.CAMPAIGN and flag.id not in pauses.campaigns)
            or (flag.scope is Scope.ACCOUNT and flag.id not in pauses.accounts)
        ]
        # Of senders the limiter only knows hashes.
        if sum(flag.scope is Scope.SENDER for flag in flags) > len(pauses.senders):
            running = await self._in_thread(self._store.running_senders)
            stale += [(Scope.SENDER, phone) for phone in running]
        for scope, id in stale:
            await self._in_thread(self._permits.resume, scope, id)

    def restore_limits(self) -> None:
        """The limiter lost its memory: give it back what the ledger knows."""
        if self._restoring is None or self._restoring.done():
            self._restoring = asyncio.create_task(self._restore_now())

    async def _restore_now(self) -> None:
        try:
            pauses = await self._in_thread(self._store.pauses)
            recent = await self._in_thread(self._store.recent_recipients)
            flags = [
                *((Scope.CAMPAIGN, id) for id in pauses.campaigns),
                *((Scope.SENDER, id) for id in pauses.senders),
                *((Scope.ACCOUNT, id) for id in pauses.accounts),
            ]
            await self._in_thread(lambda: self._permits.restore(pauses=flags, recent=recent))
            log.info("limits_restored", pauses=len(flags), senders=len(recent))
        except Exception as error:  # noqa: BLE001 - asked for again with the next cold answer
            log.warning("limits_not_restored", error=log_text(error))
            await asyncio.sleep(0.5)
