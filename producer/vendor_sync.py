"""Reads from the vendor what campaigns depend on, while they run: their templates, and the state of the senders.

A thread of the relay. A template that changed for the worse pauses its campaigns, see ``ledger/templates.py``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from bulksend.ledger import templates
from bulksend.ledger.database import Database
from bulksend.ledger.driver_errors import log_text
from bulksend.operations.templates import Synced, Vendor, sync_senders, sync_templates

log = structlog.get_logger(__name__)

ACTOR = "sync"
#: How often the senders are read, and the longest wait after calls that failed.
SENDERS_S, FAILED_S = 60.0, 60.0
#: Templates of one reading, a call each: the vendor tells no limit of its calls. Of more, each has its turn.
MOST_AT_ONCE = 20
#: How often it looks whether this relay leads by now.
WAITING_S = 1.0


class VendorSync:
    """Every ``every_s`` reads templates in use, at most MOST_AT_ONCE, one small page each.

    ``clock`` is steady, in seconds.
    """

    def __init__(
        self,
        database: Database,
        vendor: Vendor,
        *,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._vendor = vendor
        self._every_s = every_s
        self._clock = clock
        self._senders_at = float("-inf")
        self._turns: dict[tuple[str, str], int] = {}
        """The round in which each template was read last."""
        self._rounds = 0
        self._failures = 0

    def run(self, stop: threading.Event, wanted: Callable[[], bool]) -> None:
        """Read while ``wanted`` returns true, until ``stop`` is set. Never raises."""
        while True:
            wait_s = self.round() if wanted() else WAITING_S
            if stop.wait(wait_s):
                return

    def round(self) -> float:
        """Read what is due; returns the seconds until the next time. Never raises."""
        try:
            problems = self._read().problems
        except Exception as error:  # noqa: BLE001 - what is known stays, and is read again when the cause is gone
            problems = [log_text(error)]
        if not problems:
            self._failures = 0
            return self._every_s
        self._failures += 1
        wait_s: float = min(FAILED_S, self._every_s * 2.0**self._failures)
        log.warning("vendor_not_read", problem=problems[0], again_in_s=wait_s)
        return wait_s

    def _read(self) -> Synced:
        with self._database.read() as tx:
            in_use = templates.in_use(tx)
        if not in_use:
            return Synced()
        wanted = self._next(in_use)
        done = sync_templates(self._database, self._vendor, wanted, actor=ACTOR)
        if self._clock() - self._senders_at >= SENDERS_S and not done.problems:
            sync_senders(self._database, self._vendor, done, actor=ACTOR)
            self._senders_at = self._clock()
        if done.changed:
            log.info("vendor_read", templates=done.templates, changed=done.changed)
        return done

    def _next(self, in_use: set[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those whose turn it is: the ones that were read the longest ago."""
        self._rounds += 1
        wanted = sorted(in_use, key=lambda each: (self._turns.get(each, 0), each))[:MOST_AT_ONCE]
        self._turns = {each: self._turns.get(each, 0) for each in in_use} | dict.fromkeys(
            wanted, self._rounds
        )
        return wanted
