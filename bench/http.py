"""One-time codes over HTTP, alone and beside a blast, set against the Python producer in the same run.

    ./run bench http [--backend postgresql,sqlite] [--queued 200000] [--seconds 8] [--rate 300] [--write]

One ``serve`` process, one worker, one relay. ``--at-once`` callers ask at the same instant, ``--rate`` messages a
second in all; each call has an Idempotency-Key. First nothing else is sent, then a blast at the sender's rate,
``--blast`` a second. The same through ``Producer.send`` from as many threads. Both take turns, and what all turns of
one found is taken together: in its first seconds a blast costs more. Last without the blast, as fast as the callers
can; on PostgreSQL also from a bare endpoint (bench/bare_endpoint.py).

``call``: from the request to its answer. ``POST``: from the request to the vendor's socket. All processes, the callers
and the vendor included, share the cores of one machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from bench.bare_endpoint import start_bare_endpoint
from bench.figures import Figure, Part
from bench.machine import cost
from bench.stand import CLI, SENDER, Stand, listens, number, people, stand
from ops.local.ports import free_port
from producer import Producer

FIRST_CODE = 8_000_000
#: How often HTTP and Python take turns.
TURNS = 3
BLAST, ALL_THEY_CAN = "beside a blast", "all they can"
WAYS = ("HTTP", "Python", "bare endpoint")


@dataclass(frozen=True, slots=True)
class Way:
    """One way to send on one ledger. Times in milliseconds; None where no worker sends or nothing was measured."""

    backend: str
    way: str
    rate: float
    call_p50: float
    call_p99: float
    post_p50: float | None
    post_p99: float | None
    blast: float | None
    serve_cpu_us: float | None


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn found, in seconds; ``waits`` until the POSTs, ``sent`` by the blast meanwhile, None without one."""

    took: list[float]
    waits: list[float]
    wall: float
    sent: int | None
    serve_cpu: float


@dataclass(frozen=True, slots=True)
class Load:
    """``at_once`` callers; with ``rate`` they ask at the same instants, else each asks again at once."""

    first: int
    at_once: int
    rate: float | None
    seconds: float

    @property
    def interval_s(self) -> float:
        return 0.0 if self.rate is None else self.at_once / self.rate

    @property
    def rounds(self) -> int:
        return 0 if self.rate is None else max(1, int(self.seconds / self.interval_s))


@dataclass(frozen=True, slots=True)
class Calls:
    """When each call began and ended, by the recipient's number; CLOCK_MONOTONIC, seconds."""

    began: dict[int, float]
    ended: dict[int, float]


class Caller(asyncio.Protocol):
    """One kept connection; one request at a time. Cheaper than a client library, whose cost would be measured too."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answered: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if found and len(body) >= int(length or 0) and self._answered is not None:
            answer, self._buffer = self._buffer, b""
            self._answered.set_result(answer)

    async def ask(self, request: bytes) -> bytes:
        """The whole answer."""
        assert self._transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answered


def _request(to: str, n: int, key: str) -> bytes:
    body = json.dumps(
        {
            "to": to,
            "sender": SENDER,
            "kind": "otp",
            "type": "text",
            "content": {"body": f"{n % 1_000_000:06d} is your code"},
            "ttl_seconds": 300,
        }
    ).encode()
    return (
        f"POST /v1/messages HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nIdempotency-Key: login-{to}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def _over_http(port: int, key: str, load: Load) -> Calls:
    loop = asyncio.get_running_loop()
    callers = [(await loop.create_connection(Caller, "127.0.0.1", port))[1] for _ in range(load.at_once)]
    calls = Calls({}, {})

    async def call(caller: Caller, n: int) -> None:
        to = number(n)
        request = _request(to, n, key)
        calls.began[int(to)] = time.monotonic()
        answer = await caller.ask(request)
        calls.ended[int(to)] = time.monotonic()
        if b" 202 " not in answer[:20]:
            raise RuntimeError(answer.decode())

    async def keep_calling(i: int, caller: Caller) -> None:
        until = time.monotonic() + load.seconds
        for n in range(load.first + i, load.first + 10**6, load.at_once):
            if time.monotonic() >= until:
                return
            await call(caller, n)

    if load.rate is None:
        await asyncio.gather(*(keep_calling(i, caller) for i, caller in enumerate(callers)))
        return calls
    began = time.monotonic()
    for round in range(load.rounds):
        await asyncio.sleep(max(0.0, began + round * load.interval_s - time.monotonic()))
        n = load.first + round * load.at_once
        await asyncio.gather(*(call(caller, n + i) for i, caller in enumerate(callers)))
    return calls


def _over_python(producer: Producer, load: Load) -> Calls:
    """The same through ``Producer.send``, a thread for each caller."""
    calls = Calls({}, {})
    begin = threading.Barrier(load.at_once)
    started = time.monotonic()

    def call(n: int) -> None:
        to = number(n)
        calls.began[int(to)] = time.monotonic()
        producer.send(
            to=to,
            sender=SENDER,
            kind="otp",
            type="text",
            content={"body": f"{n % 1_000_000:06d} is your code"},
            ttl=timedelta(minutes=5),
            key=f"login-{to}",
        )
        calls.ended[int(to)] = time.monotonic()

    def caller(i: int) -> None:
        if load.rate is None:
            until = time.monotonic() + load.seconds
            for n in range(load.first + i, load.first + 10**6, load.at_once):
                if time.monotonic() >= until:
                    return
                call(n)
        for round in range(load.rounds):
            time.sleep(max(0.0, started + round * load.interval_s - time.monotonic()))
            begin.wait(60)
            call(load.first + round * load.at_once + i)

    threads = [threading.Thread(target=caller, args=(i,)) for i in range(load.at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return calls


class Bench:
    """One backend with everything that runs on it."""

    def __init__(self, at: Stand, backend: str, options: argparse.Namespace) -> None:
        self._at = at
        self._backend = backend
        self._options = options
        self._next = FIRST_CODE
        self._port = self._bare_port = free_port()
        self._key = json.loads(at.run("keys", "add", "--name", "bench", "--role", "sender", "--json"))["key"]
        os.environ.update(at.environ)
        self._producer = Producer.from_env()
        at.start("serve", *CLI, "serve", "--port", str(self._port))
        at.wait("serve answers", lambda: listens(self._port))

    def figures(self) -> list[Way]:
        """Both ways with nothing else, beside a blast, and as fast as they can."""
        one, rate = self._options, float(self._options.rate)
        self._measure("HTTP", None, 1.0)  # opens the connections
        self._measure("Python", None, 1.0)
        working = [self._at.worker(), self._at.relay()]
        self._measure("HTTP", rate, 1.0)  # opens the worker's connections
        found = self._in_turns("nothing else", rate)
        sent = self._at.vendor.count()
        self._at.send(people(self._at.folder / "people.csv", one.queued))
        self._at.wait("the blast goes", lambda: self._at.vendor.count() > sent + 3 * one.blast, 120)
        found += self._in_turns(BLAST, rate)
        for child in working:
            child.ask_to_stop()
            child.wait_or_kill(40)
        if self._at.postgres:
            self._bare_port = start_bare_endpoint(self._at, status=202)
        found += self._in_turns(ALL_THEY_CAN, None)
        self._producer.close()
        return found

    def _in_turns(self, how: str, rate: float | None) -> list[Way]:
        ways = WAYS if "bare" in self._at.parts else WAYS[:2]
        turns: dict[str, list[Turn]] = {way: [] for way in ways}
        for _ in range(TURNS):
            for way, found in turns.items():
                found.append(self._measure(way, rate, self._options.seconds / TURNS))
        return [self._figure(f"{way}, {how}", way != "Python", found) for way, found in turns.items()]

    def _figure(self, name: str, over_http: bool, turns: Sequence[Turn]) -> Way:
        took = [each for turn in turns for each in turn.took]
        waits = [each for turn in turns for each in turn.waits]
        wall = sum(turn.wall for turn in turns)
        sent = [turn.sent for turn in turns if turn.sent is not None]
        call_p50, call_p99 = _percentiles(took)
        post_p50, post_p99 = _percentiles(waits) if waits else (None, None)
        return Way(
            backend=self._backend,
            way=name,
            rate=len(took) / wall,
            call_p50=call_p50,
            call_p99=call_p99,
            post_p50=post_p50,
            post_p99=post_p99,
            blast=sum(sent) / wall if BLAST in name else None,
            serve_cpu_us=sum(turn.serve_cpu for turn in turns) / len(took) * 1e6 if over_http else None,
        )

    def _measure(self, way: str, rate: float | None, seconds: float) -> Turn:
        sends = rate is not None
        load = Load(self._next, self._options.at_once, rate, seconds)
        self._next += 200_000
        is_bare = way == WAYS[2]
        vendor, parts = self._at.vendor, {"serve": self._at.parts["bare" if is_bare else "serve"]}
        before, count, began = cost(parts), vendor.count() if sends else 0, time.monotonic()
        if way == "Python":
            calls = _over_python(self._producer, load)
        else:
            port = self._bare_port if is_bare else self._port
            calls = asyncio.run(_over_http(port, self._key, load))
        wall = time.monotonic() - began
        serve_cpu = cost(parts).since(before).seconds["serve"]
        took = [ended - calls.began[to] for to, ended in calls.ended.items()]
        waits: list[float] = []
        sent = None
        if sends:
            sent = vendor.count() - count - len(took)
            self._at.wait(
                "every code is sent",
                lambda: calls.began.keys() <= {to for _, to in vendor.arrivals()},
                120,
                0.5,
            )
            waits = [at - calls.began[to] for at, to in vendor.arrivals() if to in calls.began]
        return Turn(took, waits, wall, sent, serve_cpu)


def _percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    cut = statistics.quantiles(seconds, n=100)
    return cut[49] * 1000, cut[98] * 1000


_HEAD = (
    "ledger",
    "callers",
    "calls a second",
    "call p50",
    "call p99",
    "POST p50",
    "POST p99",
    "blast a second",
    "CPU",
)


def part(found: Sequence[Way]) -> Part:
    """For the page."""
    lines = []
    of = {(one.backend, one.way): one for one in found}
    for backend in dict.fromkeys(one.backend for one in found):
        http, python, bare = (of.get((backend, f"{way}, {ALL_THEY_CAN}")) for way in WAYS)
        if http and python:
            beside = f"Python {python.rate:,.0f}" + (f", bare endpoint {bare.rate:,.0f}" if bare else "")
            lines.append(Figure(f"calls a second over HTTP, {backend}", f"{http.rate:,.0f}", beside))
        if http and bare:
            times = f"{http.rate / bare.rate:.2f}"
            lines.append(Figure(f"calls a second, HTTP / bare endpoint, {backend}", times))
        http, python = (of.get((backend, f"{way}, {BLAST}")) for way in WAYS[:2])
        if http and python:
            beside = f"Python {python.post_p99:,.0f} ms"
            what = f"from the call to the POST {BLAST}, p99, {backend}"
            lines.append(Figure(what, f"{http.post_p99:,.0f} ms", beside))
    title = "Calls at once; times in ms, CPU of the process that answers in µs a call"
    return Part(lines, {title: [list(_HEAD), *map(_row, found)]})


def _row(of: Way) -> list[str]:
    numbers = (of.rate, of.call_p50, of.call_p99, of.post_p50, of.post_p99, of.blast, of.serve_cpu_us)
    return [
        of.backend,
        of.way,
        *("" if n is None else f"{n:,.1f}" if n < 100 else f"{n:,.0f}" for n in numbers),
    ]


def main(arguments: Sequence[str] | None = None) -> Part:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="./run bench http", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", default="postgresql,sqlite")
    parser.add_argument("--queued", type=int, default=200_000, help="messages of the blast")
    parser.add_argument("--blast", type=int, default=1000, help="the sender's rate, codes included")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--rate", type=float, default=300)
    options = parser.parse_args(arguments)
    found: list[Way] = []
    for backend in options.backend.split(","):
        with stand(backend, rate=options.blast, environ={"BULKSEND_REQUESTS_PER_SECOND": "1000000"}) as at:
            for figure in Bench(at, backend, options).figures():
                found.append(figure)
                sys.stdout.write(" | ".join(_row(figure)) + "\n")
                sys.stdout.flush()
    return part(found)


if __name__ == "__main__":
    main()
