"""Reads the callbacks that `serve` has stored, and applies them to their messages.

A thread of the relay. It needs no Redis.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import structlog

from bulksend.errors import LedgerUnreachable
from bulksend.ledger.database import Database
from bulksend.ledger.driver_errors import log_text
from bulksend.metrics import ReceiptMetrics
from bulksend.operations.callbacks import CallbackRules
from bulksend.operations.receipts import AT_ONCE, Read, read_callbacks

log = structlog.get_logger(__name__)

#: How often the ledger is asked for callbacks while few come, and after a failure.
EVERY_S, FAILED_S = 0.25, 1.0


class ReceiptReader:
    """``at_once``: how many callbacks one transaction applies. ``metrics``: where they are counted, if anywhere."""

    def __init__(
        self,
        database: Database,
        rules: CallbackRules,
        *,
        at_once: int = AT_ONCE,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._rules = rules
        self._at_once = at_once
        self._wall_s = wall_s
        self.metrics: ReceiptMetrics | None = None

    def run(self, stop: threading.Event, wanted: Callable[[], bool]) -> None:
        """Read while ``wanted`` returns true, until ``stop`` is set. Never raises."""
        while True:
            wait_s = self._safe_read() if wanted() else FAILED_S
            if stop.wait(wait_s):
                return

    def _safe_read(self) -> float:
        """Read some; returns the seconds until the next time."""
        try:
            return 0.0 if self.read() >= self._at_once // 2 else EVERY_S
        except LedgerUnreachable:
            return FAILED_S
        except Exception as error:  # noqa: BLE001 - the callbacks stay, and are read when the cause is gone
            log.error("receipts_not_read", error=log_text(error))
            return FAILED_S

    def read(self) -> int:
        """Apply the oldest callbacks; returns how many."""
        read = read_callbacks(self._database, self._rules, at_once=self._at_once)
        if read.callbacks:
            log.debug("receipts_read", **read.counts())
        if read.unreadable:
            log.warning("receipts_unreadable", count=len(read.unreadable), why=read.unreadable[0].why)
        if self.metrics is not None:
            self._count(self.metrics, read)
        return read.callbacks

    def _count(self, metrics: ReceiptMetrics, read: Read) -> None:
        for status, count in Counter(receipt.status for receipt in read.receipts).items():
            metrics.receipts.labels(status).inc(count)
        for delay in read.delays:
            metrics.delivery_delay.labels(delay.kind).observe(delay.ms / 1000)
        metrics.unreadable.inc(len(read.unreadable))
        for received_at in read.received_at:
            metrics.lag.observe(max(0.0, self._wall_s() - received_at / 1000))
