"""What a command shows: JSON for programs, tables for people, progress on stderr.

On a terminal tables fit its width, and times are in the campaign's zone or that of the setting BULKSEND_TIMEZONE.
In a pipe or a file a row is one line, tabs separate its cells, and times carry their offset.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from bulksend.messaging.units import format_schedule, zone_of
from bulksend.operations.act_changes import change_text
from bulksend.operations.json_shape import INSTANTS

if TYPE_CHECKING:
    from rich.console import Console

    from bulksend.messaging.plan import RefusedRow
    from bulksend.operations.json_shape import Page
    from ops.cli.layout import Piece

#: Up to this many refused rows are shown one by one; more are grouped by reason, each with its first few.
_SHOWN_SINGLY, _NAMED = 10, 5
#: Two reasons that differ only in a number, such as the row that a key stands for, are one reason.
_NUMBERS = re.compile(r"[0-9]+")

#: Columns and names whose values are times.
_INSTANTS = INSTANTS | {"hour"}
_STATUS_STYLES = {
    **dict.fromkeys(("accepted", "delivered", "read"), "green"),
    **dict.fromkeys(("expired", "suppressed", "cancelled", "superseded"), "yellow"),
    **dict.fromkeys(("queued", "retry"), "cyan"),
    **dict.fromkeys(("claimed", "sending"), "blue"),
    **{"failed": "red", "unknown": "magenta"},
}


def print_json(value: object) -> None:
    """One JSON object on stdout, on one line; in ASCII where stdout's encoding lacks characters."""
    from bulksend.logs import writes_unicode

    sys.stdout.write(json.dumps(value, ensure_ascii=not writes_unicode(sys.stdout)) + "\n")
    sys.stdout.flush()


def print_json_lines(rows: Iterable[object]) -> None:
    """One JSON object a row."""
    for row in rows:
        print_json(row)


@dataclass(slots=True)
class Times:
    """The zone of the times that a command shows on a terminal. The command names it once."""

    zone: str = "UTC"
    told: bool = False

    def note(self) -> str | None:
        """The zone, the first time; then None."""
        if self.told:
            return None
        self.told = True
        return self.zone


def console(*, stderr: bool = False) -> Console:
    """Rich on stdout or stderr; without colours where NO_COLOR is set or the stream is no terminal."""
    from rich.console import Console

    return Console(stderr=stderr, no_color="NO_COLOR" in os.environ, highlight=False)


def listing(
    rows: Sequence[Mapping[str, object]],
    columns: Sequence[str],
    *,
    json: bool,
    optional: Sequence[str] = (),
    timezone: str | None = None,
) -> None:
    """Rows as JSON lines, or these columns of them as a table; times in ``timezone``, by default UTC."""
    if json:
        print_json_lines(rows)
        return
    cells = [
        [", ".join(cell) if isinstance(cell, list) else cell for cell in map(row.get, columns)]
        for row in rows
    ]
    table(columns, cells, optional=optional, times=Times(timezone or "UTC"))


def result(value: object, said: str, *, json: bool, secret: str | None = None) -> None:
    """The result of an act: as JSON, or a sentence on stderr and its ``secret``, which is shown once, on stdout."""
    if json:
        print_json(value)
        return
    if secret is not None:
        line(secret)
    say(said)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    optional: Sequence[str] = (),
    last: Sequence[str] = (),
    times: Times | None = None,
) -> None:
    """A table on stdout; values are never read as markup.

    On a narrow terminal ``optional`` columns are left out first, in this order, and ``last`` ones where that is not
    enough.
    """
    on_terminal = sys.stdout.isatty()
    zone = times or Times()
    cells = [
        [_cell(name, value, zone, on_terminal) for name, value in zip(columns, row, strict=True)]
        for row in rows
    ]
    if not on_terminal:
        _print_plain([*([[title]] if title else []), columns, *cells])
        return
    from ops.cli.layout import lay_out

    out = console()
    layout = lay_out(columns, cells, out.width, optional=optional, last=last, rule=_rule())
    if title:
        _print_wrapped(out, title, "title")
    _print_lines(out, layout.lines)
    notes = []
    if any(name in _INSTANTS for name in columns if name not in layout.dropped) and (note := zone.note()):
        notes.append(f"times: {note}")
    if layout.dropped:
        notes.append(f"not shown at this width: {', '.join(layout.dropped)} (--json has all)")
    for text in notes:
        _print_wrapped(out, text, "note")
    out.print()


def table_line(columns: Sequence[str], row: Sequence[object], times: Times) -> None:
    """A row as it comes, without a header: cells apart by two spaces, in a pipe by tabs."""
    on_terminal = sys.stdout.isatty()
    cells = [_cell(name, value, times, on_terminal) for name, value in zip(columns, row, strict=True)]
    if on_terminal:
        line("  ".join(cell for cell in cells if cell))
    else:
        _print_plain([cells])


def pairs(values: Mapping[str, object], *, title: str | None = None, times: Times | None = None) -> None:
    """Names and values, one pair a line; a value that is None or empty is left out."""
    on_terminal = sys.stdout.isatty()
    zone = times or Times()
    kept = [
        (name, _cell(name, value, zone, on_terminal))
        for name, value in values.items()
        if value not in (None, "", [], {})
    ]
    if not on_terminal:
        _print_plain([*([[title]] if title else []), *kept])
        return
    from ops.cli.layout import lines_of

    if any(name in _INSTANTS for name, _ in kept) and (note := zone.note()):
        kept.append(("times", note))
    out = console()
    if title:
        _print_wrapped(out, title, "title")
    _print_lines(out, lines_of(kept, out.width, indent=2))
    out.print()


def schedule_of(campaign: Mapping[str, object], zone: str | None) -> str | None:
    """When a campaign is due, in its zone, else in ``zone``, and in UTC; of one with a local time, that as well.

    None: it is not scheduled.
    """
    if campaign["due_at"] is None:
        return None
    due = shown_at(str(campaign["due_at"]), str(campaign["timezone"] or zone or "UTC"))
    local_time = campaign.get("local_time")
    return due if local_time is None else f"{local_time} at the recipients', from {due} on"


def shown_at(instant: str, zone: str | None) -> str:
    """An instant of JSON in a sentence: in ``zone``, and in UTC."""
    return format_schedule(round(datetime.fromisoformat(instant).timestamp() * 1000), zone or "UTC")


def plain(text: str) -> str:
    """Text without control characters, which could overwrite the terminal."""
    return "".join(c if c == "\n" or c.isprintable() else " " for c in text)


def say(text: str, style: str = "") -> None:
    """A line on stderr, wrapped by words on a terminal."""
    _print_text(sys.stderr, text, style)


def say_next(page: Page, option: str = "--after") -> None:
    """By which option the next page is shown, where there may be one."""
    if page.next is not None:
        say(f"There may be more: {option} {page.next}")


def print_page(page: Page, option: str = "--after") -> None:
    """A page as JSON lines; a program, too, is told on stderr that it is not all."""
    print_json_lines(page.items)
    say_next(page, option)


def line(text: str, style: str = "") -> None:
    """A line on stdout, wrapped by words on a terminal."""
    _print_text(sys.stdout, text, style)


def _print_text(stream: TextIO, text: str, style: str) -> None:
    if not stream.isatty():
        stream.write(plain(text) + "\n")
        stream.flush()
        return
    from rich.text import Text

    out = console(stderr=stream is sys.stderr)
    indent = len(text) - len(text.lstrip(" "))
    for each in _wrapped(plain(text), out.width - indent):
        out.print(Text(" " * indent + each, style=style), soft_wrap=True)


def _cell(name: str, value: object, times: Times, on_terminal: bool) -> str:
    """A value as a person reads it."""
    if value is None:
        return ""
    if name in _INSTANTS and isinstance(value, str):
        return _shown_at(value, times.zone, on_terminal)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return plain(str(value))


def _shown_at(text: str, zone: str, on_terminal: bool) -> str:
    """An instant in the zone; without its offset on a terminal, which shows the zone once."""
    try:
        moment = datetime.fromisoformat(text).astimezone(zone_of(zone))
    except ValueError:
        return plain(text)
    return moment.strftime("%Y-%m-%d %H:%M:%S") if on_terminal else moment.isoformat(timespec="milliseconds")


def _number(value: float) -> str:
    """At least three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _print_plain(rows: Iterable[Sequence[str]]) -> None:
    sys.stdout.writelines("\t".join(cell.replace("\n", " ") for cell in row) + "\n" for row in rows)
    sys.stdout.flush()


def _print_lines(out: Console, lines: Iterable[Sequence[Piece]]) -> None:
    from rich.text import Text

    for line in lines:
        made = Text()
        for text, name in line:
            made.append(text, style=_style(text, name))
        out.print(made, soft_wrap=True)


def _print_wrapped(out: Console, text: str, style: str) -> None:
    _print_lines(out, [[(line, style)] for line in _wrapped(text, out.width)])


def _style(text: str, name: str | None) -> str:
    if name == "status":
        return _STATUS_STYLES.get(text, "")
    return {"title": "bold", "note": "dim"}.get(name or "", "")


def _wrapped(text: str, width: int) -> list[str]:
    from ops.cli.layout import wrap

    return wrap(text, width)


def _rule() -> str:
    """The character that rules are drawn with."""
    try:
        "─".encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return "-"
    return "─"


def say_notes(notes: Iterable[str]) -> None:
    """Notes about a file, on stderr."""
    for note in notes:
        say(note, "yellow")


def refused_rows(rows: Sequence[RefusedRow], count: int) -> None:
    """Refused rows, of ``count`` in all: one by one where they are few, else grouped by reason."""
    if not rows:
        return
    of = "" if len(rows) == count else f", by the first {len(rows):,}"
    if len(rows) <= _SHOWN_SINGLY:
        shown = [(r.row, r.field, r.value, r.why) for r in rows]
        table(["row", "field", "value", "why"], shown, title=f"Refused rows ({count:,}{of})")
        return
    groups: dict[tuple[str, str], list[RefusedRow]] = {}
    for row in rows:
        groups.setdefault((row.field, _NUMBERS.sub("0", row.why)), []).append(row)
    by_size = sorted(groups.values(), key=len, reverse=True)
    table(
        ["rows", "field", "why", "which"],
        [(f"{len(group):,}", group[0].field, group[0].why, _which(group)) for group in by_size],
        title=f"Refused rows ({count:,}{of})",
    )


def acts_table(acts: Sequence[Mapping[str, Any]], times: Times) -> None:
    """Acts of operators; what changed, and the address and request they came by, where any has them."""
    if not acts:
        return
    rows = [{**act, "change": change_text(act.get("before"), act.get("after"))} for act in acts]
    columns = ["at", "actor", "act", "why"]
    columns += [name for name in ("change", "ip", "request_id") if any(row.get(name) for row in rows)]
    table(
        columns,
        [[row.get(name) for name in columns] for row in rows],
        title="Acts",
        optional=("request_id", "ip"),
        times=times,
    )


def paces_table(slowed: Sequence[Mapping[str, Any]], times: Times) -> None:
    """How the vendor's throttling changed the pace of a sender, or of the account, the newest first."""
    if not slowed:
        return
    table(
        ["at", "of", "from", "to", "why"],
        [
            [
                act["at"],
                act["scope"],
                f"{act['before']['pace']:.0%}",
                f"{act['after']['pace']:.0%}",
                act["why"],
            ]
            for act in slowed
        ],
        title="Throttled by the vendor",
        times=times,
    )


def _which(group: Sequence[RefusedRow]) -> str:
    """Some of the rows, by their numbers."""
    numbers = ", ".join(str(row.row) for row in group[:_NAMED])
    left = len(group) - _NAMED
    return numbers if left <= 0 else f"{numbers} and {left:,} more"
