"""Pages that are shown follow the ledger: one stream (SSE) a tab says which topics have changed, and nothing else.

One poller a process looks at the ledger for all tabs, once a tick and only while there is a tab. A tab hears of its
topics at most every few seconds, and later the more tabs there are: each time it asks for its page again.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool

from bulksend.errors import BulksendError, TooManyRequests
from bulksend.ledger.database import Database
from bulksend.operations import changes, sessions
from bulksend.operations.access import Role
from ops.http.streams import OpenStream, PolledStreams

#: How often the poller looks.
TICK_S = 1.0
#: A tab hears of changes at most this often; with many tabs, so often that all of them cost SHARE of a core.
LEAST_S, PAGE_S, SHARE = 1.5, 0.02, 0.25
#: A tab without changes hears after this long that the page is up to date, or that time has passed.
ALIVE_S = 10.0
#: The topic of what changes although nothing happens: ages, rates, what is due.
TIME = "time"
MOST_TABS, MOST_OF_A_USER, MOST_TOPICS = 500, 60, 40
#: What changed so long before a page was made may not be in it: it was read a while before, by another clock perhaps.
SLACK_S = 3.0
#: Changes are known for so long.
MEMORY_S = 600.0


@dataclass(eq=False, slots=True, kw_only=True)
class _Tab(OpenStream):
    session: str
    role: Role
    topics: frozenset[str]
    since: float | None
    """When its page was made; None once it was told what had changed since, or where it does not say."""
    changed: set[str] = field(default_factory=set)


class LiveTabs(PolledStreams[_Tab]):
    """The tabs of this process."""

    AWAY, AWAY_S = "changes_not_read", 2.0

    def __init__(
        self,
        database: Database,
        *,
        tick_s: float = TICK_S,
        least_s: float = LEAST_S,
        alive_s: float = ALIVE_S,
        dice: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tick_s, self._least_s, self._alive_s, self._dice = tick_s, least_s, alive_s, dice
        self._clock = clock
        self._watched: dict[str, Callable[[], str]] = {}
        self._seen: dict[str, str] | None = None
        self._beside: dict[str, str] = {}
        self._changed_at: dict[str, float] = {}
        self._known_since = 0.0
        super().__init__(database)

    def watch(self, topic: str, look: Callable[[], str]) -> None:
        """Tell tabs of this topic, too, whenever ``look`` gives another text.

        It may take seconds, as where Redis is away, and runs beside the looks at the ledger.
        """
        self._watched[topic] = look

    def _forget(self) -> None:
        # What was seen stays: what has changed until the next look is a change for a page of the time between.
        self._at = ""
        self._looking: asyncio.Task[None] | None = None

    def check_room(self, user: str) -> None:
        """Raises TooManyRequests when this process, or a user in it, has as many tabs as it may."""
        if len(self._open) >= MOST_TABS or self._open_of(user) >= MOST_OF_A_USER:
            raise TooManyRequests("too many pages follow the ledger here; this one is as of its last load")

    def pause_s(self) -> float:
        """How long a tab waits between two changes that it is told of."""
        return max(self._least_s, len(self._open) * PAGE_S / SHARE)

    async def chunks(
        self, topics: Collection[str], *, user: str, session: str, role: Role, since: float | None = None
    ) -> AsyncIterator[bytes]:
        """The bytes of a tab's stream, until the session ends or the server stops.

        ``session`` is the hash of the session's token. A user of another role than at the beginning loads the page
        again. ``since``, seconds since the epoch: when the page was made; what has changed since is told, too.
        """
        tab = _Tab(reader=user, session=session, role=role, topics=frozenset(topics), since=since)
        with self._joined(tab):
            loop = asyncio.get_running_loop()
            while not self._at and not self._closed:
                await self._woken(self._news, self._alive_s)
            yield _event("alive", self._at)
            told_at = changed_at = loop.time()
            while self._goes_on(tab):
                news = self._news
                if tab.changed:
                    # Apart from each other: a page that all of them show is not asked for by all at once.
                    if not await self._rest(tab, told_at + self.pause_s() * (0.75 + self._dice() / 2)):
                        break
                    changed, tab.changed = sorted(tab.changed), set()
                    yield _event("changed", [self._at, changed])
                    told_at = changed_at = loop.time()
                elif (left_s := told_at + self._alive_s - loop.time()) <= 0:
                    if self._at and TIME in tab.topics and loop.time() >= changed_at + self.pause_s():
                        yield _event("changed", [self._at, [TIME]])
                        changed_at = loop.time()
                    elif self._at:
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
        while (left_s := until - loop.time()) > 0 and self._goes_on(tab):
            await self._woken(self._news, left_s)
        return self._goes_on(tab)

    async def _look(self) -> float:
        tabs = [*self._open]
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_beside())
        seen, at, roles = await run_in_threadpool(self._read, sorted({tab.session for tab in tabs}))
        self._take(tabs, seen | self._beside, at, roles)
        return self._tick_s

    async def _look_beside(self) -> None:
        for topic, look in self._watched.items():
            # Where the ledger is away, the poller says so.
            with suppress(BulksendError):
                self._beside = self._beside | {topic: await run_in_threadpool(look)}

    def _lose(self) -> None:
        # A page says until when it is known to be right: nothing is told that is not known.
        self._at = ""

    def _read(self, hashes: list[str]) -> tuple[dict[str, str], str, dict[str, Role]]:
        with self._database.read() as tx:
            seen, at = changes.look(tx)
            return seen, at, sessions.live_roles(tx, hashes)

    def _take(self, tabs: list[_Tab], seen: dict[str, str], at: str, roles: dict[str, Role]) -> None:
        changed, now = frozenset[str](), self._clock()
        if self._seen is None:
            self._known_since = now
        else:
            # What is watched is known a while after the first look: that is no change of it.
            changed = changes.changed(self._seen, seen) - (self._watched.keys() - self._seen.keys())
        self._seen, is_first, self._at = seen, not self._at, at
        self._remember(changed, now)
        woken = is_first
        for tab in tabs:
            tab.is_over = roles.get(tab.session) is not tab.role
            tab.changed |= (changed & tab.topics) | self._missed(tab)
            woken = woken or tab.is_over or bool(tab.changed)
        if woken:
            self._tell()

    def _remember(self, changed: frozenset[str], now: float) -> None:
        self._known_since = max(self._known_since, now - MEMORY_S)
        kept = {topic: at for topic, at in self._changed_at.items() if at >= self._known_since}
        self._changed_at = kept | dict.fromkeys(changed, now)

    def _missed(self, tab: _Tab) -> frozenset[str]:
        """The topics of which something may have changed after the tab's page was made and before it joined."""
        if tab.since is None:
            return frozenset()
        since, tab.since = tab.since - SLACK_S, None
        if since < self._known_since:
            return tab.topics
        return frozenset(topic for topic in tab.topics if self._changed_at.get(topic, 0.0) >= since)


def _event(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
