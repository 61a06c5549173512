"""Maintenance: what becomes due with time, such as rescue, expiry, the rest of a cancel and early receipts.

Each task has its own transactions and interval. A task that fails is logged by its name and tried again later; it stops
neither the other tasks nor the publishing, which runs on another thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from bulksend.failpoints import reach
from bulksend.ledger import (
    campaign_control,
    campaign_retry,
    campaign_settings,
    campaign_timeline,
    campaigns,
    counters,
    due,
    event_numbers,
    events,
    idempotency,
    leases,
    operator_log,
    paces,
    plans,
    raw_receipts,
    receipts,
    stats,
    superseding,
    uploads,
    webhook_deliveries,
)
from bulksend.ledger.database import Database, set_statement_timeout
from bulksend.ledger.driver_errors import log_text
from bulksend.ledger.retention import Deletion
from bulksend.messaging.canary import CanaryRules
from bulksend.messaging.failure_share import FailureLimit
from bulksend.messaging.retention import Retention
from producer.campaign_guards import CampaignGuards
from producer.receipt_effects import ACTOR as RECEIPTS
from producer.receipt_effects import AT_ONCE, OpenPermits, ReceiptEffects

log = structlog.get_logger(__name__)

#: How often the counts of all connections are merged.
MERGE_COUNTS_S = 600.0
#: How often the counts of campaigns are kept for their minutes.
KEEP_MINUTES_S = 5.0
#: How often a part of the old answers, webhooks, readings, uploads and minutes is deleted.
DELETE_S = 10.0
#: The interval of all other tasks, and the longest wait before a failed task is tried again.
EVERY_S, FAILED_S = 1.0, 60.0
#: The longest time of a statement: a task does a bounded part of its work and runs again.
STATEMENT_MS = 5_000

#: A part of a task's work, in a transaction of its own.
Work = Callable[[Connection], dict[str, int]]


@dataclass(slots=True)
class _Task:
    """``work`` returns what it did, as the fields of a log line.

    While it does as much as a ``part`` it runs again at once, for a second at most.
    """

    name: str
    work: Callable[[], dict[str, int]]
    every_s: float = EVERY_S
    part: int | None = None
    logged: bool = True
    due_at: float = float("-inf")
    failures: int = 0


class Maintenance:
    """All tasks.

    ``account`` is the key of the account's pauses. ``permits`` opens the limiter, without which nothing slows down.
    ``clock`` is steady, in seconds.
    """

    def __init__(
        self,
        database: Database,
        *,
        resend_wait_ms: int,
        receipts_keep_ms: int = 30 * 86_400_000,
        undelivered_ms: int = 60_000,
        events_keep_ms: int = 7 * 86_400_000,
        reads_keep_ms: int = 90 * 86_400_000,
        retention: Retention | None = None,
        account: str = "default",
        permits: OpenPermits | None = None,
        failure_limit: FailureLimit = FailureLimit(),  # noqa: B008 - frozen
        canary_rules: CanaryRules = CanaryRules(),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._clock = clock

        def rescue(tx: Connection) -> dict[str, int]:
            done = leases.rescue(tx, resend_wait_ms=resend_wait_ms)
            reach("rescuing")
            leases.close_ended(tx)
            return {"given_back": len(done.given_back), "unknown": len(done.unknown)}

        def task(
            name: str, work: Work, every_s: float = EVERY_S, part: int | None = None, logged: bool = True
        ) -> _Task:
            return _Task(name, lambda: self._in_transaction(work), every_s, part, logged)

        orphans = receipts.Orphans()
        deletion = Deletion(retention or Retention(), clock=clock)
        effects = ReceiptEffects(account, permits, self._record_paces)
        guards = CampaignGuards(failure_limit, canary_rules)
        held, waiting = superseding.Walk(superseding.HELD), superseding.Walk(superseding.WAITING)
        self._tasks = [
            task("rescue", rescue),
            task("expire", lambda tx: {"expired": due.expire(tx)}),
            task("settle_held_codes", held.settle),
            task("end_replaced_codes", waiting.settle),
            task("end_cancelled", lambda tx: {"cancelled": campaign_control.end_cancelled(tx)}),
            task("move_campaigns", lambda tx: {"moved": campaign_settings.move_rest(tx)}),
            task("retry_failed", campaign_retry.retry_rest, part=campaign_retry.RETRY_STEP),
            task("match_receipts", lambda tx: {"receipts": orphans.match(tx).matched}),
            task("delete_receipts", lambda tx: {"groups": raw_receipts.delete_old(tx, receipts_keep_ms)}),
            task("act_on_receipts", effects.act, part=AT_ONCE),
            _Task("slow_down", effects.slow_down),
            task("canaries", guards.canaries),
            task("failing_campaigns", guards.pause_failing),
            task("finish_campaigns", lambda tx: {"finished": len(campaigns.finish_ended(tx))}),
            task("reopen_campaigns", lambda tx: {"reopened": len(campaigns.reopen_waiting(tx))}),
            task("delete_answers", _delete_answers, DELETE_S),
            task("delete_webhooks", webhook_deliveries.delete_old, DELETE_S),
            task("merge_counts", _merge_counts, MERGE_COUNTS_S),
            task("undelivered", lambda tx: {"codes": events.add_undelivered(tx, undelivered_ms)}),
            # What is deleted must have a number, or a reader could not be told what it misses.
            task("number_events", _number_events),
            task("roll_up_stats", _roll_up_stats, part=1, logged=False),
            task("delete_events", lambda tx: {"deleted": event_numbers.delete_old(tx, events_keep_ms)}),
            task("keep_minutes", _keep_minutes, KEEP_MINUTES_S),
            task(
                "delete_readings",
                lambda tx: {"deleted": operator_log.delete_old_readings(tx, reads_keep_ms)},
                DELETE_S,
            ),
            task("delete_plans", plans.delete_old, DELETE_S),
            task("delete_uploads", lambda tx: {"deleted": uploads.delete_old(tx)}, DELETE_S),
            task("delete_minutes", lambda tx: {"deleted": campaign_timeline.delete_old(tx)}, DELETE_S),
            _Task("retention", lambda: deletion.run(self._in_transaction)),
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

    def _in_transaction(self, work: Work) -> dict[str, int]:
        def bounded(tx: Connection) -> dict[str, int]:
            set_statement_timeout(tx, STATEMENT_MS)
            return work(tx)

        return self._database.retrying(bounded, patience_s=1.0)

    def _record_paces(self, changes: Sequence[paces.PaceChange]) -> None:
        def work(tx: Connection) -> dict[str, int]:
            paces.record(tx, changes, actor=RECEIPTS)
            return {}

        self._in_transaction(work)

    def _run_task(self, task: _Task) -> None:
        wait_s, until = task.every_s, self._clock() + EVERY_S
        try:
            while self._run_part(task) and self._clock() < until:
                pass
        except Exception as error:  # noqa: BLE001 - the other tasks go on, and this one runs again
            task.failures += 1
            wait_s = min(FAILED_S, EVERY_S * 2.0**task.failures)
            log.error("relay_maintenance_failed", task=task.name, error=log_text(error), again_in_s=wait_s)
        else:
            task.failures = 0
        task.due_at = self._clock() + wait_s

    def _run_part(self, task: _Task) -> bool:
        """Run a task once; returns whether it has more to do now."""
        done = task.work()
        if task.logged and any(done.values()):
            log.info("relay_maintenance_done", task=task.name, **done)
        return task.part is not None and max(done.values()) >= task.part


def _delete_answers(tx: Connection) -> dict[str, int]:
    return {"answers": idempotency.delete_old(tx)}


def _number_events(tx: Connection) -> dict[str, int]:
    event_numbers.number_committed(tx)
    return {}


def _keep_minutes(tx: Connection) -> dict[str, int]:
    campaign_timeline.keep(tx)
    return {}


def _roll_up_stats(tx: Connection) -> dict[str, int]:
    return {"more": int(stats.roll_up(tx).more)}


def _merge_counts(tx: Connection) -> dict[str, int]:
    counters.merge_parts(tx)
    return {}
