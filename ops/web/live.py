"""Pages that are shown follow the ledger: one stream (SSE) a tab says which topics have changed, and nothing else.

One poller a process looks at the ledger for all tabs, once a tick and only while there is a tab. A tab hears of its
topics at most every few seconds, and later the more tabs there are: each time it asks for its page again.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import structlog
from sse_starlette import EventSourceResponse
from sse_starlette.sse import SendTimeoutError
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from bulksend.errors import TooManyRequests
from bulksend.ledger.database import Database
from bulksend.ledger.driver_errors import log_text
from bulksend.operations import changes, sessions
from bulksend.operations.access import Role

log = structlog.get_logger(__name__)

#: How often the poller looks; and after it failed.
TICK_S, AWAY_S = 1.0, 2.0
#: A tab hears of changes at most this often; with many tabs, so often that all of them cost SHARE of a core.
LEAST_S, PAGE_S, SHARE = 1.5, 0.012, 0.25
#: A tab without changes hears after this long that the page is up to date. One that takes nothing is dropped.
ALIVE_S, SEND_TIMEOUT_S = 10.0, 30.0
MOST_TABS, MOST_OF_A_USER, MOST_TOPICS = 500, 60, 40


@dataclass(eq=False, slots=True)
class _Tab:
    user: str
    session: str
    role: Role
    topics: frozenset[str]
    changed: set[str] = field(default_factory=set)
    is_over: bool = False


class LiveTabs:
    """The tabs of this process. Used on the event loop, except ``close``."""

    def __init__(
        self,
        database: Database,
        *,
        tick_s: float = TICK_S,
        least_s: float = LEAST_S,
        alive_s: float = ALIVE_S,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._tick_s, self._least_s, self._alive_s, self._dice = tick_s, least_s, alive_s, dice
        self._tabs: set[_Tab] = set()
        self._poller: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._forget()

    def _forget(self) -> None:
        self._seen: dict[str, str] | None = None
        self._at = ""
        self._news = asyncio.Event()

    def close(self) -> None:
        """End every stream now, from any thread: the server waits for them before it stops."""
        self._closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell)

    def check_room(self, user: str) -> None:
        """Raises TooManyRequests when this process, or a user in it, has as many tabs as it may."""
        if len(self._tabs) >= MOST_TABS or sum(tab.user == user for tab in self._tabs) >= MOST_OF_A_USER:
            raise TooManyRequests("too many pages follow the ledger here; this one is as of its last load")

    def pause_s(self) -> float:
        """How long a tab waits between two changes that it is told of."""
        return max(self._least_s, len(self._tabs) * PAGE_S / SHARE)

    async def chunks(
        self, topics: Collection[str], *, user: str, session: str, role: Role
    ) -> AsyncIterator[bytes]:
        """The bytes of a tab's stream, until the session ends or the server stops.

        ``session`` is the hash of the session's token. A user of another role than at the beginning loads the page
        again.
        """
        tab = _Tab(user, session, role, frozenset(topics))
        with self._joined(tab):
            loop = asyncio.get_running_loop()
            while not self._at and not self._closed:
                await self._woken(self._news, self._alive_s)
            yield _event("alive", self._at)
            told_at = loop.time()
            while not (self._closed or tab.is_over):
                news = self._news
                if tab.changed:
                    # Apart from each other: a page that all of them show is not asked for by all at once.
                    if not await self._rest(tab, told_at + self.pause_s() * (0.75 + self._dice() / 2)):
                        break
                    changed, tab.changed = sorted(tab.changed), set()
                    yield _event("changed", [self._at, changed])
                    told_at = loop.time()
                elif (left_s := told_at + self._alive_s - loop.time()) <= 0:
                    if self._at:
                        yield _event("alive", self._at)
                    else:
                        yield b": the ledger is away\n\n"
                    told_at = loop.time()
                else:
                    await self._woken(news, left_s)
            if tab.is_over:
                yield _event("over", "")

    async def _rest(self, tab: _Tab, until: float) -> bool:
        """Wait; false when the stream ends meanwhile."""
        loop = asyncio.get_running_loop()
        while (left_s := until - loop.time()) > 0 and not (self._closed or tab.is_over):
            await self._woken(self._news, left_s)
        return not (self._closed or tab.is_over)

    @contextmanager
    def _joined(self, tab: _Tab) -> Iterator[None]:
        self._loop = asyncio.get_running_loop()
        self._tabs.add(tab)
        if self._poller is None:
            self._poller = self._loop.create_task(self._poll())
        try:
            yield
        finally:
            self._tabs.discard(tab)
            if not self._tabs and self._poller is not None:
                self._poller.cancel()
                self._poller = None
                self._forget()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    @staticmethod
    async def _woken(news: asyncio.Event, most_s: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(news.wait(), most_s)

    async def _poll(self) -> None:
        was_away = False
        while not self._closed:
            wait_s = self._tick_s
            try:
                tabs = [*self._tabs]
                seen, at, roles = await run_in_threadpool(self._look, sorted({tab.session for tab in tabs}))
                self._take(tabs, seen, at, roles)
                was_away = False
            except Exception as error:  # noqa: BLE001 - the ledger may be away for long, and the tabs wait
                if not was_away:
                    log.warning("changes_not_read", error=log_text(error))
                # A page says until when it is known to be right: nothing is told that is not known.
                self._at = ""
                wait_s, was_away = AWAY_S, True
            await asyncio.sleep(wait_s)

    def _look(self, hashes: list[str]) -> tuple[dict[str, str], str, dict[str, Role]]:
        with self._database.read() as tx:
            seen, at = changes.look(tx)
            return seen, at, sessions.live_roles(tx, hashes)

    def _take(self, tabs: list[_Tab], seen: dict[str, str], at: str, roles: dict[str, Role]) -> None:
        changed = frozenset[str]() if self._seen is None else changes.changed(self._seen, seen)
        self._seen, is_first, self._at = seen, not self._at, at
        woken = is_first
        for tab in tabs:
            tab.is_over = roles.get(tab.session) is not tab.role
            tab.changed |= changed & tab.topics
            woken = woken or tab.is_over or bool(tab.changed)
        if woken:
            self._tell()


def _event(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


class LiveStream(EventSourceResponse):
    """The answer of a stream. A tab that takes nothing for SEND_TIMEOUT_S is dropped, and connects again."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        super().__init__(chunks, ping=0, sep="\n", send_timeout=SEND_TIMEOUT_S)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            log.info("live_stream_dropped", after_s=SEND_TIMEOUT_S)
