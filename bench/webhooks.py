"""Webhooks: how many events a second one notifier delivers, at what CPU, and what a bad endpoint costs a good one.

    ./run bench webhooks [--backend postgresql] [--events 3000] [--rows 20000] [--seconds 5] [--write]

The receivers run in a process of their own. ``alone`` are rare events, a request each; ``bare`` the same by httpx and
asyncio, with no ledger and no signature; ``batches`` those of a campaign with a file; ``delay`` is the time from before
an event's commit to its request, 50 events a second, by itself and beside an endpoint that answers after 10 s and one
that refuses connections.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import Process, Queue
from typing import Any

import httpx

from bench.figures import Figure, Part
from bench.machine import cpu_seconds, described
from bench.output import say
from bench.stand import CLI, Stand, people, stand
from bulksend.ledger import events
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.messaging.webhook_targets import read_networks
from bulksend.operations import webhooks

LOCAL = read_networks("127.0.0.0/8")
SLOW_S = 10.0
#: As a notifier has for one endpoint.
AT_ONCE = 10


@dataclass(frozen=True, slots=True)
class Delivered:
    """Events and requests a second, and CPU seconds a request."""

    events: float
    requests: float
    cpu: float


def receive(ports: Queue[int], arrived: Queue[tuple[float, int, float]], wait_s: float) -> None:
    """A receiver: tells when a request came, how many events it has, and what ``began`` says."""
    answer = b"HTTP/1.1 204 No Content\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
                data = json.loads(await reader.readexactly(length))["data"]
                arrived.put((time.monotonic(), len(data.get("items", "1")), data.get("began", 0.0)))
                await asyncio.sleep(wait_s)
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=200)
        ports.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


class Receiver:
    """One receiver in its process."""

    def __init__(self, wait_s: float = 0.0) -> None:
        ports: Queue[int] = Queue()
        self.arrived: Queue[tuple[float, int, float]] = Queue()
        self.process = Process(target=receive, args=(ports, self.arrived, wait_s), daemon=True)
        self.process.start()
        self.url = f"http://127.0.0.1:{ports.get(timeout=10)}/in"

    def take(self, events: int) -> list[tuple[float, int, float]]:
        """Requests, until they have had that many events."""
        found: list[tuple[float, int, float]] = []
        while sum(count for _, count, _ in found) < events:
            found.append(self.arrived.get(timeout=60))
        return found


def add(at: Stand, database: Database, url: str) -> str:
    """An endpoint at that URL; its id."""
    cipher = Cipher.from_text(at.environ["BULKSEND_ENCRYPTION_KEY"])
    return str(webhooks.add(database, cipher, url, allowed=LOCAL, actor="bench")["id"])


def delivered(at: Stand, what: str, fill: Callable[[Database], int]) -> Delivered:
    """Fill the ledger with events, and have one notifier deliver them all."""
    receiver = Receiver()
    with at.ledger() as database:
        id = add(at, database, receiver.url)
        many = fill(database)
        notifier = at.start("notifier", *CLI, "notifier")
        (first, count, _) = receiver.take(1)[0]
        began = cpu_seconds(notifier.pid)
        took = receiver.take(many - count)
        cpu = cpu_seconds(notifier.pid) - began
        wall = took[-1][0] - first
        webhooks.remove(database, id, actor="bench", why="done")
    notifier.stop()
    receiver.process.kill()
    say(
        f"{what:8} {many:7,} events in {len(took) + 1:6,} requests: {many / wall:7,.0f} events/s, "
        f"{len(took) / wall:5,.0f} requests/s, CPU {cpu / wall:4.0%} of a core, "
        f"{cpu / len(took) * 1e3:.2f} ms a request"
    )
    return Delivered(many / wall, len(took) / wall, cpu / len(took))


def bare(many: int) -> Delivered:
    """As many events, posted by httpx and asyncio and nothing else."""
    receiver = Receiver()
    body = {
        "id": "bare",
        "type": "sender.changed",
        "at": "2026-01-01T00:00:00Z",
        "data": {"sender": "15550100100"},
    }

    async def post() -> tuple[float, float]:
        async with httpx.AsyncClient(trust_env=False) as client:

            async def each(of: Iterator[int]) -> None:
                for _ in of:
                    (await client.post(receiver.url, json=body)).raise_for_status()

            # Each connection is made before.
            await asyncio.gather(*(each(iter(range(1))) for _ in range(AT_ONCE)))
            began, cpu, left = time.monotonic(), time.process_time(), iter(range(many))
            await asyncio.gather(*(each(left) for _ in range(AT_ONCE)))
            return time.monotonic() - began, time.process_time() - cpu

    wall, used = asyncio.run(post())
    receiver.take(many + AT_ONCE)
    receiver.process.kill()
    say(
        f"bare     {many:7,} requests: {many / wall:7,.0f} requests/s, {used / many * 1e3:.2f} ms of CPU a request"
    )
    return Delivered(many / wall, many / wall, used / many)


def rare(many: int) -> Callable[[Database], int]:
    """Events that go alone."""

    def fill(database: Database) -> int:
        for _ in range(0, many, 100):
            with database.write() as tx:
                for _ in range(100):
                    events.add(tx, "sender.changed", {"sender": "15550100100"})
        return many

    return fill


def of_a_file(at: Stand, rows: int) -> Callable[[Database], int]:
    """Events of the messages of a campaign with a file: all of them accepted, 500 in a statement."""

    def fill(database: Database) -> int:
        campaign = at.send(people(at.folder / "people.csv", rows), "--kind", "marketing")
        ids = "SELECT id FROM messages WHERE status = 'queued' LIMIT 500"
        change = "SET status = 'accepted', accepted_at = queued_at, ended_at = queued_at"
        while True:
            with database.write() as tx:
                if not tx.exec_driver_sql(f"UPDATE messages {change} WHERE id IN ({ids})").rowcount:
                    break
        # And one for the campaign.
        assert campaign
        return rows + 1

    return fill


def delay(at: Stand, what: str, seconds: float, *beside: str) -> tuple[float, float]:
    """How long an event takes to a quick endpoint, 50 of them a second: p50 and p99 in ms."""
    receiver = Receiver()
    many = int(seconds * 50)
    with at.ledger() as database:
        ids = [add(at, database, url) for url in (receiver.url, *beside)]
        notifier = at.start("notifier", *CLI, "notifier")
        emit(database)
        receiver.take(1)
        begun = time.monotonic()
        for n in range(many):
            time.sleep(max(0.0, begun + n / 50 - time.monotonic()))
            emit(database)
        took = [(came - began) * 1000 for came, _, began in receiver.take(many)]
        for id in ids:
            webhooks.remove(database, id, actor="bench", why="done")
    notifier.stop()
    receiver.process.kill()
    cut = statistics.quantiles(took, n=100)
    say(f"delay    {what:28} p50 {cut[49]:5.0f} ms, p99 {cut[98]:5.0f} ms, most {max(took):5.0f} ms")
    return cut[49], cut[98]


def emit(database: Database) -> None:
    """One event that says when it began."""
    with database.write() as tx:
        events.add(tx, "sender.changed", {"began": time.monotonic()})


def part(
    alone: Delivered,
    bare: Delivered,
    batches: Delivered,
    itself: tuple[float, float],
    beside: tuple[float, float],
) -> Part:
    """For the page."""
    return Part(
        [
            Figure(
                "requests a second, one event each", f"{alone.requests:,.0f}", f"bare {bare.requests:,.0f}"
            ),
            Figure("requests a second, notifier / bare", f"{alone.requests / bare.requests:.2f}"),
            Figure("CPU a request", f"{alone.cpu * 1e3:.2f} ms", f"bare {bare.cpu * 1e3:.2f} ms"),
            Figure(
                "events a second of a campaign with a file",
                f"{batches.events:,.0f}",
                f"one event a request {alone.events:,.0f}",
            ),
            *(
                Figure(
                    f"from commit to request, p{share}, beside a slow and a dead endpoint",
                    f"{late:,.0f} ms",
                    f"by itself {usual:,.0f} ms",
                )
                for share, late, usual in zip((50, 99), beside, itself, strict=True)
            ),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> Part:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="./run bench webhooks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", default="postgresql")
    parser.add_argument("--events", type=int, default=3_000)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args(arguments)
    say(", ".join(f"{name} {value}" for name, value in described().items()))
    allow: dict[str, Any] = {"BULKSEND_WEBHOOKS_ALLOW_PRIVATE": "127.0.0.0/8"}
    with stand(options.backend, environ=allow) as at:
        alone = delivered(at, "alone", rare(options.events))
        peer = bare(options.events)
        batches = delivered(at, "batches", of_a_file(at, options.rows))
        itself = delay(at, "by itself", options.seconds)
        slow = Receiver(SLOW_S)
        beside = delay(at, "beside a slow and a dead one", options.seconds, slow.url, "http://127.0.0.1:9/in")
        slow.process.kill()
    return part(alone, peer, batches, itself, beside)


if __name__ == "__main__":
    main()
