"""POSTs receipts when they are due, retries failed ones, and counts the results."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

import httpx

from simulator.receipt_shapes import SHAPES, Inbound, Receipt, Sent, as_json
from simulator.receipts import ScheduledReceipt, plan_receipts
from simulator.settings import ReceiptSettings

log = logging.getLogger("simulator")


@dataclass(slots=True)
class _Callback:
    """One POST: receipts, or any other body."""

    receipts: list[Receipt]
    body: Any = None
    tries: int = 0

    @property
    def count(self) -> int:
        return len(self.receipts) or 1

    @property
    def sender(self) -> str:
        return self.receipts[0].sent.sender if self.receipts else ""


class ReceiptSender:
    """Timers put due receipts into a queue, a few tasks POST them. Belongs to one event loop; ends by ``stop``."""

    def __init__(self, settings: ReceiptSettings, seed: int) -> None:
        self._settings = settings
        self._dice = Random(seed)
        self._due: asyncio.Queue[_Callback] = asyncio.Queue()
        self._batch = settings.batch if SHAPES[settings.shape].batches else 1
        self._replies = 0
        self._counts: Counter[str] = Counter()
        self._posted: list[Receipt] = []
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

    def posted(self, after: int, limit: int) -> list[dict[str, Any]]:
        """Receipts that were answered with 2xx, in the order of the answers; with ``keep_posted`` only."""
        return [
            {"n": n, "message_id": receipt.sent.message_id, "status": receipt.status, "at_ms": receipt.at_ms}
            for n, receipt in enumerate(self._posted[after : after + limit], after + 1)
        ]

    def schedule(self, sent: Sent) -> Callable[[], Awaitable[None]] | None:
        """See ReceiptScheduler."""
        receipts = plan_receipts(sent, self._settings, self._dice)
        is_first = self._dice.random() < self._settings.before_answer_share
        for due in receipts[1:] if is_first else receipts:
            self._schedule(due.seconds, _Callback([due.receipt]))
        self._schedule_reply(sent, receipts)
        if not is_first:
            return None
        first = _Callback([receipts[0].receipt])
        self._add_pending(first)
        return partial(self._post_first, first)

    def post(self, body: Any) -> None:
        """POST a body now, as any callback."""
        self._schedule(0.0, _Callback([], body))

    def post_inbound(self, message: Inbound) -> None:
        """POST an inbound message now, in the shape of the settings."""
        self.post(SHAPES[self._settings.shape].inbound(message))

    def _schedule_reply(self, sent: Sent, receipts: Sequence[ScheduledReceipt]) -> None:
        share = self._settings.reply_share
        delivered = [due for due in receipts if due.receipt.status == "delivered"]
        if not (share and delivered and self._dice.random() < share):
            return
        self._replies += 1
        at = delivered[0].receipt.at_ms + 1
        reply = Inbound(f"wamid.reply.{self._replies}", sent.to, sent.sender, at, self._settings.reply_text)
        body = SHAPES[self._settings.shape].inbound(reply)
        self._schedule(delivered[0].seconds, _Callback([], body))

    def _schedule(self, seconds: float, callback: _Callback) -> None:
        self._add_pending(callback)
        asyncio.get_running_loop().call_later(seconds, self._due.put_nowait, callback)

    def _add_pending(self, callback: _Callback) -> None:
        self._pending += callback.count
        self._all_done.clear()

    async def _post_first(self, callback: _Callback) -> None:
        """POST the receipt once; the POST goes on when the client of the send gives up meanwhile."""
        task = asyncio.create_task(self._post(callback))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    async def _post_due(self) -> None:
        while True:
            await self._post(self._with_others(await self._due.get()))

    def _with_others(self, callback: _Callback) -> _Callback:
        """The callback with the receipts that are due as well, up to ``batch``."""
        if callback.body is not None or callback.tries:
            return callback
        aside = []
        while callback.count < self._batch and not self._due.empty():
            other = self._due.get_nowait()
            if other.body is not None or other.tries or other.sender != callback.sender:
                aside.append(other)
                break
            callback.receipts.extend(other.receipts)
        for other in aside:
            self._due.put_nowait(other)
        return callback

    async def _post(self, callback: _Callback) -> None:
        settings = self._settings
        if await self._try_post(callback):
            if settings.keep_posted:
                self._posted += callback.receipts
            self._finish("posted", callback)
            return
        callback.tries += 1
        if callback.tries < settings.tries:
            self._counts["retried"] += callback.count
            wait_s = min(settings.retry_ms * 2.0 ** (callback.tries - 1), settings.retry_cap_ms) / 1000
            asyncio.get_running_loop().call_later(wait_s, self._due.put_nowait, callback)
        else:
            self._finish("given_up", callback)

    async def _try_post(self, callback: _Callback) -> bool:
        body = callback.body
        if body is None:
            body = as_json(callback.receipts, self._settings.shape)
        try:
            reply = await self._client.post(self._settings.url, json=body)
        except (httpx.HTTPError, httpx.InvalidURL):
            return False
        return reply.is_success

    def _finish(self, how: str, callback: _Callback) -> None:
        self._counts[how] += callback.count
        self._pending -= callback.count
        if not self._pending:
            self._all_done.set()
