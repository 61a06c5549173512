"""Reads the callbacks that `serve` has stored, and applies them to their messages.

A thread of the relay. It needs no Redis.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from bulksend.errors import LedgerUnreachable
from bulksend.ledger.database import Database
from bulksend.ledger.driver_errors import log_text
from bulksend.operations.callbacks import CallbackRules
from bulksend.operations.receipts import AT_ONCE, read_callbacks

log = structlog.get_logger(__name__)

#: How often the ledger is asked for callbacks while few come, and after a failure.
EVERY_S, FAILED_S = 0.25, 1.0


class ReceiptReader:
    """``at_once``: how many callbacks one transaction applies."""

    def __init__(self, database: Database, rules: CallbackRules, *, at_once: int = AT_ONCE) -> None:
        self._database = database
        self._rules = rules
        self._at_once = at_once

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
        return read.callbacks
