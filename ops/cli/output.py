"""What a command shows: JSON for programs, tables for people, progress on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bulksend.messaging.units import format_instant

if TYPE_CHECKING:
    from rich.console import Console

_INSTANTS = frozenset(
    {
        "due_at",
        "expires_at",
        "queued_at",
        "sent_at",
        "accepted_at",
        "delivered_at",
        "read_at",
        "ended_at",
        "started_at",
        "finished_at",
        "received_at",
        "at",
        "created_at",
        "intake_done_at",
        "paused_at",
        "added_at",
        "until",
        "earliest",
    }
)
_STATUS_STYLES = {
    "accepted": "green",
    "delivered": "green",
    "read": "green",
    "failed": "red",
    "unknown": "magenta",
    "expired": "yellow",
    "suppressed": "yellow",
    "cancelled": "yellow",
    "queued": "cyan",
    "retry": "cyan",
    "claimed": "blue",
    "sending": "blue",
}


def print_json(value: object) -> None:
    """One JSON object on stdout, on one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def readable(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the ledger as the interface gives it: ISO times, ``to`` for the recipient."""
    shown: dict[str, Any] = {}
    for key, value in row.items():
        name = {"recipient": "to", "vendor_message": "vendor_message"}.get(key, key)
        shown[name] = format_instant(value) if key in _INSTANTS and isinstance(value, int) else value
    return shown


def console(*, stderr: bool = False) -> Console:
    """Rich on stdout or stderr; no colours where NO_COLOR says so or nobody looks."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    # Where nobody looks there is no screen to fit: a line of grep's or less's may be long.
    width = None if stream.isatty() else 240
    return Console(
        stderr=stderr, no_color="NO_COLOR" in os.environ, highlight=False, soft_wrap=True, width=width
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """A table on stdout. What comes from outside is shown as it is, never read as markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = console()
    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in columns:
        made.add_column(column, no_wrap=column in ("id", "to", "status"), overflow="fold")
    for row in rows:
        cells = []
        for column, cell in zip(columns, row, strict=True):
            text = "" if cell is None else str(cell)
            cells.append(Text(plain(text), style=_STATUS_STYLES.get(text, "") if column == "status" else ""))
        made.add_row(*cells)
    out.print(made)


def plain(text: str) -> str:
    """Text without control characters, which could rewrite a terminal."""
    return "".join(c if c == "\n" or c.isprintable() else " " for c in text)


def pairs(values: Mapping[str, object], *, title: str | None = None) -> None:
    """Names and values, one a line; what is None or empty is left out."""
    from rich.text import Text

    out = console()
    if title:
        out.print(Text(title, style="bold"))
    kept = {name: value for name, value in values.items() if value not in (None, "", [], {})}
    width = max((len(name) for name in kept), default=0)
    for name, value in kept.items():
        style = _STATUS_STYLES.get(str(value), "") if name == "status" else ""
        out.print(
            Text(f"  {name.replace('_', ' '):<{width}}  "), Text(plain(str(value)), style=style), sep=""
        )


def say(text: str, style: str = "") -> None:
    """A line for people, on stderr."""
    from rich.text import Text

    console(stderr=True).print(Text(text, style=style))
