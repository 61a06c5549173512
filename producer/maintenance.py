"""What falls due by the passing of time alone: rescue, expiry, what is left of a cancel, receipts that came early.

Each duty has transactions and a pace of its own. One that fails is logged by its name and comes again later; it stops
neither the others nor the publishing, which the relay does on another thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from bulksend.failpoints import reach
from bulksend.ledger import campaign_control, campaigns, counters, due, leases, receipts
from bulksend.ledger.database import Database, hurried
from bulksend.ledger.driver_errors import log_text

log = structlog.get_logger(__name__)

#: How often what each connection has counted is brought into one row: a campaign has a row a status and connection.
FOLDING_S = 600.0
#: How often everything else is looked at, and after how long at most a duty that fails is tried again.
EVERY_S, FAILED_S = 1.0, 60.0
#: No statement of a duty takes longer; it does a bounded part of its work and comes again.
STATEMENT_MS = 5_000


@dataclass(slots=True)
class _Duty:
    """``work`` says what it did in the words of the log, where that is worth a line."""

    name: str
    work: Callable[[Connection], dict[str, int]]
    every_s: float = EVERY_S
    due_at: float = float("-inf")
    failures: int = 0


class Duties:
    """All of them. ``clock`` is steady, in seconds."""

    def __init__(
        self, database: Database, *, resend_wait_ms: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._clock = clock

        def rescue(tx: Connection) -> dict[str, int]:
            done = leases.rescue(tx, resend_wait_ms=resend_wait_ms)
            reach("rescuing")
            leases.close_ended(tx)
            return {"given_back": len(done.given_back), "unknown": len(done.unknown)}

        self._duties = [
            _Duty("rescue", rescue),
            _Duty("expire", lambda tx: {"expired": due.expire(tx)}),
            _Duty("end_cancelled", lambda tx: {"cancelled": campaign_control.end_cancelled(tx)}),
            _Duty("match_receipts", lambda tx: {"receipts": receipts.match_orphans(tx)}),
            _Duty("finish_campaigns", lambda tx: {"finished": len(campaigns.finish_ended(tx))}),
            _Duty("reopen_campaigns", lambda tx: {"reopened": len(campaigns.reopen_waiting(tx))}),
            _Duty("fold_counts", _fold, FOLDING_S),
        ]

    def do(self, stop: threading.Event | None = None) -> None:
        """Each that is due, in order, until ``stop`` is set. Never raises."""
        for duty in self._duties:
            if stop is not None and stop.is_set():
                return
            if self._clock() >= duty.due_at:
                self._do(duty)

    def run(self, stop: threading.Event, wanted: Callable[[], bool]) -> None:
        """``do`` every second in which they are ``wanted``, until ``stop`` is set."""
        while True:
            if wanted():
                self.do(stop)
            if stop.wait(EVERY_S):
                return

    def _do(self, duty: _Duty) -> None:
        def work(tx: Connection) -> dict[str, int]:
            hurried(tx, STATEMENT_MS)
            return duty.work(tx)

        wait_s = duty.every_s
        try:
            done = self._database.retrying(work, patience_s=1.0)
        except Exception as error:  # noqa: BLE001 - the other duties go on, and so does this one, later
            duty.failures += 1
            wait_s = min(FAILED_S, EVERY_S * 2.0**duty.failures)
            log.error("relay_duty_failed", duty=duty.name, error=log_text(error), again_in_s=wait_s)
        else:
            duty.failures = 0
            if any(done.values()):
                log.info("relay_duty_done", duty=duty.name, **done)
        duty.due_at = self._clock() + wait_s


def _fold(tx: Connection) -> dict[str, int]:
    counters.merge_parts(tx)
    return {}
