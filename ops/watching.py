"""Campaigns as they go: a live screen on a terminal, a line now and then elsewhere. On stderr, never stdout."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bulksend.ledger import campaigns
from bulksend.ledger.database import Database
from bulksend.messaging.states import HELD, WAITING
from bulksend.messaging.units import format_duration

_MOVING = frozenset(s.value for s in WAITING | HELD)
_SHOWN = (
    "accepted",
    "delivered",
    "read",
    "sending",
    "claimed",
    "queued",
    "retry",
    "failed",
    "unknown",
    "expired",
)


class Watch:
    """Looks at campaigns in the ledger, and remembers enough to say how fast they go."""

    def __init__(self, database: Database, ids: Sequence[str], *, window_s: float = 5.0) -> None:
        self._database = database
        self._ids = list(ids)
        self._window_s = window_s
        self._seen: dict[str, campaigns.Campaign] = {}
        self._statuses: dict[str, dict[str, int]] = {}
        self._history: dict[str, deque[tuple[float, int]]] = {id: deque() for id in ids}
        self._lock = threading.Lock()
        self.look()

    def look(self) -> None:
        """Look again."""
        now = time.monotonic()
        with self._database.read() as tx:
            seen = campaigns.many(tx, self._ids)
            statuses = {id: campaigns.statuses(tx, id) for id in self._ids}
        with self._lock:
            self._seen, self._statuses = seen, statuses
            for id in self._ids:
                history = self._history[id]
                history.append((now, self._ended(id)))
                while len(history) > 2 and history[0][0] < now - self._window_s:
                    history.popleft()

    def _ended(self, id: str) -> int:
        return sum(n for status, n in self._statuses[id].items() if status not in _MOVING)

    def done(self) -> bool:
        """Whether nothing of them can move by itself any more, or somebody has to act first."""
        self.look()
        return all(self._is_done(id) for id in self._ids)

    def _is_done(self, id: str) -> bool:
        campaign = self._seen[id]
        if campaign.status.value in ("finished", "cancelled"):
            return not any(self._statuses[id].get(s) for s in ("claimed", "sending"))
        return campaign.intake_done_at is not None and not any(self._statuses[id].get(s) for s in _MOVING)

    def statuses(self, id: str) -> dict[str, int]:
        """The statuses of one campaign as last seen."""
        return dict(self._statuses[id])

    def rows(self) -> list[dict[str, Any]]:
        """What a screen shows of each campaign."""
        with self._lock:
            return [self._row(id) for id in self._ids]

    def _row(self, id: str) -> dict[str, Any]:
        campaign, statuses, history = self._seen[id], self._statuses[id], self._history[id]
        ended = self._ended(id)
        rate = 0.0
        if len(history) > 1 and history[-1][0] > history[0][0]:
            rate = (history[-1][1] - history[0][1]) / (history[-1][0] - history[0][0])
        left = campaign.messages - ended
        return {
            "name": campaign.name,
            "kind": campaign.kind.value,
            "status": campaign.status.value,
            "total": campaign.messages,
            "ended": ended,
            "rate": rate,
            "eta_s": left / rate if rate > 0.05 and left else None,
            "statuses": {s: statuses[s] for s in _SHOWN if statuses.get(s)},
        }


@contextmanager
def watching(watch: Watch, *, live: bool) -> Iterator[None]:
    """Show the watch while the block runs."""
    if not live:
        yield
        return
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        yield from _live(watch)
    else:
        yield from _lines(watch)


def _live(watch: Watch) -> Iterator[None]:
    from rich.live import Live

    from ops.cli.output import console

    with Live(get_renderable=lambda: _screen(watch), console=console(stderr=True), refresh_per_second=5):
        yield


def _lines(watch: Watch) -> Iterator[None]:
    stop = threading.Event()

    def tell() -> None:
        while not stop.wait(5.0):
            for row in watch.rows():
                sys.stderr.write(_line(row) + "\n")
            sys.stderr.flush()

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _line(row: dict[str, Any]) -> str:
    eta = f", {format_duration(int(row['eta_s'] * 1000))} left" if row["eta_s"] is not None else ""
    statuses = ", ".join(f"{status} {count:,}" for status, count in row["statuses"].items())
    return f"{row['name']}: {row['ended']:,}/{row['total']:,} at {row['rate']:.0f}/s{eta} ({statuses})"


def _screen(watch: Watch) -> Any:
    from rich import box
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("campaign", "kind", "", "ended", "rate", "left", "statuses"):
        table.add_column(column, justify="right" if column in ("ended", "rate", "left") else "left")
    for row in watch.rows():
        eta = format_duration(int(row["eta_s"] * 1000)) if row["eta_s"] is not None else ""
        table.add_row(
            Text(row["name"]),
            row["kind"],
            ProgressBar(total=max(1, row["total"]), completed=row["ended"], width=24),
            f"{row['ended']:,}/{row['total']:,}",
            f"{row['rate']:.0f}/s",
            eta,
            Text("  ".join(f"{status} {count:,}" for status, count in row["statuses"].items())),
        )
    return table
