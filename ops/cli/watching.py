"""Progress of campaigns: a live screen on a terminal, elsewhere a line for each change."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from bulksend.messaging.units import format_duration
from bulksend.operations.progress import CampaignProgress, Watch
from ops.cli.output import plain

if TYPE_CHECKING:
    from bulksend.ledger.database import Database

#: How often the ledger is read, and how far apart lines are that show no new status.
_LOOK_S, _LINES_APART_S = 0.25, 5.0


def follow(
    watch: Watch,
    stream: TextIO | None,
    *,
    patience_s: float = math.inf,
    between: Callable[[], None] = lambda: None,
) -> bool:
    """Show the campaigns on ``stream`` (None: nowhere) until every message has ended.

    Returns whether they ended within ``patience_s`` seconds. ``between`` is called before each look, and may raise.
    """
    deadline = time.monotonic() + patience_s
    with _showing(watch, stream) as show:
        while not (done := watch.look()) and time.monotonic() < deadline:
            between()
            show()
            time.sleep(_LOOK_S)
        show(last=True)
    return done


def watch_campaign(
    database: Database, id: str, *, live: bool, between: Callable[[], None] = lambda: None
) -> dict[str, int]:
    """Show a campaign on stderr, if ``live``, until every message has ended. Returns its statuses."""
    watch = Watch(database, [id])
    follow(watch, sys.stderr if live else None, between=between)
    return watch.statuses(id)


class _Show(Protocol):
    def __call__(self, *, last: bool = False) -> None: ...


@contextmanager
def _showing(watch: Watch, stream: TextIO | None) -> Iterator[_Show]:
    """A function to call after each look. A live screen redraws by itself."""
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
    """A line for each campaign that changed: at once for a new status, else every few seconds."""

    def __init__(self, watch: Watch, stream: TextIO) -> None:
        self._watch, self._stream = watch, stream
        self._shown: dict[str, tuple[str, str]] = {}
        self._shown_at = -math.inf

    def __call__(self, *, last: bool = False) -> None:
        """Write what changed; ``last``: even if the last line is recent."""
        now = time.monotonic()
        due = last or now - self._shown_at >= _LINES_APART_S
        for seen in self._watch.progress():
            status, counts = self._shown.get(seen.id, ("", ""))
            changed = seen.status != status, _counts(seen) != counts
            if changed[0] or (due and changed[1]):
                self._shown[seen.id] = (seen.status, _counts(seen))
                self._shown_at = now
                self._stream.write(plain(_line(seen)) + "\n")
                self._stream.flush()


def _counts(seen: CampaignProgress) -> str:
    return ", ".join(f"{status} {count:,}" for status, count in seen.statuses.items())


def _line(seen: CampaignProgress) -> str:
    return f"{seen.name}: {seen.status}, {_progress(seen)} ({_counts(seen)})"


def _progress(seen: CampaignProgress) -> str:
    rate = f" at {seen.rate:.0f}/s" if seen.rate else ""
    eta = f", {format_duration(int(seen.eta_s * 1000))} left" if seen.eta_s is not None else ""
    return f"{seen.ended:,}/{seen.total:,}{rate}{eta}"


def _screen(watch: Watch) -> Any:
    """A few lines for each campaign, so that they fit a narrow terminal."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    parts: list[Any] = []
    for seen in watch.progress():
        parts += [
            Text.assemble((plain(seen.name), "bold"), f" ({seen.kind}, {seen.status})"),
            ProgressBar(total=max(1, seen.total), completed=seen.ended, width=40),
            Text(f"  {_progress(seen)}"),
            Text(f"  {_counts(seen)}"),
        ]
    return Group(*parts)
