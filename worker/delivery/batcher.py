"""Group commit: whatever gathers while one transaction runs goes into the next one.

Under little load an item waits for nothing, under much load transactions grow by themselves. Where nobody waits for a
single item, a breath between two transactions lets them grow further: twenty rows cost nearly twice as much each as
four hundred.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Generic, TypeVar

import structlog

from bulksend.clock import wait_until

log = structlog.get_logger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


#: Before anything was measured: the first transaction opens a connection and is slow.
_FIRST_SECONDS = 0.040
#: So many callers go on in one turn of the loop.
_ANSWERED_AT_ONCE = 8
#: After so long, half of what a slow batch took is forgotten.
_HALF_FORGOTTEN_S = 1.0


class Batcher(Generic[Item, Result]):
    """Hands items to ``work`` in batches on a thread and tells each caller its own result.

    ``work`` gets 1 to ``most`` items and returns one result an item, in order; when it raises, every caller of
    that batch is told the exception. Two batches begin at least ``breath_s`` apart unless ``most`` are waiting.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result]],
        executor: Executor,
        *,
        most: int = 400,
        breath_s: float = 0.0,
    ) -> None:
        self._work = work
        self._executor = executor
        self._most = most
        self._breath_s = breath_s
        self._began_at = float("-inf")
        self._full = asyncio.Event()
        self._items: list[tuple[Item, Callable[[Item, Result | Exception], None], float]] = []
        self._running: asyncio.Task[None] | None = None
        self._slow, self._slow_at = _FIRST_SECONDS, time.monotonic()

    @property
    def usual_seconds(self) -> float:
        """What a caller should allow for an item, its wait for the batch before included: as long as slow ones took."""
        # The event loop's clock, but asked from any thread.
        passed = max(0.0, time.monotonic() - self._slow_at)
        return float(self._slow * 0.5 ** (passed / _HALF_FORGOTTEN_S))

    def submit(self, item: Item, done: Callable[[Item, Result | Exception], None]) -> None:
        """Call ``done`` with ``item`` and its result, or what was raised, once the batch it is part of is done."""
        self._items.append((item, done, time.monotonic()))
        if len(self._items) >= self._most:
            self._full.set()
        if self._running is None:
            self._running = asyncio.create_task(self._drain())

    def put(self, item: Item) -> asyncio.Future[Result]:
        """The same as a future. Whoever gives up waiting leaves the item in work."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.submit(item, partial(_resolve, future))
        return future

    async def idle(self) -> None:
        """Wait until nothing is in work."""
        while self._running is not None:
            await asyncio.shield(self._running)

    async def _breathe(self, loop: asyncio.AbstractEventLoop) -> None:
        """Until a breath after the last transaction began, or until there are enough for one."""
        until = self._began_at + self._breath_s
        if loop.time() >= until or len(self._items) >= self._most:
            return
        self._full.clear()
        await wait_until(self._full, until)

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            # One turn of the loop lets everything that is ready at this instant join the batch.
            await asyncio.sleep(0)
            while self._items:
                await self._breathe(loop)
                batch, self._items = self._items[: self._most], self._items[self._most :]
                self._began_at = loop.time()
                items = [item for item, _, _ in batch]
                results: Sequence[Result | Exception]
                try:
                    results = await loop.run_in_executor(self._executor, self._work, items)
                except Exception as error:  # noqa: BLE001 - handed on to each caller, who knows what to do
                    results = [error] * len(batch)
                for number, ((item, done, _), result) in enumerate(zip(batch, results, strict=True), 1):
                    try:
                        done(item, result)
                    except Exception as error:  # noqa: BLE001 - a bug of one caller must not cost the others their answers
                        log.error("caller_broke", error=type(error).__name__)
                    # What else is ready has its turn too: slots are missed by milliseconds.
                    if number % _ANSWERED_AT_ONCE == 0:
                        await asyncio.sleep(0)
                took = time.monotonic() - batch[0][2]
                if took > self.usual_seconds:
                    self._slow, self._slow_at = took, time.monotonic()
        finally:
            self._running = None


def _resolve(future: asyncio.Future[Result], _: object, result: Result | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
