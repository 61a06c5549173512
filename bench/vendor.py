"""The vendor of a bench: takes every SendMessage, answers after its latency, and remembers when each came.

    python -m bench.vendor [--latency-ms 50]

A process of its own that does as little for a request as Python can: no signature is checked, no JSON is read. Says
its port on its first line. ``GET /arrivals`` gives what came as pairs of 64-bit integers, by the kernel's stamp:
nanoseconds of CLOCK_MONOTONIC, and the number it was for. ``GET /count`` how many; ``DELETE /arrivals`` forgets them.
``PUT /outage/SECONDS`` answers what comes for as long with 503.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import itertools
import socket
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from simulator.kernel_timestamps import arrival_time, timestamping_socket

_BODY = b'{"RetCode":0,"Data":{"MessageId":"%b"},"Message":"","RequestId":"%b"}'
_REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_BROKEN = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
_TO = b'"To":"'


class Log:
    """When each request came, and for whom."""

    def __init__(self) -> None:
        self.arrivals = array("q")
        self.broken_until = 0.0

    def note(self, body: bytes, at: float) -> None:
        """A request is complete; its last bytes came ``at``, in steady seconds."""
        _, _, rest = body.partition(_TO)
        to = rest.partition(b'"')[0]
        self.arrivals.append(int(at * 1e9))
        self.arrivals.append(int(to) if to.isdigit() else 0)


class Connection(asyncio.Protocol):
    """Answers each request after the latency, at as little cost as Python can."""

    def __init__(self, log: Log, latency_s: float) -> None:
        self._log, self._latency_s = log, latency_s
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._socket = transport.get_extra_info("socket")
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        """A piece of a request."""
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        if not head.startswith(b"POST"):
            self._buffer = rest
            self._answer_about(head)
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(rest) >= length:
            self._buffer = rest[length:]
            self._log.note(rest, arrival_time(self._socket)[1])
            name = b"%032x" % next(_NAMES)
            body = _BODY % (name, name)
            reply = _REPLY % (len(body), body)
            if time.monotonic() < self._log.broken_until:
                reply = _BROKEN
            self._loop.call_later(self._latency_s, self._transport.write, reply)

    def _answer_about(self, head: bytes) -> None:
        if head.startswith(b"DELETE"):
            del self._log.arrivals[:]
        elif head.startswith(b"PUT /outage/"):
            self._log.broken_until = time.monotonic() + float(head.split(b"/", 3)[2].split()[0])
        counted = head.startswith(b"GET /count")
        body = b"%d" % (len(self._log.arrivals) // 2) if counted else self._log.arrivals.tobytes()
        self._transport.write(_REPLY % (len(body), body))


#: No two replies of any run name the same message.
_NAMES = itertools.count(time.time_ns() << 20)


async def serve(latency_s: float) -> None:
    """Until standard input ends."""
    log = Log()
    made = socket.create_server(("127.0.0.1", 0), backlog=4000)
    listening = timestamping_socket(made.detach())
    assert listening is not None, "the bench runs on Linux"
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: Connection(log, latency_s), sock=listening)
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)


@dataclass(frozen=True, slots=True)
class Vendor:
    """A vendor's process, as the bench sees it."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """Where it takes messages."""
        return f"http://127.0.0.1:{self.port}/api"

    def count(self) -> int:
        """How many messages came."""
        return int(self._ask("GET", "/count"))

    def forget(self) -> None:
        """Forget all arrivals."""
        self._ask("DELETE", "/arrivals")

    def break_for(self, seconds: float) -> None:
        """Answer with 503 for as long."""
        self._ask("PUT", f"/outage/{seconds:g}")

    def arrivals(self) -> list[tuple[float, int]]:
        """What came: (CLOCK_MONOTONIC seconds, number), in order of time."""
        numbers = array("q")
        numbers.frombytes(self._ask("GET", "/arrivals"))
        return sorted((at / 1e9, to) for at, to in zip(numbers[::2], numbers[1::2], strict=True))

    def _ask(self, method: str, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path)
            return connection.getresponse().read()
        finally:
            connection.close()


@contextmanager
def vendor(latency_ms: float = 50) -> Iterator[Vendor]:
    """A vendor in a process of its own."""
    command = [sys.executable, "-m", "bench.vendor", "--latency-ms", str(latency_ms)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield Vendor(int(process.stdout.readline()), process.pid)
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--latency-ms", type=float, default=50)
    options = parser.parse_args()
    asyncio.run(serve(options.latency_ms / 1000))


if __name__ == "__main__":
    main()
