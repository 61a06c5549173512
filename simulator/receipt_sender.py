"""POSTs receipts when they are due, tries again when they are not taken, and counts what became of them."""

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
    """The event loop's timers say when, a few tasks carry. Belongs to one event loop; end it with
    :meth:`stop`.
    """

    def __init__(self, settings: ReceiptSettings, seed: int) -> None:
        self._settings = settings
        self._dice = Random(seed)
        self._bag: asyncio.Queue[tuple[Receipt, int]] = asyncio.Queue()
        self._counts: Counter[str] = Counter()
        self._pending = 0
        self._nothing_pending = asyncio.Event()
        self._nothing_pending.set()
        # Neither proxies from the environment nor redirects: a receipt goes where it was told to, or nowhere.
        # Receipts that overtake their answer are POSTed outside the tasks, hence the larger pool.
        self._client = httpx.AsyncClient(
            timeout=settings.timeout_seconds,
            trust_env=False,
            limits=httpx.Limits(max_connections=2 * settings.connections),
        )
        self._tasks = {asyncio.create_task(self._carry()) for _ in range(settings.connections)}

    async def stop(self) -> None:
        """Drop what is not yet delivered."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()
        if self._pending:
            log.info("receipts dropped at the stop: %d", self._pending)

    async def idle(self) -> None:
        """Until every receipt was delivered or given up."""
        await self._nothing_pending.wait()

    @property
    def counts(self) -> dict[str, int]:
        """Receipts posted, tries repeated, receipts given up and still pending."""
        return {name: self._counts[name] for name in ("posted", "retried", "given_up")} | {
            "pending": self._pending
        }

    def accepted(self, sent: Sent) -> Callable[[], Awaitable[None]] | None:
        """Plan the receipts of one message; answers what has to be awaited before the send is answered."""
        receipts = plan_receipts(sent, self._settings, self._dice)
        self._pending += len(receipts)
        self._nothing_pending.clear()
        overtakes = self._dice.random() < self._settings.before_answer_share
        for due in receipts[1:] if overtakes else receipts:
            self._bring(due.seconds, due.receipt, 1)
        return partial(self._overtake, receipts[0].receipt) if overtakes else None

    async def _overtake(self, receipt: Receipt) -> None:
        """The first try is awaited; a client that gives up meanwhile does not take the receipt with it."""
        task = asyncio.create_task(self._post(receipt, 1))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    def _bring(self, seconds: float, receipt: Receipt, attempt: int) -> None:
        asyncio.get_running_loop().call_later(seconds, self._bag.put_nowait, (receipt, attempt))

    async def _carry(self) -> None:
        while True:
            receipt, attempt = await self._bag.get()
            await self._post(receipt, attempt)

    async def _post(self, receipt: Receipt, attempt: int) -> None:
        settings = self._settings
        if await self._is_taken(receipt):
            self._settle("posted")
        elif attempt < settings.tries:
            self._counts["retried"] += 1
            self._bring(settings.retry_ms / 1000 * 2 ** (attempt - 1), receipt, attempt + 1)
        else:
            self._settle("given_up")

    async def _is_taken(self, receipt: Receipt) -> bool:
        try:
            reply = await self._client.post(self._settings.url, json=as_json(receipt, self._settings.shape))
        except (httpx.HTTPError, httpx.InvalidURL):
            return False
        return reply.is_success

    def _settle(self, how: str) -> None:
        self._counts[how] += 1
        self._pending -= 1
        if not self._pending:
            self._nothing_pending.set()
