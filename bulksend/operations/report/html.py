"""Pieces of an HTML page. Every text is escaped here; a ``Markup`` is what is already HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from bulksend.operations.report.charts import swatch


class Markup(str):
    """HTML, as opposed to text."""

    __slots__ = ()


def written(value: object) -> str:
    """A value as HTML: numbers in thousands, text escaped, nothing for None."""
    if isinstance(value, Markup):
        return value
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return escape(str(value))


def percent(part: int, whole: int) -> str:
    """``12.3 %``; nothing of nothing. What is not all is not written as 100 %, what is there not as 0 %."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "< 0.1 %"
    if 99.9 < share < 100:
        return "> 99.9 %"
    return f"{share:.1f} %"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, words: Iterable[int] = ()) -> str:
    """A table; columns whose values are numbers or shares are set to the right, ``words`` are wide."""
    kept = [list(row) for row in rows]
    wide = set(words)
    numeric = {
        n for n in range(len(head)) if kept and n not in wide and all(_is_number(row[n]) for row in kept)
    }

    def kind(n: int) -> str:
        return ' class="number"' if n in numeric else ' class="words"' if n in wide else ""

    names = (
        f'<th scope="col"{kind(n) if n in numeric else ""}>{written(name)}</th>'
        for n, name in enumerate(head)
    )
    lines = (
        "<tr>" + "".join(f"<td{kind(n)}>{written(cell)}</td>" for n, cell in enumerate(row)) + "</tr>"
        for row in kept
    )
    top = "".join(names)
    return f'<div class="table"><table><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _is_number(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, str) and (value.endswith(" %") or value == "–"))


def figure(caption: str, chart: str, legend: Mapping[str, str] | None = None) -> str:
    """A chart with its caption, and what its colours mean: class of the colour -> name."""
    names = "".join(f"<li>{swatch(colour)}{escape(name)}</li>" for colour, name in (legend or {}).items())
    below = f'<ul class="legend">{names}</ul>' if names else ""
    return f"<figure><figcaption>{escape(caption)}</figcaption>{chart}{below}</figure>"


def section(title: str, *parts: str) -> str:
    """A part of the page under a heading."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def paragraph(text: str, *, soft: bool = False) -> str:
    """A paragraph."""
    of = ' class="soft"' if soft else ""
    return f"<p{of}>{escape(text)}</p>"
