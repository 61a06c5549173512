"""Callers that wait for the ending of their messages share one query a moment, and hold no thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

from bulksend.errors import Unavailable
from bulksend.messaging.states import ENDED, Status

#: How often the ledger is asked while callers wait.
EVERY_S = 0.05


class Watching:
    """Belongs to one event loop. ``statuses`` reads the statuses of messages by their ids."""

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
