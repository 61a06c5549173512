"""What a worker does beside sending, one function a duty. Each blocks, so ``run_duties`` runs it on a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from bulksend.ledger.driver_errors import log_text
from bulksend.ledger.pauses import Pauses
from bulksend.ledger.release import Release
from bulksend.limits import Permits
from bulksend.logs import Reminders
from bulksend.messaging import Scope
from worker.recovery.flight_recorder import FlightRecorder, discard
from worker.recovery.spool import Spool
from worker.session.store import Store

log = structlog.get_logger(__name__)


async def run_duties(
    duties: Mapping[str, Callable[[], object]],
    in_thread: Callable[..., Awaitable[Any]],
    every_seconds: float,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Run the duties in order, again and again until cancelled. One that fails does not stop the others."""
    reminders = Reminders()
    while True:
        for name, duty in duties.items():
            try:
                await in_thread(duty)
                if reminders.clear(name):
                    log.warning("maintenance_works_again", duty=name)
            except Exception as error:  # noqa: BLE001 - tried again in the next round
                if reminders.is_due(name, log_text(error)):
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


def match_pauses(store: Store, permits: Permits) -> None:
    """Set and lift the limiter's pause flags as the ledger says: a pause or a resume may not have reached Redis.

    Flags are read first: a pause is written to the ledger before its flag, so no flag is lifted too early.
    """
    flags = permits.paused()
    senders, others = _flags(store.pauses())
    found = {flag for flag in flags if flag[0] is not Scope.SENDER}
    stale, missing = found - others, others - found
    # A sender's flag has only its hash, so that it cannot be matched with a pause.
    surplus = len(flags) - len(found) - len(senders)
    if surplus > 0:
        stale |= {(Scope.SENDER, phone) for phone in store.running_senders()}
    elif surplus < 0:
        missing |= senders
    for scope, id in stale:
        permits.resume(scope, id)
    for scope, id in missing:
        permits.pause(scope, id)


def _flags(pauses: Pauses) -> tuple[set[tuple[Scope, str]], set[tuple[Scope, str]]]:
    """The limiter's flags for these pauses: those of senders, and the others."""
    others = {(Scope.CAMPAIGN, id) for id in pauses.campaigns} | {
        (Scope.ACCOUNT, id) for id in pauses.accounts
    }
    return {(Scope.SENDER, phone) for phone in pauses.senders}, others


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
    senders, others = _flags(store.pauses())
    recent = store.recent_recipients()
    permits.restore(pauses=senders | others, recent=recent)
    log.info("limits_restored", pauses=len(senders) + len(others), recipients=len(recent or ()))
