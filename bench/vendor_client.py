"""POSTs a second: our vendor client against the usual way to write one, at a vendor that answers after 50 ms.

    python -m bench.vendor_client [--in-flight 200] [--seconds 5] [--rounds 3]

The usual way is one ``httpx.AsyncClient`` with a pool as large as the number of POSTs at once. All sides
build and sign the same request and read the same reply; rounds alternate, so that a busy machine slows them
alike. What counts is the ratio: the figures themselves are this machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx

from bench.output import say
from bench.vendor import vendor
from bulksend.gateway import (
    Credentials,
    SendOrder,
    Transport,
    VendorClient,
    build_request,
    new_nonce,
    read_reply,
)
from bulksend.gateway.socket_transport import SocketTransport
from bulksend.messaging.outcome import Accepted, Answer
from bulksend.messaging.states import MessageType

ORDER = SendOrder("8615000579987", "447700900123", MessageType.TEXT, json.dumps({"body": "x" * 200}))
CREDENTIALS = Credentials("key", "secret", 8899)
Send = Callable[[], Awaitable[None]]


@contextlib.asynccontextmanager
async def ours(transport: Transport) -> AsyncIterator[Send]:
    client = VendorClient(transport, CREDENTIALS)
    loop = asyncio.get_running_loop()

    async def send() -> None:
        if not client.idle_connections():
            failed = await client.connect()
            assert failed is None, failed
        answered: asyncio.Future[Answer] = loop.create_future()
        assert isinstance(client.post(ORDER, lambda: True, answered.set_result), asyncio.Future)
        assert isinstance((await answered).outcome, Accepted)

    yield send
    await client.aclose()


@contextlib.asynccontextmanager
async def usual(url: str, in_flight: int) -> AsyncIterator[Send]:
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    async with httpx.AsyncClient(limits=limits, timeout=30, trust_env=False) as client:

        async def send() -> None:
            body, headers = build_request(ORDER, CREDENTIALS, now_seconds=int(time.time()), nonce=new_nonce())
            reply = await client.post(url, content=body, headers=headers)
            answer = read_reply(reply.status_code, dict(reply.headers), reply.content)
            assert isinstance(answer.outcome, Accepted)

        yield send


async def rate(
    side: contextlib.AbstractAsyncContextManager[Send], in_flight: int, seconds: float
) -> tuple[float, float]:
    """POSTs a second, and microseconds of our CPU a POST, once every connection is warm."""
    done, until = 0, float("inf")

    async def lane(send: Send) -> None:
        nonlocal done
        while time.perf_counter() < until:
            await send()
            done += 1

    async with side as send:
        await asyncio.gather(*(send() for _ in range(in_flight)))
        started, cpu = time.perf_counter(), time.process_time()
        until = started + seconds
        await asyncio.gather(*(lane(send) for _ in range(in_flight)))
        took, spent = time.perf_counter() - started, time.process_time() - cpu
    return done / took, spent / done * 1e6


SIDES: dict[str, Callable[[str, int], contextlib.AbstractAsyncContextManager[Send]]] = {
    "socket": lambda url, in_flight: ours(SocketTransport(url, connections=in_flight)),
    "usual": usual,
}


async def compare(url: str, in_flight: int, seconds: float, rounds: int) -> None:
    seen: dict[str, list[float]] = {name: [] for name in SIDES}
    for number in range(1, rounds + 1):
        for name, side in SIDES.items():
            a_second, cpu = await rate(side(url, in_flight), in_flight, seconds)
            seen[name].append(a_second)
            say(f"round {number}: {name:6} {a_second:8,.0f}/s {cpu:8,.0f} µs CPU a POST")
    times = statistics.median(a / b for a, b in zip(seen["socket"], seen["usual"], strict=True))
    say(f"ours does {times:.1f} times the usual way (median of {rounds}, {in_flight} in flight)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--in-flight", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with vendor() as at:
        asyncio.run(compare(at.url, options.in_flight, options.seconds, options.rounds))


if __name__ == "__main__":
    main()
