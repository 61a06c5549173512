"""The vendor's side of ``bench.receipts``: POSTs callbacks over kept connections, and measures each answer.

Writes one JSON object: how many were answered, refused, the seconds it took, and the acknowledgement times. Bodies are
of Meta's shape, made by filling in a template: the CPU that a real vendor would use elsewhere is small.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from array import array
from typing import cast

import uvloop

#: How often new callbacks are handed out.
_TICK_S = 0.002
STATUSES = ("sent", "delivered", "read")
_BODY = (
    '{"object":"whatsapp_business_account","entry":[{"id":"0","changes":[{"value":{"messaging_product":"whatsapp",'
    '"metadata":{"display_phone_number":"8615000579987","phone_number_id":"0"},"statuses":[{"id":"mid-%09d",'
    '"status":"%s","timestamp":"%d","recipient_id":"4474%08d"}]},"field":"messages"}]}]}'
)
BEGAN = 1_760_000_000


class Load:
    """``order``: what is sent, a number for each callback: message * 3 + status."""

    def __init__(self, port: int, token: str, order: array[int], rate: float, connections: int) -> None:
        self._port = port
        self._order = order
        self._rate = rate
        self._connections = connections
        self._head = (
            f"POST /v1/receipts/{token} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            "User-Agent: facebookexternalua\r\nAccept: */*\r\nAccept-Encoding: deflate, gzip\r\nContent-Length: "
        ).encode()
        self.idle: list[Connection] = []
        self.sent = self.refused = 0
        self.acknowledged: array[float] = array("d")
        self.done = asyncio.Event()

    def request(self) -> bytes:
        """The next one."""
        number, kind = divmod(self._order[self.sent], len(STATUSES))
        self.sent += 1
        body = (_BODY % (number, STATUSES[kind], BEGAN + kind, number)).encode()
        return self._head + b"%d\r\n\r\n" % len(body) + body

    def answered(self, connection: Connection, seconds: float, *, well: bool) -> None:
        """One more."""
        self.acknowledged.append(seconds)
        self.refused += not well
        self.idle.append(connection)
        if len(self.acknowledged) == len(self._order):
            self.done.set()

    async def run(self) -> float:
        """Send all of them; returns the seconds it took."""
        loop = asyncio.get_running_loop()
        for _ in range(self._connections):
            _, made = await loop.create_connection(lambda: Connection(self), "127.0.0.1", self._port)
            self.idle.append(made)
        began = time.perf_counter()
        while self.sent < len(self._order):
            due = min(len(self._order), int((time.perf_counter() - began) * self._rate))
            while self.sent < due and self.idle:
                self.idle.pop().send(self.request())
            await asyncio.sleep(_TICK_S)
        await self.done.wait()
        return time.perf_counter() - began


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._began = 0.0
        self._transport: asyncio.Transport | None = None
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> None:
        """Send one."""
        assert self._transport is not None
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """An answer, or a part of it."""
        self._answer += data
        if self._answer.endswith(b"}"):
            well = self._answer.startswith(b"HTTP/1.1 200")
            self._answer = b""
            self._load.answered(self, time.perf_counter() - self._began, well=well)


def ordered(callbacks: int, *, seed: int = 0) -> tuple[array[int], int]:
    """Each status of each message twice, shuffled; and how many messages."""
    messages = max(1, callbacks // (2 * len(STATUSES)))
    order = array("l", range(messages * len(STATUSES)))
    order.extend(order)
    random.Random(seed).shuffle(order)
    return order, messages


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("port", "callbacks", "connections"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    token = sys.stdin.readline().strip()
    given = parser.parse_args()
    order, _ = ordered(given.callbacks)

    async def run() -> dict[str, float]:
        load = Load(given.port, token, order, given.rate, given.connections)
        seconds = await load.run()
        times = sorted(load.acknowledged)
        shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
        ms = {name: round(times[int(len(times) * share)] * 1000, 2) for name, share in shares.items()}
        return {"answered": len(times), "refused": load.refused, "seconds": seconds, **ms}

    sys.stdout.write(json.dumps(uvloop.run(run())) + "\n")


if __name__ == "__main__":
    main()
