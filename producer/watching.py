"""Callers that wait for the ending of their messages share one query a moment: on an event loop, and on threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from bulksend.errors import LedgerUnreachable, Unavailable
from bulksend.ledger import messages
from bulksend.ledger.database import Database
from bulksend.messaging.states import ENDED, Status
from producer.group_commit import GroupCommit

#: How often the ledger is asked while callers wait.
EVERY_S = 0.05


def read_statuses(database: Database, ids: Collection[str]) -> Mapping[str, Status]:
    """The status of each of these messages that exists. Raises LedgerUnreachable."""
    with database.translated_errors(), database.read() as tx:
        return messages.statuses(tx, list(ids))


class Endings:
    """For callers that are threads.

    PostgreSQL and SQLite have no common signal of a change, so the ledger is asked.
    """

    def __init__(self, statuses: Callable[[Collection[str]], Mapping[str, Status]]) -> None:
        def seen(ids: Sequence[str]) -> list[Status | None]:
            found = statuses(ids)
            return [found.get(id) for id in ids]

        self._seen: GroupCommit[str, Status | None] = GroupCommit(seen, common=LedgerUnreachable)

    def ending(self, id: str, status: Status, seconds: float) -> Status:
        """The status in which a message stays, or its last known one after ``seconds``."""
        until = time.monotonic() + seconds
        while status not in ENDED and (left := until - time.monotonic()) > 0:
            time.sleep(min(EVERY_S, left))
            try:
                status = self._seen(id) or status
            except Unavailable:
                continue
        return status


class Watching:
    """For callers on an event loop, to which it belongs. ``statuses`` reads the statuses of messages by their ids."""

    def __init__(self, statuses: Callable[[Collection[str]], Mapping[str, Status]]) -> None:
        self._statuses = statuses
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="watching")
        self._waiting: dict[str, list[asyncio.Future[Status]]] = {}
        self._running: asyncio.Task[None] | None = None

    async def ending(self, id: str, status: Status, seconds: float) -> Status:
        """The status in which a message stays, or its last known one after ``seconds``."""
        if status in ENDED or seconds <= 0:
            return status
        future: asyncio.Future[Status] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(id, []).append(future)
        if self._running is None:
            self._running = asyncio.create_task(self._watch())
        try:
            return await asyncio.wait_for(future, seconds)
        except TimeoutError:
            return (await self._seen([id])).get(id, status)
        finally:
            left = [each for each in self._waiting.get(id, []) if each is not future]
            if left:
                self._waiting[id] = left
            else:
                self._waiting.pop(id, None)

    def close(self) -> None:
        """Ask the ledger no more, and let the thread end when it is idle."""
        if self._running is not None:
            self._running.cancel()
        self._executor.shutdown(wait=False)

    async def _watch(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(EVERY_S)
                for id, status in (await self._seen(list(self._waiting))).items():
                    if status in ENDED:
                        for future in self._waiting.pop(id, []):
                            if not future.done():
                                future.set_result(status)
        finally:
            self._running = None

    async def _seen(self, ids: Collection[str]) -> Mapping[str, Status]:
        """Nothing while the ledger is away: the messages are stored, and their callers get the status they had."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._statuses, ids)
        except Unavailable:
            return {}
