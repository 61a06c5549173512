"""Maintenance: what becomes due with time, such as rescue, expiry, the rest of a cancel and early receipts.

Each task has its own transactions and interval. A task that fails is logged by its name and tried again later; it stops
neither the other tasks nor the publishing, which runs on another thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from bulksend.failpoints import reach
from bulksend.ledger import (
    campaign_control,
    campaign_settings,
    campaign_timeline,
    campaigns,
    counters,
    due,
    events,
    idempotency,
    leases,
    raw_receipts,
    receipts,
    stats,
    webhook_deliveries,
)
from bulksend.ledger.database import Database, set_statement_timeout
from bulksend.ledger.driver_errors import log_text
from producer.receipt_effects import ReceiptEffects

log = structlog.get_logger(__name__)

#: How often the counts of all connections are merged.
MERGE_COUNTS_S = 600.0
#: How often the counts of campaigns are kept for their minutes.
KEEP_MINUTES_S = 5.0
#: How often old answers to requests with an Idempotency-Key are deleted.
DELETE_ANSWERS_S = 10.0
#: How often a part of the webhooks that were delivered long ago is dropped.
PRUNE_WEBHOOKS_S = 10.0
#: The interval of all other tasks, and the longest wait before a failed task is tried again.
EVERY_S, FAILED_S = 1.0, 60.0
#: The longest time of a statement: a task does a bounded part of its work and runs again.
STATEMENT_MS = 5_000


@dataclass(slots=True)
class _Task:
    """``work`` returns what it did, as the fields of a log line."""

    name: str
    work: Callable[[Connection], dict[str, int]]
    every_s: float = EVERY_S
    due_at: float = float("-inf")
    failures: int = 0


class Maintenance:
    """All tasks. ``account`` is the key of the account's pauses, ``clock`` steady, in seconds."""

    def __init__(
        self,
        database: Database,
        *,
        resend_wait_ms: int,
        receipts_keep_ms: int = 30 * 86_400_000,
        undelivered_ms: int = 60_000,
        events_keep_ms: int = 7 * 86_400_000,
        account: str = "default",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._clock = clock

        def rescue(tx: Connection) -> dict[str, int]:
            done = leases.rescue(tx, resend_wait_ms=resend_wait_ms)
            reach("rescuing")
            leases.close_ended(tx)
            return {"given_back": len(done.given_back), "unknown": len(done.unknown)}

        orphans = receipts.Orphans()
        self._tasks = [
            _Task("rescue", rescue),
            _Task("expire", lambda tx: {"expired": due.expire(tx)}),
            _Task("end_cancelled", lambda tx: {"cancelled": campaign_control.end_cancelled(tx)}),
            _Task("move_campaigns", lambda tx: {"moved": campaign_settings.move_rest(tx)}),
            _Task("match_receipts", lambda tx: {"receipts": orphans.match(tx).matched}),
            _Task(
                "delete_receipts", lambda tx: {"groups": raw_receipts.forget(tx, keep_ms=receipts_keep_ms)}
            ),
            _Task("act_on_receipts", ReceiptEffects(account).act),
            _Task("finish_campaigns", lambda tx: {"finished": len(campaigns.finish_ended(tx))}),
            _Task("reopen_campaigns", lambda tx: {"reopened": len(campaigns.reopen_waiting(tx))}),
            _Task("delete_answers", _delete_answers, DELETE_ANSWERS_S),
            _Task("prune_webhooks", webhook_deliveries.prune, PRUNE_WEBHOOKS_S),
            _Task("merge_counts", _merge_counts, MERGE_COUNTS_S),
            _Task("undelivered", lambda tx: {"codes": events.add_undelivered(tx, undelivered_ms)}),
            # What is deleted must have a number, or a reader could not be told what it misses.
            _Task("number_events", _number_events),
            _Task("roll_up_stats", _roll_up_stats),
            _Task("delete_events", lambda tx: {"deleted": events.delete_old(tx, events_keep_ms)}),
            _Task("keep_minutes", _keep_minutes, KEEP_MINUTES_S),
        ]

    def run_due(self, stop: threading.Event | None = None) -> None:
        """Run each task that is due, in order, until ``stop`` is set. Never raises."""
        for task in self._tasks:
            if stop is not None and stop.is_set():
                return
            if self._clock() >= task.due_at:
                self._run_task(task)

    def run(self, stop: threading.Event, wanted: Callable[[], bool]) -> None:
        """Call ``run_due`` every second while ``wanted`` returns true, until ``stop`` is set."""
        while True:
            if wanted():
                self.run_due(stop)
            if stop.wait(EVERY_S):
                return

    def _run_task(self, task: _Task) -> None:
        def work(tx: Connection) -> dict[str, int]:
            set_statement_timeout(tx, STATEMENT_MS)
            return task.work(tx)

        wait_s = task.every_s
        try:
            done = self._database.retrying(work, patience_s=1.0)
        except Exception as error:  # noqa: BLE001 - the other tasks go on, and this one runs again
            task.failures += 1
            wait_s = min(FAILED_S, EVERY_S * 2.0**task.failures)
            log.error("relay_maintenance_failed", task=task.name, error=log_text(error), again_in_s=wait_s)
        else:
            task.failures = 0
            if any(done.values()):
                log.info("relay_maintenance_done", task=task.name, **done)
        task.due_at = self._clock() + wait_s


def _delete_answers(tx: Connection) -> dict[str, int]:
    return {"answers": idempotency.delete_old(tx)}


def _number_events(tx: Connection) -> dict[str, int]:
    events.number_committed(tx)
    return {}


def _keep_minutes(tx: Connection) -> dict[str, int]:
    campaign_timeline.keep(tx)
    return {}


def _roll_up_stats(tx: Connection) -> dict[str, int]:
    stats.roll_up(tx)
    return {}


def _merge_counts(tx: Connection) -> dict[str, int]:
    counters.merge_parts(tx)
    return {}
