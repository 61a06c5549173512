"""The delay of new codes: ledger and limiter are read once a second, and each code is compared in memory."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import redis
import structlog
from sqlalchemy.exc import DBAPIError

from bulksend.errors import BulksendError
from bulksend.ledger.code_backlog import CodeBacklog, people_ahead, read_backlog
from bulksend.ledger.database import Database
from bulksend.ledger.direct_sends import DirectSend, WouldBeLate
from bulksend.messaging.code_delay import (
    NOTHING_KNOWN,
    LimiterState,
    Places,
    ahead_of,
    turn_ms,
)

log = structlog.get_logger(__name__)

#: How often the backlog is read while codes come, and after which time a reading says nothing any more.
EVERY_S, OLD_S = 1.0, 10.0
#: The quota is looked at closely from this many places before its end: more codes than that a second come seldom.
CLOSE = 1000
#: A limiter that did not answer is asked again after this time: a send does not wait for it each second.
AWAY_S = 5.0

T = TypeVar("T")


class Limiter(Protocol):
    """What a forecast asks of the limiter, see RedisPermits. Each may raise redis.RedisError."""

    def outlook(self, senders: Sequence[str], quota: int | None) -> LimiterState: ...

    def counted(self, recipients: Iterable[str]) -> frozenset[str]: ...

    def places(self, quota: int, ahead: int) -> Places: ...


@dataclass(slots=True)
class _Reading:
    """A backlog, when it was read, and the codes of each sender that were taken since."""

    backlog: CodeBacklog
    at: float
    limiter: LimiterState = NOTHING_KNOWN
    places: Places | None = None
    """None while the account's quota has room for all codes."""
    placed: frozenset[str] = frozenset()
    """Whose codes wait already and find a place in the quota."""
    taken: Counter[str] = field(default_factory=Counter)
    people: set[str] = field(default_factory=set)
    """Of codes taken since: those that need a place."""


class CodeDelays:
    """The forecast wait of new codes of one process. Thread-safe. ``clock`` is steady, in seconds.

    ``limiter`` opens it, None where there is none; without it the ledger alone is read.
    """

    def __init__(
        self,
        database: Database,
        *,
        account: str,
        default_rate: float,
        account_rate: float | None = None,
        limiter: Callable[[], Limiter | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._account = account
        self._default_rate = default_rate
        self._account_rate = account_rate
        self._open_limiter = limiter
        self._limiter: Limiter | None = None
        self._clock = clock
        self._reading: _Reading | None = None
        self._refreshing = threading.Lock()
        self._away_until = 0.0

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
            at = self._clock()
            reading = self._ask_limiter(lambda limiter: self._with_limiter(limiter, backlog, at))
            self._reading = reading or _Reading(backlog, at)
        except DBAPIError as error:
            log.warning("backlog_not_read", error=type(error).__name__)
        finally:
            self._refreshing.release()

    def _with_limiter(self, limiter: Limiter, backlog: CodeBacklog, at: float) -> _Reading:
        state, quota = limiter.outlook(list(backlog.lanes), backlog.quota), backlog.quota
        if quota is None or state.quota_used + backlog.waiting + CLOSE < quota:
            return _Reading(backlog, at, state)
        with self._database.read() as tx:
            people = frozenset(people_ahead(tx))
        ahead = people - limiter.counted(people)
        placed = ahead if state.quota_used + len(ahead) <= quota else frozenset[str]()
        return _Reading(backlog, at, state, limiter.places(quota, len(ahead)), placed)

    def newcomers(self, recipients: Collection[str]) -> Collection[str]:
        """Those of them that need a place in the account's quota, where it may have none for them."""
        reading = self._reading
        if reading is None or reading.places is None or not recipients:
            return ()
        counted = self._ask_limiter(lambda limiter: limiter.counted(recipients))
        return () if counted is None else set(recipients) - counted - reading.placed

    def late(self, send: DirectSend, standing: str, newcomers: Collection[str] = ()) -> WouldBeLate | None:
        """Why a code would be late; None where it is in time, or that is not known, and it is counted."""
        reading = self._reading
        if reading is None or send.due_at is not None or send.lives_ms is None:
            return None
        elapsed = self._clock() - reading.at
        if elapsed > OLD_S:
            return None
        for wait_ms, by_quota in (
            (self._turn_ms(reading, send.sender, standing, elapsed), False),
            (_place_ms(reading, send.recipient, newcomers), True),
        ):
            if wait_ms is None or wait_ms > send.lives_ms:
                return WouldBeLate(None if wait_ms is None else int(wait_ms), by_quota)
        reading.taken[send.sender] += 1
        if send.recipient in newcomers:
            reading.people.add(send.recipient)
        return None

    def _turn_ms(self, reading: _Reading, sender: str, standing: str, elapsed: float) -> float | None:
        backlog = reading.backlog
        lane = backlog.lane(sender, self._default_rate)
        ahead = ahead_of(lane, standing, backlog.workers.alive) + reading.taken[sender]
        return turn_ms(
            backlog.lanes,
            lane,
            sender,
            ahead,
            backlog.workers,
            reading.limiter,
            self._account_rate,
            elapsed * 1000,
        )

    def _ask_limiter(self, ask: Callable[[Limiter], T]) -> T | None:
        """None without it."""
        if self._clock() < self._away_until:
            return None
        try:
            if self._limiter is None:
                self._limiter = self._open_limiter()
            return None if self._limiter is None else ask(self._limiter)
        except (redis.RedisError, OSError, BulksendError) as error:
            self._away_until = self._clock() + AWAY_S
            log.warning("limiter_not_read", error=type(error).__name__)
            return None


def _place_ms(reading: _Reading, recipient: str, newcomers: Collection[str]) -> float | None:
    """How long a code waits for a place in the account's quota; None where none gets free."""
    if reading.places is None or recipient not in newcomers or recipient in reading.people:
        return 0.0
    return reading.places.wait_ms(len(reading.people))
