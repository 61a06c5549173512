"""Streams of server-sent events (SSE) that one poller a process feeds, which looks only while one is open."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog
from sse_starlette import EventSourceResponse
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from bulksend.ledger.database import Database
from bulksend.ledger.driver_errors import log_text

log = structlog.get_logger(__name__)

#: A client that takes nothing for this long is dropped, and may connect again.
SEND_TIMEOUT_S = 30.0


@dataclass(eq=False, slots=True, kw_only=True)
class OpenStream:
    """``reader`` is the id of the key or user that reads it. ``is_over``: that one may not go on."""

    reader: str
    is_over: bool = False


S = TypeVar("S", bound=OpenStream)


class PolledStreams(ABC, Generic[S]):
    """All streams of one sort in this process. Used on the event loop, except ``close``."""

    #: What the log says when the ledger is away, and after how many seconds it is read again.
    AWAY, AWAY_S = "ledger_not_read", 1.0

    def __init__(self, database: Database) -> None:
        self._database = database
        self._open: set[S] = set()
        self._poller: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._news = asyncio.Event()
        self._forget()

    def close(self) -> None:
        """End every stream now, from any thread: the server waits for them before it stops."""
        self._closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell)

    @abstractmethod
    def _forget(self) -> None:
        """Forget what was read: nothing is open."""

    @abstractmethod
    async def _look(self) -> float:
        """Read once, tell the streams of it, and return after how many seconds to read again."""

    def _lose(self) -> None:
        """The ledger cannot be read."""

    def _open_of(self, reader: str) -> int:
        return sum(stream.reader == reader for stream in self._open)

    def _tell(self) -> None:
        """Wake every stream."""
        self._news.set()
        self._news = asyncio.Event()

    @staticmethod
    async def _woken(news: asyncio.Event, most_s: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(news.wait(), most_s)

    def _goes_on(self, stream: S) -> bool:
        return not (self._closed or stream.is_over)

    @contextmanager
    def _joined(self, stream: S) -> Iterator[None]:
        self._loop = asyncio.get_running_loop()
        self._open.add(stream)
        if self._poller is None:
            self._poller = self._loop.create_task(self._poll())
        try:
            yield
        finally:
            self._open.discard(stream)
            if not self._open and self._poller is not None:
                self._poller.cancel()
                self._poller = None
                self._news = asyncio.Event()
                self._forget()

    async def _poll(self) -> None:
        was_away = False
        while not self._closed:
            try:
                wait_s = await self._look()
                was_away = False
            except Exception as error:  # noqa: BLE001 - the ledger may be away for long, and the streams wait
                if not was_away:
                    log.warning(self.AWAY, error=log_text(error))
                self._lose()
                wait_s, was_away = self.AWAY_S, True
            await asyncio.sleep(wait_s)


class StreamAnswer(EventSourceResponse):
    """The answer of a stream, which sends its own signs of life."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        super().__init__(chunks, ping=0, sep="\n", send_timeout=SEND_TIMEOUT_S)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            log.info("stream_dropped", path=scope["path"], after_s=SEND_TIMEOUT_S)
