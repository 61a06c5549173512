"""What a worker does beside sending, one function a duty. Each blocks, so ``run_duties`` runs it on a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from bulksend.ledger.driver_errors import log_text
from bulksend.ledger.release import Release
from bulksend.limits import Permits
from bulksend.messaging import Scope
from worker.recovery.flight_recorder import FlightRecorder, discard
from worker.recovery.spool import Spool
from worker.session.store import Store

log = structlog.get_logger(__name__)

InThread = Callable[..., Awaitable[Any]]


async def run_duties(
    duties: Mapping[str, Callable[[], None]],
    in_thread: InThread,
    every_seconds: float,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Run the duties in order, again and again until cancelled. One that fails does not stop the others."""
    while True:
        for name, duty in duties.items():
            try:
                await in_thread(duty)
            except Exception as error:  # noqa: BLE001 - tried again in the next round
                log.warning("maintenance_failed", duty=name, error=log_text(error))
        await sleep(every_seconds)


def reap_dead_workers(store: Store, recorder: FlightRecorder, resend_wait_ms: int) -> None:
    """Free what dead workers of this machine held, before their leases lapse."""
    for flight, path in recorder.dead():
        if flight.lease:
            done = store.reap(
                flight.lease,
                rendering=flight.rendering,
                begun=flight.begun,
                resend_wait_ms=resend_wait_ms,
            )
            log.warning(
                "dead_worker_reaped",
                given_back=len(done.given_back),
                unknown=len(done.unknown),
                quarantined=done.quarantined,
                rendering=flight.rendering,
            )
        discard(path)


def rescue_lapsed_leases(store: Store, resend_wait_ms: int) -> None:
    """Free what lapsed leases of any worker hold."""
    done = store.rescue(resend_wait_ms)
    if done.given_back or done.unknown:
        log.warning("rescued", given_back=len(done.given_back), unknown=len(done.unknown))


class OrphanReclaimer:
    """Returns claimed messages that this worker's lease holds and the worker does not know.

    Such an orphan is left by a claim that was given up and committed afterwards. No rescue takes it while the lease
    is renewed. A message counts as an orphan when two rounds find it: in one round, its claim may be under way.
    """

    def __init__(
        self, store: Store, *, lease: Callable[[], str | None], in_flight: Callable[[], set[str]]
    ) -> None:
        """``lease``: the valid lease, or None. ``in_flight``: the ids of all messages that the worker has."""
        self._store = store
        self._lease = lease
        self._in_flight = in_flight
        self._suspects: set[str] = set()

    def run(self) -> None:
        """One round."""
        lease = self._lease()
        if lease is None:
            return
        # The ledger first: what is claimed between the two questions is in flight by the second one.
        suspects = self._store.claimed_under(lease) - self._in_flight()
        orphans, self._suspects = suspects & self._suspects, suspects
        if orphans:
            log.warning("orphans_given_back", count=len(orphans))
            self._store.give_back([Release(id, 0, None, None) for id in orphans], lease)


def lift_stale_pauses(store: Store, permits: Permits) -> None:
    """Lift the limiter's pause flags that the ledger does not have: a resume that could not reach Redis.

    Flags are read first: a pause is written to the ledger before its flag, so no flag is lifted too early.
    """
    flags = permits.paused()
    if not flags:
        return
    pauses = store.pauses()
    stale: list[tuple[Scope, str]] = [
        (scope, id)
        for scope, id in flags
        if (scope is Scope.CAMPAIGN and id not in pauses.campaigns)
        or (scope is Scope.ACCOUNT and id not in pauses.accounts)
    ]
    # A sender's flag has only its hash, so that it cannot be matched with a pause.
    if sum(scope is Scope.SENDER for scope, _ in flags) > len(pauses.senders):
        stale += [(Scope.SENDER, phone) for phone in store.running_senders()]
    for scope, id in stale:
        permits.resume(scope, id)


def replay_spool(store: Store, spool: Spool) -> None:
    """Write the results that an earlier process could not write to the ledger."""
    for path in spool.files():
        settlements = spool.load(path)
        if settlements:
            store.settle(settlements)
        spool.remove(path)
        log.warning("spool_replayed", file=path.name, results=len(settlements))


def restore_limits(store: Store, permits: Permits) -> None:
    """Give a limiter that lost its data the pauses and the recent recipients of the ledger."""
    pauses = store.pauses()
    recent = store.recent_recipients()
    flags = [
        *((Scope.CAMPAIGN, id) for id in pauses.campaigns),
        *((Scope.SENDER, id) for id in pauses.senders),
        *((Scope.ACCOUNT, id) for id in pauses.accounts),
    ]
    permits.restore(pauses=flags, recent=recent)
    log.info("limits_restored", pauses=len(flags), recipients=len(recent or ()))


class LimitsRestorer:
    """Runs ``restore_limits`` when asked, one run at a time."""

    def __init__(self, store: Store, permits: Permits, in_thread: InThread) -> None:
        self._store = store
        self._permits = permits
        self._in_thread = in_thread
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Restore in the background, unless a run is under way."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._in_thread(restore_limits, self._store, self._permits)
        except Exception as error:  # noqa: BLE001 - asked for again with the limiter's next answer
            log.warning("limits_not_restored", error=log_text(error))
            await asyncio.sleep(0.5)
