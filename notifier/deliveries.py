"""Claim deliveries that are due, send them, and write the results: three loops on one event loop.

The ledger is asked on threads, a batch at a time.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from bulksend.errors import InvalidValue
from bulksend.failpoints import reach
from bulksend.ledger import webhook_deliveries, webhook_endpoints
from bulksend.ledger.database import Database
from bulksend.ledger.driver_errors import log_text
from bulksend.ledger.encryption import CannotDecrypt, Cipher
from bulksend.ledger.webhook_deliveries import DEAD, DELIVERED, PENDING, Claimed, Tried
from bulksend.ledger.webhook_endpoints import Endpoint, unseal
from bulksend.messaging.webhook_bodies import happened_at
from bulksend.messaging.webhook_retries import is_delivered, next_wait_ms, read_retry_after_ms
from bulksend.messaging.webhook_signature import headers
from bulksend.messaging.webhook_targets import Network, read_target
from bulksend.metrics import WebhookMetrics
from bulksend.operations.webhooks import record_results
from notifier.address import Resolve
from notifier.endpoint_queue import EndpointQueue
from notifier.fan_out import Room
from notifier.posting import TRY_S, Poster, Reply

log = structlog.get_logger(__name__)

#: What a claim waits before it is sent, at most; then it is given back. A lease lasts for that and a try.
WAITS_S, MARGIN_S = 4.0, 2.0
#: How often the ledger is asked for what is due, at least, s.
LOOK_S = 0.5
#: How often results are written, at most, s.
SETTLE_S = 0.025
#: What a round that failed waits, s.
AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class SendingRules:
    """``concurrency`` is that of one endpoint, ``total`` that of the process."""

    allowed: Sequence[Network] = ()
    concurrency: int = 10
    total: int = 200
    try_s: float = TRY_S
    look_s: float = LOOK_S

    @property
    def lease_ms(self) -> int:
        """How long a claim lasts."""
        return int((WAITS_S + self.try_s + MARGIN_S) * 1000)


class Deliveries:
    """Belongs to the event loop on which ``run`` is called. ``dice`` is uniform in [0, 1), ``wall`` in seconds."""

    def __init__(
        self,
        database: Database,
        cipher: Cipher,
        rules: SendingRules,
        *,
        resolve: Resolve,
        tls: ssl.SSLContext,
        metrics: WebhookMetrics,
        dice: Callable[[], float] = random.random,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._cipher = cipher
        self._rules = rules
        self._resolve = resolve
        self._tls = tls
        self._metrics = metrics
        self._dice = dice
        self._wall = wall
        self._queues: dict[str, EndpointQueue] = {}
        self._in_flight = 0
        self._results: list[Tried] = []
        self._tries: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.due = asyncio.Event()
        """Set when deliveries may be due that were not at the last look."""
        self._ended = asyncio.Event()
        """Set when tries have results that are not written."""

    async def run(self, stopping: asyncio.Event, grace_s: float) -> None:
        """Claim, send and settle until ``stopping`` is set; what is under way then has ``grace_s`` to end."""
        settling = asyncio.create_task(self._settle_until_stopped())
        claiming = asyncio.create_task(self._claim_until_stopped())
        await stopping.wait()
        self._stopping = True
        self.due.set()
        await claiming
        await self._release([claimed for q in self._queues.values() for _, claimed in q.waiting])
        if self._tries:
            await asyncio.wait(self._tries, timeout=grace_s)
        for task in self._tries:
            task.cancel()
        await asyncio.gather(*self._tries, return_exceptions=True)
        self._ended.set()
        await settling
        for queue in self._queues.values():
            await queue.poster.close()

    # -- claim -----------------------------------------------------------------------------------------

    async def _claim_until_stopped(self) -> None:
        while not self._stopping:
            self.due.clear()
            try:
                wait_s = await self._claim()
            except Exception as error:  # noqa: BLE001 - the ledger may be away for long, and the notifier goes on
                log.warning("webhook_claim_failed", error=log_text(error))
                wait_s = AGAIN_S
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self.due.wait()

    def rooms(self) -> dict[str, Room]:
        """What each endpoint that is being served may be given now, by its id."""
        left = self._rules.total - self._in_flight
        return {id: Room(queue.endpoint.sealed, queue.room(left)) for id, queue in self._queues.items()}

    def take(self, claimed: Sequence[Claimed], claimed_at: float) -> None:
        """Send these, which are claimed since then (steady clock, s) for endpoints of ``rooms``."""
        for each in claimed:
            # An endpoint that has been disabled since: the lease ends by itself.
            if each.endpoint_id in self._queues:
                self._queues[each.endpoint_id].waiting.append((claimed_at, each))
        for queue in self._queues.values():
            self._begin(queue)

    async def _claim(self) -> float:
        """Claim what is due and has room; returns the seconds until the next look."""
        rooms = {id: room.most for id, room in self.rooms().items()}
        started = time.monotonic()
        active, claimed, wait_ms = await asyncio.to_thread(self._claim_in_ledger, rooms)
        await self._refresh(active)
        counts = Counter(each.endpoint_id for each in claimed)
        for id, queue in self._queues.items():
            queue.more = counts[id] >= rooms.get(id, self._rules.concurrency)
        self.take(claimed, started)
        return min(self._rules.look_s, max(0.01, wait_ms / 1000))

    def _claim_in_ledger(self, rooms: dict[str, int]) -> tuple[list[Endpoint], list[Claimed], float]:
        """The active endpoints, what was claimed, and in how many ms more is due. Raises what the driver raises."""
        with self._database.read() as tx:
            active = webhook_endpoints.active(tx)
            wanted = {e.id: room for e in active if (room := rooms.get(e.id, self._rules.concurrency)) > 0}
            waits = webhook_deliveries.next_due_in_ms(tx, list(wanted)) if wanted else {}
        due = [id for id, wait in waits.items() if wait <= 0]
        later = [float(wait) for wait in waits.values() if wait > 0]
        claimed: list[Claimed] = []
        if due:
            with self._database.write() as tx:
                for id in due:
                    claimed += webhook_deliveries.claim(
                        tx, id, limit=wanted[id], lease_ms=self._rules.lease_ms
                    )
                # After the claim: what is claimed may have happened since an endpoint was changed.
                active = webhook_endpoints.active(tx)
            reach("webhooks_claimed")
        return active, claimed, min(later, default=float("inf"))

    async def _refresh(self, active: Sequence[Endpoint]) -> None:
        """Have a queue for each active endpoint, by its newest row."""
        for endpoint in active:
            queue = self._queues.get(endpoint.id)
            if queue is None:
                poster = Poster(self._resolve, self._rules.allowed, self._tls, try_s=self._rules.try_s)
                queue = self._queues[endpoint.id] = EndpointQueue(endpoint, poster, self._rules.concurrency)
                self._open(queue)
            elif queue.endpoint.sealed != endpoint.sealed:
                queue.endpoint = endpoint
                self._open(queue)
                # Its connections were checked for the host before.
                await queue.poster.close()
        kept = {endpoint.id for endpoint in active}
        for id in [id for id, q in self._queues.items() if id not in kept and not q.in_flight]:
            queue = self._queues.pop(id)
            await self._release([claimed for _, claimed in queue.waiting])
            await queue.poster.close()

    def _open(self, queue: EndpointQueue) -> None:
        queue.opened = queue.target = queue.why_not = None
        try:
            queue.opened = unseal(self._cipher, queue.endpoint.id, queue.endpoint.sealed)
            queue.target = read_target(queue.opened.url, allowed=self._rules.allowed)
        except CannotDecrypt:
            queue.why_not = "its secret was encrypted with a key that is not in BULKSEND_ENCRYPTION_KEY"
        except InvalidValue as error:
            queue.why_not = f"its URL {error.why}"

    async def _release(self, claimed: list[Claimed]) -> None:
        if claimed:
            try:
                await asyncio.to_thread(
                    self._database.retrying, lambda tx: webhook_deliveries.release(tx, claimed)
                )
            except Exception as error:  # noqa: BLE001 - their leases end by themselves
                log.warning("webhook_release_failed", error=log_text(error))

    # -- send ------------------------------------------------------------------------------------------

    def _begin(self, queue: EndpointQueue) -> None:
        """Start what is claimed, as far as the endpoint has slots."""
        late: list[Claimed] = []
        while queue.waiting and queue.in_flight < queue.slots and not self._stopping:
            claimed_at, claimed = queue.waiting.popleft()
            if time.monotonic() - claimed_at > WAITS_S:
                late.append(claimed)
                continue
            queue.in_flight += 1
            self._in_flight += 1
            self._start(self._try(queue, claimed))
        if late:
            self._start(self._release(late))

    def _start(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tries.add(task)
        task.add_done_callback(self._tries.discard)

    async def _try(self, queue: EndpointQueue, claimed: Claimed) -> None:
        try:
            reply = await self._post(queue, claimed)
        finally:
            queue.in_flight -= 1
            self._in_flight -= 1
        self._results.append(self._judge(queue, claimed, reply))
        self._ended.set()
        self._begin(queue)
        if queue.more and len(queue.waiting) <= 2 * queue.slots:
            queue.more = False
            self.due.set()

    async def _post(self, queue: EndpointQueue, claimed: Claimed) -> Reply:
        if queue.opened is None or queue.target is None:
            return Reply(None, queue.why_not, None, 0.0)
        now = self._wall()
        if claimed.attempts == 1:
            self._metrics.note_lag(now - happened_at(claimed.body))
        signed = headers(queue.opened.signing(int(now * 1000)), claimed.id, int(now), claimed.body)
        return await queue.poster.post(queue.target, claimed.body, signed)

    def _judge(self, queue: EndpointQueue, claimed: Claimed, reply: Reply) -> Tried:
        delivered = is_delivered(reply.http_status)
        wait: int | None = 0
        if not delivered:
            asked = read_retry_after_ms(reply.retry_after, int(self._wall() * 1000))
            wait = next_wait_ms(claimed.attempts, retry_after_ms=asked, dice=self._dice())
        if queue.note(delivered, reply.latency_ms):
            log.info(
                "webhook_endpoint_answers" if delivered else "webhook_endpoint_fails",
                endpoint=queue.endpoint.id,
                host=queue.target.host if queue.target else None,
                http_status=reply.http_status,
                error=reply.error,
            )
        status = DELIVERED if delivered else DEAD if wait is None else PENDING
        self._metrics.count("failed" if status == PENDING else status)
        return Tried(claimed, status, wait or 0, reply.http_status, reply.error, reply.latency_ms)

    # -- settle ----------------------------------------------------------------------------------------

    async def _settle_until_stopped(self) -> None:
        """Write results until the process stops and all are written."""
        while True:
            await self._ended.wait()
            self._ended.clear()
            results, self._results = self._results, []
            if results:
                await self._settle(results)
            if self._stopping and not self._tries and not self._results:
                return
            # The results of this time are one transaction.
            await asyncio.sleep(SETTLE_S)

    async def _settle(self, results: list[Tried]) -> None:
        reach("webhooks_sent")
        try:
            disabled = await asyncio.to_thread(
                self._database.retrying, lambda tx: record_results(tx, results)
            )
        except Exception as error:  # noqa: BLE001 - their leases end, and they are sent again
            log.error("webhook_results_lost", results=len(results), error=log_text(error))
            return
        for id, why in disabled.items():
            log.warning("webhook_endpoint_disabled", endpoint=id, why=why)
        dead = sum(each.status == DEAD for each in results)
        if dead:
            log.warning("webhook_deliveries_dead", count=dead)
