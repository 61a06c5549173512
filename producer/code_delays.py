"""The delay of new codes: the backlog is read once a second, and each code is compared in memory."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import DBAPIError

from bulksend.ledger.code_backlog import CodeBacklog, read_backlog
from bulksend.ledger.database import Database
from bulksend.ledger.direct_sends import DirectSend, WouldBeLate
from bulksend.messaging.code_delay import ahead_of, forecast_ms

log = structlog.get_logger(__name__)

#: How often the backlog is read while codes come, and after which time a reading says nothing any more.
EVERY_S, OLD_S = 1.0, 10.0


@dataclass(slots=True)
class _Reading:
    """A backlog, when it was read, and the codes of each sender that were taken since."""

    backlog: CodeBacklog
    at: float
    taken: Counter[str] = field(default_factory=Counter)


class CodeDelays:
    """The forecast wait of new codes of one process. Thread-safe. ``clock`` is steady, in seconds."""

    def __init__(
        self,
        database: Database,
        *,
        account: str,
        default_rate: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._account = account
        self._default_rate = default_rate
        self._clock = clock
        self._reading: _Reading | None = None
        self._refreshing = threading.Lock()

    def refresh(self, standing: str) -> None:
        """Read the backlog where the last reading is older than EVERY_S; one thread does, the others do not wait.

        ``standing`` is the campaign of single codes. Without the ledger the last reading stays.
        """
        reading = self._reading
        if reading is not None and self._clock() - reading.at < EVERY_S:
            return
        if not self._refreshing.acquire(blocking=False):
            return
        try:
            with self._database.read() as tx:
                backlog = read_backlog(tx, account=self._account, standing=standing)
            self._reading = _Reading(backlog, self._clock())
        except DBAPIError as error:
            log.warning("backlog_not_read", error=type(error).__name__)
        finally:
            self._refreshing.release()

    def late(self, send: DirectSend, standing: str) -> WouldBeLate | None:
        """Why a code would be late; None where it is in time, or that is not known, and it is counted."""
        reading = self._reading
        if reading is None or send.due_at is not None or send.lives_ms is None:
            return None
        elapsed = self._clock() - reading.at
        if elapsed > OLD_S:
            return None
        backlog = reading.backlog
        lane = backlog.lane(send.sender, self._default_rate)
        sent = elapsed * lane.used_rate if backlog.workers.alive and not lane.stalled_ms else 0.0
        ahead = ahead_of(lane, standing, backlog.workers.alive) + reading.taken[send.sender] - sent
        wait_ms = forecast_ms(lane, ahead, backlog.workers)
        if wait_ms is None or wait_ms > send.lives_ms:
            return WouldBeLate(None if wait_ms is None else int(wait_ms))
        reading.taken[send.sender] += 1
        return None
