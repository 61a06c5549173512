"""What people write first: a task a message. Celery with httpx and an INSERT each; taskiq with aiohttp and one each.

Not ours and not imported by ours: it runs in the environment of ``requirements.lock`` beside this file.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import sys
import threading
import time
from typing import Any

RESULT = "INSERT INTO results (n, recipient, status, message_id) VALUES (%s, %s, %s, %s)"
VENDOR, DATABASE, REDIS = os.environ["VENDOR_URL"], os.environ["PG_URL"], os.environ["REDIS_URL"]


def request_of(n: int, to: str) -> tuple[bytes, dict[str, str]]:
    """Rendered and signed, as the vendor asks."""
    content = json.dumps({"body": f"Hello Name {n}, your spring voucher V-{n:08d} is good until Sunday."})
    body = {
        "Action": "SendMessage",
        "BusinessPhone": "8615000579987",
        "To": to,
        "Type": "text",
        "Content": content,
    }
    text = "".join(key + body[key] for key in sorted(body)) + "bench-secret"
    headers = {
        "Content-Type": "application/json",
        "X-Access-Key-Id": "bench",
        "X-Nonce": secrets.token_hex(10),
        "X-Signature": hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(),
        "X-Timestamp": str(int(time.time())),
    }
    return json.dumps(body).encode(), headers


def result_of(n: int, to: str, answer: Any) -> tuple[object, ...]:
    """A row of results."""
    return n, to, "accepted" if answer["RetCode"] == 0 else "failed", answer["Data"]["MessageId"]


def number(n: int) -> str:
    """As everywhere in the bench."""
    return f"4474{n + 10_000_000:08d}"


if os.environ.get("PEER") == "taskiq":
    import aiohttp
    from psycopg_pool import AsyncConnectionPool
    from taskiq import TaskiqEvents, TaskiqState
    from taskiq_redis import ListQueueBroker

    broker = ListQueueBroker(REDIS)
    hands: dict[str, Any] = {}

    @broker.on_event(TaskiqEvents.WORKER_STARTUP)
    async def begin(_: TaskiqState) -> None:
        hands["http"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1000))
        hands["pool"] = AsyncConnectionPool(
            DATABASE, min_size=20, max_size=20, kwargs={"autocommit": True}, open=False
        )
        await hands["pool"].open()

    @broker.task(task_name="send")
    async def send(n: int, to: str) -> None:
        body, headers = request_of(n, to)
        async with hands["http"].post(VENDOR, data=body, headers=headers) as reply:
            answer = await reply.json()
        async with hands["pool"].connection() as connection:
            await connection.execute(RESULT, result_of(n, to, answer))

else:
    import httpx
    import psycopg
    from celery import Celery

    app = Celery("peer", broker=REDIS)
    app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=4)
    local = threading.local()

    @app.task(name="send")
    def send_plainly(n: int, to: str) -> None:
        if not hasattr(local, "http"):
            local.http, local.database = httpx.Client(), psycopg.connect(DATABASE, autocommit=True)
        body, headers = request_of(n, to)
        answer = local.http.post(VENDOR, content=body, headers=headers).json()
        local.database.execute(RESULT, result_of(n, to, answer))


async def enqueue(count: int) -> None:
    """Put the jobs into Redis."""
    if os.environ.get("PEER") == "taskiq":
        await broker.startup()
        for n in range(count):
            await send.kiq(n, number(n))
        await broker.shutdown()
        return
    with (
        app.connection_for_write() as connection,
        connection.channel() as channel,
        app.amqp.Producer(channel) as producer,
    ):
        for n in range(count):
            send_plainly.apply_async((n, number(n)), producer=producer)


if __name__ == "__main__":
    asyncio.run(enqueue(int(sys.argv[1])))
