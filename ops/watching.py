"""Campaigns as they go: a live screen on a terminal, elsewhere a line where something changed."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

from bulksend.ledger import campaigns
from bulksend.ledger.database import Database
from bulksend.messaging.states import HELD, WAITING
from bulksend.messaging.units import format_duration
from ops.cli.output import plain

_MOVING = frozenset(s.value for s in WAITING | HELD)
#: How often the ledger is asked, and how far apart lines are that tell no new status of a campaign.
_LOOK_S, _LINES_APART_S = 0.25, 5.0
_SHOWN = (
    *("accepted", "delivered", "read", "sending", "claimed", "queued", "retry"),
    *("failed", "unknown", "expired", "suppressed", "cancelled"),
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
            seen = campaigns.by_ids(tx, self._ids)
            statuses = {id: campaigns.status_counts(tx, id) for id in self._ids}
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
            "id": id,
            "name": campaign.name,
            "kind": campaign.kind.value,
            "status": campaign.status.value,
            "total": campaign.messages,
            "ended": ended,
            "rate": rate,
            "eta_s": left / rate if rate > 0.05 and left else None,
            "statuses": {s: statuses[s] for s in _SHOWN if statuses.get(s)},
        }


def follow(
    watch: Watch,
    stream: TextIO | None,
    *,
    patience_s: float = math.inf,
    between: Callable[[], None] = lambda: None,
) -> bool:
    """Show the campaigns on ``stream`` (None: nowhere) until every message has ended.

    Says whether that was so within ``patience_s`` seconds. ``between`` is called before each look; what it raises
    ends it.
    """
    deadline = time.monotonic() + patience_s
    with _showing(watch, stream) as show:
        while not (done := watch.done()) and time.monotonic() < deadline:
            between()
            show()
            time.sleep(_LOOK_S)
        show(last=True)
    return done


def watch_campaign(
    database: Database, id: str, *, live: bool, between: Callable[[], None] = lambda: None
) -> dict[str, int]:
    """Wait until every message of a campaign has ended; shows it live on a terminal. Its statuses at the end."""
    watch = Watch(database, [id])
    follow(watch, sys.stderr if live else None, between=between)
    return watch.statuses(id)


class _Show(Protocol):
    def __call__(self, *, last: bool = False) -> None: ...


@contextmanager
def _showing(watch: Watch, stream: TextIO | None) -> Iterator[_Show]:
    """A function to call after each look: a live screen redraws by itself, else a line tells what changed."""
    if stream is None:
        yield lambda *, last=False: None
    elif stream.isatty() and os.environ.get("TERM") != "dumb":
        from rich.live import Live

        from ops.cli.output import console

        out = console(stderr=stream is sys.stderr)
        with Live(get_renderable=lambda: _screen(watch), console=out, refresh_per_second=5):
            yield lambda *, last=False: None
    else:
        yield _Lines(watch, stream)


class _Lines:
    """A line for each campaign that changed: at once where its status did, else every few seconds."""

    def __init__(self, watch: Watch, stream: TextIO) -> None:
        self._watch, self._stream = watch, stream
        self._told: dict[str, tuple[str, str]] = {}
        self._told_at = -math.inf

    def __call__(self, *, last: bool = False) -> None:
        """Tell what changed; ``last``: without waiting until it is time."""
        now = time.monotonic()
        due = last or now - self._told_at >= _LINES_APART_S
        for row in self._watch.rows():
            status, counts = self._told.get(row["id"], ("", ""))
            changed = row["status"] != status, _counts(row) != counts
            if changed[0] or (due and changed[1]):
                self._told[row["id"]] = (row["status"], _counts(row))
                self._told_at = now
                self._stream.write(plain(_line(row)) + "\n")
                self._stream.flush()


def _counts(row: dict[str, Any]) -> str:
    return ", ".join(f"{status} {count:,}" for status, count in row["statuses"].items())


def _line(row: dict[str, Any]) -> str:
    return f"{row['name']}: {row['status']}, {_progress(row)} ({_counts(row)})"


def _progress(row: dict[str, Any]) -> str:
    rate = f" at {row['rate']:.0f}/s" if row["rate"] else ""
    eta = f", {format_duration(int(row['eta_s'] * 1000))} left" if row["eta_s"] is not None else ""
    return f"{row['ended']:,}/{row['total']:,}{rate}{eta}"


def _screen(watch: Watch) -> Any:
    """A few lines a campaign: they fit a narrow terminal, and long ones are wrapped by words."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    parts: list[Any] = []
    for row in watch.rows():
        parts += [
            Text.assemble((plain(row["name"]), "bold"), f" ({row['kind']}, {row['status']})"),
            ProgressBar(total=max(1, row["total"]), completed=row["ended"], width=40),
            Text(f"  {_progress(row)}"),
            Text(f"  {_counts(row)}"),
        ]
    return Group(*parts)
