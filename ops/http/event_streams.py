"""Streams of events (SSE): one poller a process reads the ledger for all of them.

The poller keeps the newest events in memory. A stream takes what it has not sent yet from there, and reads pages of the
ledger while it is further behind: after a reconnect, or because its client is slow. So a slow client costs no memory,
and delays no other stream.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool

from bulksend.errors import AccessDenied, BulksendError, NotSignedIn, TooManyRequests
from bulksend.ledger import event_numbers, events
from bulksend.ledger.database import Database
from bulksend.ledger.driver_errors import log_text
from bulksend.ledger.events import Event, EventPage
from bulksend.operations.events import Wanted, as_json
from ops.http.streams import OpenStream, PolledStreams

log = structlog.get_logger(__name__)

#: How often the poller reads the ledger, and checks who may go on reading, in seconds.
POLL_S, CHECK_S = 0.25, 1.0
#: A stream without events says after this long that it is alive.
HEARTBEAT_S = 15.0
#: How many events the poller keeps, and how many it reads at once.
KEPT, PAGE = 2_000, 500
#: The most streams of a process, and of one key in it: a program that opens them and reads none leaves room for others.
MOST_STREAMS, MOST_OF_A_KEY = 500, 50
#: A browser connects again after this long.
RETRY_MS = 1_000


class _Encoded:
    """An event and its bytes, made once for all streams."""

    __slots__ = ("_full", "event", "masked")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.masked = _bytes_of(event.masked())
        self._full = b""

    def bytes(self, *, numbers: bool) -> bytes:
        """As the stream sends it."""
        if not numbers:
            return self.masked
        if not self._full:
            self._full = _bytes_of(self.event)
        return self._full


@dataclass(frozen=True, slots=True)
class _Page:
    """As an EventPage."""

    events: list[_Encoded]
    upto: int
    more: bool

    @classmethod
    def of(cls, page: EventPage) -> _Page:
        """Encoded on the thread that read it, not on the event loop."""
        return cls([_Encoded(event) for event in page.events], page.upto, page.more)


@dataclass(eq=False, slots=True, kw_only=True)
class _Stream(OpenStream):
    """``check`` raises NotSignedIn or AccessDenied when its reader may not go on."""

    check: Callable[[], object]


class EventStreams(PolledStreams[_Stream]):
    """All streams of events of this process."""

    AWAY = "events_not_read"

    def __init__(
        self,
        database: Database,
        *,
        poll_s: float = POLL_S,
        heartbeat_s: float = HEARTBEAT_S,
        kept: int = KEPT,
    ) -> None:
        self._poll_s, self._heartbeat_s, self._kept = poll_s, heartbeat_s, kept
        self._check_at = 0.0
        super().__init__(database)

    def _forget(self) -> None:
        self._recent: list[_Encoded] = []
        self._floor: int | None = None
        """All events with a number above it, up to ``_upto``, are in ``_recent``; None: nothing was read yet."""
        self._upto = 0

    def check_room(self, key: str) -> None:
        """Raises TooManyRequests when this process, or a key in it, has as many streams as it may."""
        if len(self._open) >= MOST_STREAMS:
            raise TooManyRequests(
                f"this process has {MOST_STREAMS} streams of events; try again later, or read pages"
            )
        if self._open_of(key) >= MOST_OF_A_KEY:
            raise TooManyRequests(
                f"key {key} has {MOST_OF_A_KEY} streams of events open in this process; "
                "close some, or hand the events of one on"
            )

    # -- one stream -------------------------------------------------------------------------------------

    async def chunks(
        self, after: int | None, wanted: Wanted, key: str, check: Callable[[], object]
    ) -> AsyncIterator[bytes]:
        """The bytes of a key's stream: the events after a number, or from now on, until it or its reader ends."""
        stream = _Stream(reader=key, check=check)
        with self._joined(stream):
            while self._floor is None and not self._closed:
                await self._news.wait()
            seq, loop = self._upto if after is None else after, asyncio.get_running_loop()
            yield f"retry: {RETRY_MS}\n{_position(seq)}".encode()
            quiet_since = loop.time()
            while self._goes_on(stream):
                news = self._news
                try:
                    chunk, upto = await self._next(seq, wanted)
                except (DBAPIError, BulksendError) as error:
                    # The client connects again, and gets the problem as its answer.
                    log.warning("event_stream_failed", error=log_text(error))
                    return
                has_moved = upto > seq
                if chunk:
                    yield chunk
                    quiet_since = loop.time()
                # Only now: the chunk was sent.
                seq = upto
                left_s = quiet_since + self._heartbeat_s - loop.time()
                if left_s <= 0:
                    yield _position(seq).encode()
                    quiet_since = loop.time()
                elif not has_moved:
                    await self._woken(news, left_s)

    async def _next(self, seq: int, wanted: Wanted) -> tuple[bytes, int]:
        """Events after ``seq``, and the number up to which it has looked."""
        if self._floor is not None and seq >= self._floor:
            begin = bisect_right(self._recent, seq, key=lambda each: each.event.seq)
            found, upto = self._recent[begin : begin + PAGE], self._upto
            if len(found) == PAGE:
                upto = found[-1].event.seq
        else:
            page = await run_in_threadpool(self._page, seq)
            found, upto = page.events, page.upto
        wished = (each.bytes(numbers=wanted.numbers) for each in found if wanted.takes(each.event))
        return b"".join(wished), max(seq, upto)

    def _page(self, seq: int) -> _Page:
        with self._database.read() as tx:
            event_numbers.check_after(tx, seq)
            return _Page.of(events.page(tx, seq, PAGE, numbers=True))

    # -- the poller -------------------------------------------------------------------------------------

    async def _look(self) -> float:
        page = await run_in_threadpool(self._read, None if self._floor is None else self._upto)
        self._take(page)
        now = asyncio.get_running_loop().time()
        if now >= self._check_at:
            self._check_at = now + CHECK_S
            await run_in_threadpool(_check, [*self._open])
            self._tell_if_over()
        return 0.0 if page.more else self._poll_s

    def _read(self, upto: int | None) -> _Page:
        event_numbers.number_all(self._database)
        with self._database.read() as tx:
            if upto is None:
                return _Page([], event_numbers.newest(tx), more=False)
            return _Page.of(events.page(tx, upto, PAGE, numbers=True))

    def _take(self, page: _Page) -> None:
        if self._floor is None:
            self._floor = page.upto
        elif page.upto == self._upto:
            return
        self._recent += page.events
        excess = len(self._recent) - self._kept
        if excess > 0:
            self._floor = self._recent[excess - 1].event.seq
            del self._recent[:excess]
        self._upto = page.upto
        self._tell()

    def _tell_if_over(self) -> None:
        if any(stream.is_over for stream in self._open):
            self._tell()


def _check(streams: list[_Stream]) -> None:
    """Mark those whose readers may not go on. A check that fails otherwise, as without the ledger, changes nothing."""
    for stream in streams:
        try:
            stream.check()
        except (NotSignedIn, AccessDenied):
            stream.is_over = True
        except (DBAPIError, BulksendError):
            return


def _bytes_of(event: Event) -> bytes:
    return f"id: {event.seq}\ndata: {json.dumps(as_json(event), separators=(',', ':'))}\n\n".encode()


def _position(seq: int) -> str:
    """Sets the client's Last-Event-ID without an event, so that it need not look at what was not wanted again."""
    return f": alive\nid: {seq}\n\n"
