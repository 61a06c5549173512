"""What a bench hands to docs/performance.md: figures, each beside a limit or peer of the same run, and its target."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.machine import described


@dataclass(frozen=True, slots=True)
class Figure:
    """One number as it is shown; without a target ``holds`` is None."""

    what: str
    value: str
    beside: str = ""
    target: str = ""
    holds: bool | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What one bench found; ``tables`` by title, each with its head first."""

    figures: list[Figure]
    tables: dict[str, list[list[str]]] = field(default_factory=dict)


def at_most(what: str, value: float, bound: float, form: str = "{:,.0f}", *, beside: str = "") -> Figure:
    """A figure that must not be above its target."""
    return Figure(what, form.format(value), beside, f"≤ {form.format(bound)}", value <= bound)


def at_least(what: str, value: float, bound: float, form: str = "{:,.0f}", *, beside: str = "") -> Figure:
    """A figure that must not be below its target."""
    return Figure(what, form.format(value), beside, f"≥ {form.format(bound)}", value >= bound)


def rows(figures: Iterable[Figure]) -> list[list[str]]:
    """Of a table, with its head."""
    marks = {None: "", True: "held", False: "**not held**"}
    return [
        ["", "measured", "beside", "target", ""],
        *([one.what, one.value, one.beside, one.target, marks[one.holds]] for one in figures),
    ]


def table(lines: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown; its head is the first line."""
    head, *rest = lines
    return [_row(head), "|" + "---|" * len(head), *map(_row, rest)]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def merge(path: Path, name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Put what was found, with its date and machine, beside what the file has of others; all of it."""
    data: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    data[name] = {"date": datetime.now(UTC).date().isoformat(), "machine": described(), **found}
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    return data
