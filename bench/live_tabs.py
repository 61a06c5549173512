"""What open tabs of the console cost one ``serve`` while a campaign is sent; bench/pages.py runs it.

Each tab has a stream at ``/live`` and asks for its page again when the stream tells it of a change, as the script of
the console does. The blast is another process, which takes messages of the large campaign through claim, write-ahead,
settlement and receipts as workers and the relay do, without a vendor.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.blast import Progress, blast, progress
from bench.console import Console, Session, cpu_of
from bench.console_ledger import SENDERS, Made
from bench.http import Caller
from bulksend.operations.access import Role

#: A user has at most 60 tabs in a process.
OF_A_USER = 50
#: As ``refresh`` of the script: a change that comes meanwhile is asked for after this long.
AGAIN_S = 0.5
#: What is left of the tabs' connecting when the count begins.
SETTLED_S = 10.0


@dataclass(frozen=True, slots=True)
class Watched:
    """What the tabs cost: CPU in cores, of memory before, at the end and at most, refreshes and their time."""

    tabs: int
    rate: float
    sent: int
    seconds: float
    cores: float
    rss_mb: tuple[float, float, float]
    refreshes: int
    refresh_p50_ms: float
    refresh_p95_ms: float
    lost: int

    def line(self) -> str:
        """For people."""
        return (
            f"{self.tabs} tabs, blast of {self.rate:g}/s ({self.sent / self.seconds:.0f}/s sent), {self.seconds:.0f} s:"
            f" {self.cores:.2f} cores, RSS {self.rss_mb[0]:.0f} MB before, {self.rss_mb[1]:.0f} at the end,"
            f" {self.rss_mb[2]:.0f} at most; {self.refreshes / self.seconds:.1f} refreshes/s, p50"
            f" {self.refresh_p50_ms:.0f} ms, p95 {self.refresh_p95_ms:.0f} ms; {self.lost} streams lost"
        )


def watch(of: Console, made: Made, tabs: int, rate: float, seconds: float) -> Watched:
    """Open the tabs, send ``rate`` messages a second for ``seconds``, and count."""
    users = [of.sign_in(Role.OPERATOR) for _ in range(-(-tabs // OF_A_USER))]
    context = multiprocessing.get_context("spawn")
    sending = progress(context)
    url = of.database.url.render_as_string(hide_password=False)
    sender = context.Process(target=blast, args=(url, made.large, rate, seconds + SETTLED_S, sending))
    sender.start()
    try:
        of.wait("the blast is stored", sending.is_stored.is_set, seconds=300)
        each = [users[n // OF_A_USER] for n in range(tabs)]
        return asyncio.run(_watch(of, made, each, rate, seconds, sending))
    finally:
        sender.terminate()
        sender.join()


@dataclass(slots=True)
class _Tally:
    """What happened in all tabs."""

    took: list[float] = field(default_factory=list)
    lost: int = 0


async def _watch(
    of: Console, made: Made, users: Sequence[Session], rate: float, seconds: float, sending: Progress
) -> Watched:
    tally = _Tally()
    pages = _shown(made)
    tabs = [asyncio.create_task(_tab(of, user, pages[n % len(pages)], tally)) for n, user in enumerate(users)]
    try:
        sending.may_begin.set()
        await asyncio.sleep(SETTLED_S)
        tally.took.clear()
        before, cpu, began, was_sent = of.rss_mb(), cpu_of(of.pid), time.monotonic(), sending.sent.value
        most = before
        while (left_s := began + seconds - time.monotonic()) > 0:
            await asyncio.sleep(min(1.0, left_s))
            most = max(most, of.rss_mb())
            if broken := next((tab for tab in tabs if tab.done()), None):
                broken.result()
        spent = time.monotonic() - began
        took = sorted(tally.took) or [0.0]
        return Watched(
            tabs=len(tabs),
            rate=rate,
            sent=sending.sent.value - was_sent,
            seconds=spent,
            cores=(cpu_of(of.pid) - cpu) / spent,
            rss_mb=(before, of.rss_mb(), most),
            refreshes=len(tally.took),
            refresh_p50_ms=median(took) * 1000,
            refresh_p95_ms=took[-(-len(took) * 95 // 100) - 1] * 1000,
            lost=tally.lost,
        )
    finally:
        for tab in tabs:
            tab.cancel()
        await asyncio.gather(*tabs, return_exceptions=True)


def _shown(made: Made) -> list[str]:
    """What people have open while a campaign is sent."""
    large = f"/campaigns/{made.large}"
    return ["/", large, "/", large, "/campaigns", "/messages", f"/senders/{SENDERS[0]}", "/codes"]


async def _tab(of: Console, user: Session, path: str, tally: _Tally) -> None:
    """One visible tab: its page, its stream, and the page again at each change."""
    first = await _page(of, user, path)
    topics = sorted(
        {topic for found in re.findall(rb'data-live="([^"]*)"', first) for topic in found.split()}
    )
    query = "&".join(f"topic={topic.decode()}" for topic in topics)
    changed = asyncio.Event()
    async with asyncio.TaskGroup() as both:
        both.create_task(_refresh(of, user, path, changed, tally))
        both.create_task(_follow(of, user, f"/live?{query}", changed, tally))


async def _follow(of: Console, user: Session, path: str, changed: asyncio.Event, tally: _Tally) -> None:
    """Open the stream, again whenever it ends."""
    while True:
        await _stream(of, user, path, changed)
        tally.lost += 1
        await asyncio.sleep(1)


async def _refresh(of: Console, user: Session, path: str, changed: asyncio.Event, tally: _Tally) -> None:
    """As the script does: one at a time, and once more where a change came meanwhile."""
    while True:
        await changed.wait()
        changed.clear()
        began = time.monotonic()
        await _page(of, user, path, **{"X-Live": "1"})
        tally.took.append(time.monotonic() - began)
        if changed.is_set():
            await asyncio.sleep(AGAIN_S)


async def _page(of: Console, user: Session, path: str, **headers: str) -> bytes:
    """The whole answer. The server closes a connection that is idle for 5 s, so each page has one of its own."""
    transport, caller = await asyncio.get_running_loop().create_connection(Caller, "127.0.0.1", of.port)
    try:
        # Packed, a page would have to be unpacked here for its topics.
        plain = of.headers(user, **headers) | {"Accept-Encoding": "identity"}
        answer = await caller.ask(_request(of.port, path, plain))
    finally:
        transport.close()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{path}: {answer[:500]!r}")
    return answer


async def _stream(of: Console, user: Session, path: str, changed: asyncio.Event) -> None:
    """Hear of changes until the stream ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", of.port)
    try:
        writer.write(_request(of.port, path, of.headers(user) | {"Accept": "text/event-stream"}))
        while line := await reader.readline():
            if line.strip() == b"event: changed":
                changed.set()
    finally:
        writer.close()


def _request(port: int, path: str, headers: dict[str, str]) -> bytes:
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{head}\r\n".encode()
