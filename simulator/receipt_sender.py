"""POSTs receipts when they are due, retries failed ones, and counts the results."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random

import httpx

from simulator.receipts import Receipt, Sent, as_json, plan_receipts
from simulator.settings import ReceiptSettings

log = logging.getLogger("simulator")


class ReceiptSender:
    """Timers put due receipts into a queue, a few tasks POST them. Belongs to one event loop; ends by ``stop``."""

    def __init__(self, settings: ReceiptSettings, seed: int) -> None:
        self._settings = settings
        self._dice = Random(seed)
        self._due: asyncio.Queue[tuple[Receipt, int]] = asyncio.Queue()
        self._counts: Counter[str] = Counter()
        self._pending = 0
        self._all_done = asyncio.Event()
        self._all_done.set()
        # No proxies from the environment and no redirects: a receipt goes to its URL only. The pool is larger than the
        # number of tasks because a receipt before its reply is POSTed outside them.
        self._client = httpx.AsyncClient(
            timeout=settings.timeout_seconds,
            trust_env=False,
            limits=httpx.Limits(max_connections=2 * settings.connections),
        )
        self._tasks = {asyncio.create_task(self._post_due()) for _ in range(settings.connections)}

    async def stop(self) -> None:
        """Stop; receipts that were not posted are dropped."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()
        if self._pending:
            log.info("receipts dropped at the stop: %d", self._pending)

    async def idle(self) -> None:
        """Wait until every receipt was posted or given up."""
        await self._all_done.wait()

    @property
    def counts(self) -> dict[str, int]:
        """How many receipts were posted and given up, how many are pending, and how many tries were retries."""
        return {name: self._counts[name] for name in ("posted", "retried", "given_up")} | {
            "pending": self._pending
        }

    def schedule(self, sent: Sent) -> Callable[[], Awaitable[None]] | None:
        """See ReceiptScheduler."""
        receipts = plan_receipts(sent, self._settings, self._dice)
        self._pending += len(receipts)
        self._all_done.clear()
        is_first = self._dice.random() < self._settings.before_answer_share
        for due in receipts[1:] if is_first else receipts:
            self._schedule(due.seconds, due.receipt, 1)
        return partial(self._post_first, receipts[0].receipt) if is_first else None

    async def _post_first(self, receipt: Receipt) -> None:
        """POST the receipt once; the POST goes on when the client of the send gives up meanwhile."""
        task = asyncio.create_task(self._post(receipt, 1))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    def _schedule(self, seconds: float, receipt: Receipt, attempt: int) -> None:
        asyncio.get_running_loop().call_later(seconds, self._due.put_nowait, (receipt, attempt))

    async def _post_due(self) -> None:
        while True:
            receipt, attempt = await self._due.get()
            await self._post(receipt, attempt)

    async def _post(self, receipt: Receipt, attempt: int) -> None:
        settings = self._settings
        if await self._try_post(receipt):
            self._finish("posted")
        elif attempt < settings.tries:
            self._counts["retried"] += 1
            self._schedule(settings.retry_ms / 1000 * 2 ** (attempt - 1), receipt, attempt + 1)
        else:
            self._finish("given_up")

    async def _try_post(self, receipt: Receipt) -> bool:
        try:
            reply = await self._client.post(self._settings.url, json=as_json(receipt, self._settings.shape))
        except (httpx.HTTPError, httpx.InvalidURL):
            return False
        return reply.is_success

    def _finish(self, how: str) -> None:
        self._counts[how] += 1
        self._pending -= 1
        if not self._pending:
            self._all_done.set()
