"""Group commit: items that arrive while one transaction runs go into the next one.

Under low load an item waits for nothing; under high load transactions grow. A minimal interval between two transactions
lets them grow further where no caller waits for a single item: a row in a transaction of twenty costs nearly twice as
much as in one of four hundred.
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


#: Expected before anything was measured: the first transaction opens a connection and is slow.
_FIRST_SECONDS = 0.040
#: Callbacks in one turn of the loop: other callbacks that are ready run between two turns, since slots are missed by
#: milliseconds.
_CALLBACKS_PER_TURN = 8
#: The duration of a slow batch counts half after this time.
_HALF_LIFE_S = 1.0


class Batcher(Generic[Item, Result]):
    """Runs ``work`` on a thread for batches of items, and gives each caller the result of its own item.

    ``work`` gets 1 to ``most`` items and returns one result an item, in order; if it raises, every caller of that batch
    gets the exception. Two batches start at least ``interval_s`` apart unless ``most`` items are waiting.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result]],
        executor: Executor,
        *,
        most: int = 400,
        interval_s: float = 0.0,
    ) -> None:
        self._work = work
        self._executor = executor
        self._most = most
        self._interval_s = interval_s
        self._started_at = float("-inf")
        self._full = asyncio.Event()
        self._items: list[tuple[Item, Callable[[Item, Result | Exception], None], float]] = []
        self._running: asyncio.Task[None] | None = None
        self._slow_s, self._slow_at = _FIRST_SECONDS, time.monotonic()

    @property
    def expected_seconds(self) -> float:
        """How long an item may take, its wait for the batch before included, by the recent slow ones."""
        # The event loop's clock, but readable from any thread.
        passed = max(0.0, time.monotonic() - self._slow_at)
        return float(self._slow_s * 0.5 ** (passed / _HALF_LIFE_S))

    def submit(self, item: Item, done: Callable[[Item, Result | Exception], None]) -> None:
        """Call ``done`` with the item, and its result or what ``work`` raised, when its batch is done."""
        self._items.append((item, done, time.monotonic()))
        if len(self._items) >= self._most:
            self._full.set()
        if self._running is None:
            self._running = asyncio.create_task(self._drain())

    def put(self, item: Item) -> asyncio.Future[Result]:
        """The same as a future. Cancelling it does not take the item out of its batch."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.submit(item, partial(_resolve, future))
        return future

    async def idle(self) -> None:
        """Wait until no item is left."""
        while self._running is not None:
            await asyncio.shield(self._running)

    async def _wait_for_more(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait until ``interval_s`` after the last batch started, or until the next one is full."""
        until = self._started_at + self._interval_s
        if loop.time() >= until or len(self._items) >= self._most:
            return
        self._full.clear()
        await wait_until(self._full, until)

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            # One turn of the loop lets everything that is ready now join the batch.
            await asyncio.sleep(0)
            while self._items:
                await self._wait_for_more(loop)
                batch, self._items = self._items[: self._most], self._items[self._most :]
                self._started_at = loop.time()
                items = [item for item, _, _ in batch]
                results: Sequence[Result | Exception]
                try:
                    results = await loop.run_in_executor(self._executor, self._work, items)
                except Exception as error:  # noqa: BLE001 - each caller gets it and knows what to do
                    results = [error] * len(batch)
                for number, ((item, done, _), result) in enumerate(zip(batch, results, strict=True), 1):
                    try:
                        done(item, result)
                    except Exception as error:  # noqa: BLE001 - a bug of one caller must not cost the others their results
                        log.error("batch_callback_failed", error=type(error).__name__)
                    if number % _CALLBACKS_PER_TURN == 0:
                        await asyncio.sleep(0)
                took = time.monotonic() - batch[0][2]
                if took > self.expected_seconds:
                    self._slow_s, self._slow_at = took, time.monotonic()
        finally:
            self._running = None


def _resolve(future: asyncio.Future[Result], _: object, result: Result | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
