"""Charts as inline SVG without a script. Colours are classes of the style; each bar has its value as a title."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

#: NUMBERS has room for ``10,000,000 · > 99.9 %``.
WIDTH, LABELS, NUMBERS = 720, 205, 180
_ROW, _BAR = 30, 18


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar: the class of its colour, its size, and its text for those who point at it."""

    colour: str
    value: int
    title: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of a chart of bars: its label on the left, its parts, and its number on the right."""

    label: str
    parts: Sequence[Part]
    number: str


def bars(rows: Sequence[Bar], title: str) -> str:
    """Horizontal bars, their parts one after another; the largest row has the whole width."""
    most = max((sum(part.value for part in row.parts) for row in rows), default=0) or 1
    room = WIDTH - LABELS - NUMBERS
    lines = []
    for n, row in enumerate(rows):
        top = n * _ROW
        middle = top + _ROW / 2 + 4.5
        lines.append(_text(LABELS - 10, middle, shortened(row.label, 24), "end"))
        lines.append(
            f'<rect class="track" x="{LABELS}" y="{top + 6}" width="{room}" height="{_BAR}" rx="2"/>'
        )
        left = float(LABELS)
        for part in row.parts:
            width = room * part.value / most
            if part.value:
                # A part that is there is seen, however small.
                lines.append(_rect(left, top + 6, max(width, 1.0), _BAR, part))
            left += width
        lines.append(_text(WIDTH - NUMBERS + 10, middle, row.number, "start"))
    return _svg(len(rows) * _ROW, title, lines)


@dataclass(frozen=True, slots=True)
class Series:
    """A row of columns: the class of its colour, its name, and a value for each place on the axis."""

    colour: str
    name: str
    values: Sequence[int]


def columns(
    series: Sequence[Series], axis: Sequence[str], labels: Sequence[tuple[int, str]], title: str
) -> str:
    """Columns over a common axis, each series on a line of its own, with a scale of its own.

    ``axis`` names each place in the titles, ``labels`` those places that are written below.
    """
    left, height, gap = 150, 74, 26
    step = (WIDTH - left - 10) / max(1, len(axis))
    thick = max(0.8, min(28.0, step * 0.78))
    lines = []
    for n, one in enumerate(series):
        top = 14 + n * (height + gap)
        base = top + height
        highest = scale_end(max(one.values, default=0))
        lines.append(_text(0, top + height / 2 + 4, shortened(one.name, 14), "start"))
        lines.append(_text(left - 8, top + 5, f"{highest:,}", "end", "soft"))
        lines.append(f'<line class="axis" x1="{left}" y1="{top}" x2="{WIDTH - 10}" y2="{top}"/>')
        lines.append(f'<line class="axis" x1="{left}" y1="{base}" x2="{WIDTH - 10}" y2="{base}"/>')
        for place, value in enumerate(one.values):
            if value:
                tall = max(1.0, height * value / highest)
                at = left + place * step + (step - thick) / 2
                part = Part(one.colour, value, f"{axis[place]}: {one.name} {value:,}")
                lines.append(_rect(at, base - tall, thick, tall, part))
    bottom = 14 + len(series) * (height + gap) - gap
    for place, label in labels:
        at = left + (place + 0.5) * step
        lines.append(f'<line class="axis" x1="{at:.1f}" y1="{bottom}" x2="{at:.1f}" y2="{bottom + 5}"/>')
        anchor = "end" if at > WIDTH - 50 else "middle"
        lines.append(_text(min(at, WIDTH - 2.0), bottom + 19, label, anchor, "soft"))
    return _svg(bottom + 26, title, lines)


def scale_end(most: int) -> int:
    """The end of a scale that holds ``most``: a few of a power of ten, a whole number."""
    if most <= 1:
        return 1
    power = int(10 ** floor(log10(most)))
    for factor in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10):
        end = factor * power
        if end >= most and end == int(end):
            return int(end)
    return ceil(most / power) * power


def swatch(colour: str) -> str:
    """A square of a colour, for a legend."""
    return f'<svg viewBox="0 0 11 11" aria-hidden="true"><rect class="{colour}" width="11" height="11" rx="2"/></svg>'


def shortened(text: str, most: int) -> str:
    """The text, or its begin with an ellipsis."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _svg(height: float, title: str, lines: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}">{"".join(lines)}</svg>'


def _text(x: float, y: float, text: str, anchor: str, colour: str = "") -> str:
    of = f' class="{colour}"' if colour else ""
    return f'<text{of} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


def _rect(x: float, y: float, width: float, height: float, part: Part) -> str:
    return (
        f'<rect class="{part.colour}" x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" rx="1.5">'
        f"<title>{escape(part.title)}</title></rect>"
    )
