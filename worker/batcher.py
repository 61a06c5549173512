"""Group commit: whatever gathers while one transaction runs goes into the next one.

No timer: under little load an item waits for nothing, under much load transactions grow by themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


#: Before anything was measured: the first transaction opens a connection and is slow.
_FIRST_SECONDS = 0.040
#: How much of a slow batch is remembered by the next one.
_FORGET = 0.95


class Batcher(Generic[Item, Result]):
    """Hands items to ``work`` in batches on a thread and gives each caller its own result.

    ``work`` gets 1 to ``most`` items and returns one result an item, in order; when it raises, every caller of
    that batch gets the exception.
    """

    def __init__(
        self, work: Callable[[Sequence[Item]], Sequence[Result]], executor: Executor, *, most: int = 400
    ) -> None:
        self._work = work
        self._executor = executor
        self._most = most
        self._items: list[tuple[Item, asyncio.Future[Result]]] = []
        self._running: asyncio.Task[None] | None = None
        self.usual_seconds = _FIRST_SECONDS
        """What a caller should allow for a batch: as long as the slow ones took lately."""

    async def put(self, item: Item) -> Result:
        """The result of ``item``, once the batch it is part of is done."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._items.append((item, future))
        if self._running is None:
            self._running = asyncio.create_task(self._drain())
        return await future

    async def idle(self) -> None:
        """Wait until nothing is in work."""
        while self._running is not None:
            await asyncio.shield(self._running)

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            # One turn of the loop lets everything that is ready at this instant join the batch.
            await asyncio.sleep(0)
            while self._items:
                batch, self._items = self._items[: self._most], self._items[self._most :]
                started = loop.time()
                try:
                    results = await loop.run_in_executor(
                        self._executor, self._work, [item for item, _ in batch]
                    )
                except Exception as error:  # noqa: BLE001 - handed on to each caller, who knows what to do
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                else:
                    for (_, future), result in zip(batch, results, strict=True):
                        if not future.done():
                            future.set_result(result)
                self.usual_seconds = max(loop.time() - started, self.usual_seconds * _FORGET)
        finally:
            self._running = None
