"""POSTs a second: our vendor client against the usual way to write one, at a vendor that answers after 50 ms.

    python bench/vendor_client.py [--in-flight 200] [--seconds 5] [--rounds 3]

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
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx

from bulksend.gateway import (
    Credentials,
    HttpxTransport,
    SendOrder,
    SocketTransport,
    Transport,
    VendorClient,
    build_request,
    new_nonce,
    read_reply,
)
from bulksend.messaging.outcome import Accepted
from bulksend.messaging.states import MessageType

ORDER = SendOrder("8615000579987", "447700900123", MessageType.TEXT, json.dumps({"body": "x" * 200}))
CREDENTIALS = Credentials("key", "secret", 8899)
BODY = b'{"RetCode":0,"Data":{"MessageId":"m-1"},"Message":"","RequestId":"r-1"}'
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)

Send = Callable[[], Awaitable[None]]


class SlowVendor(asyncio.Protocol):
    """Answers each request 50 ms after its last byte, at as little cost as Python can."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(rest) >= length:
            self.buffer = rest[length:]
            asyncio.get_running_loop().call_later(0.05, self.transport.write, REPLY)


async def serve() -> None:
    """The vendor's process: says its port, ends when its standard input does."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(SlowVendor, "127.0.0.1", 0, backlog=2000)
    say(str(server.sockets[0].getsockname()[1]))
    await loop.run_in_executor(None, sys.stdin.read)


@contextlib.asynccontextmanager
async def ours(transport: Transport) -> AsyncIterator[Send]:
    client = VendorClient(transport, CREDENTIALS)

    async def send() -> None:
        assert isinstance((await client.send(ORDER)).outcome, Accepted)

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
    "httpx": lambda url, in_flight: ours(HttpxTransport(url, connections=in_flight)),
    "usual": usual,
}


async def compare(in_flight: int, seconds: float, rounds: int) -> None:
    vendor = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--serve", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert vendor.stdout is not None
    assert vendor.stdin is not None
    url = f"http://127.0.0.1:{int(await vendor.stdout.readline())}/api"
    seen: dict[str, list[float]] = {name: [] for name in SIDES}
    for number in range(1, rounds + 1):
        for name, side in SIDES.items():
            a_second, cpu = await rate(side(url, in_flight), in_flight, seconds)
            seen[name].append(a_second)
            say(f"round {number}: {name:6} {a_second:8,.0f}/s {cpu:8,.0f} µs CPU a POST")
    vendor.stdin.close()
    await vendor.wait()
    for name in ("socket", "httpx"):
        times = statistics.median(a / b for a, b in zip(seen[name], seen["usual"], strict=True))
        say(f"{name} does {times:.1f} times the usual way (median of {rounds}, {in_flight} in flight)")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--in-flight", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    asyncio.run(serve() if options.serve else compare(options.in_flight, options.seconds, options.rounds))


if __name__ == "__main__":
    main()
