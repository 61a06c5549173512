"""Rows as lines of text that fit a width: wrapped by words, optional columns left out first. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len, chop_cells

#: Columns whose words are never broken: they are copied and pasted.
IDS = frozenset(
    {"id", "campaign", "campaign_id", "message_id", "request_id", "to", "phone", "subject", "status"}
)
#: A longer word, such as a URL, is broken where it does not fit.
LONGEST_WORD = 40
#: Narrower text is hard to read.
NARROWEST_TEXT = 24
_GAP = 2
#: The indent of text below its row.
_INDENT = 4

_WORD = re.compile(r"\n|`[^`\n]*`[^\s`]*|\S+")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_NUMBER = re.compile(r"[-+]?[\d,.]+(?:%|/s|ms|s)?")

#: A piece of a line: its text, and the column that it belongs to (None for what stands between columns).
Piece = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Layout:
    """Lines of pieces, and the columns that did not fit."""

    lines: list[list[Piece]]
    dropped: list[str] = field(default_factory=list)

    def text(self) -> list[str]:
        """The lines as plain text."""
        return ["".join(text for text, _ in line) for line in self.lines]


def wrap(text: str, width: int) -> list[str]:
    """The text in lines of at most ``width`` cells; only a word that is wider is broken.

    A command between backquotes is for pasting: it stays on one line where it fits.
    """
    width = max(2, width)
    lines, line = [], ""
    for word in _WORD.findall(text):
        if word == "\n":
            lines.append(line)
            line = ""
            continue
        for part in _parts(word, width):
            if not line:
                line = part
            elif cell_len(line) + 1 + cell_len(part) <= width:
                line += " " + part
            else:
                lines.append(line)
                line = part
    return [*lines, line]


def _parts(word: str, width: int) -> list[str]:
    if cell_len(word) <= width:
        return [word]
    if " " in word:
        return [part for each in word.split() for part in _parts(each, width)]
    return chop_cells(word, width)


@dataclass(slots=True)
class _Column:
    name: str
    cells: list[str]
    natural: int = 0
    """Its width without wrapping."""
    narrowest: int = 0
    right: bool = False

    def __post_init__(self) -> None:
        self.natural = max(cell_len(line) for text in (self.name, *self.cells) for line in text.split("\n"))
        words = [cell_len(word) for text in (_heading(self.name), *self.cells) for word in text.split()]
        longest = max(words, default=1)
        if self.name not in IDS:
            longest = min(longest, LONGEST_WORD)
        self.narrowest = max(1, longest, min(self.natural, NARROWEST_TEXT) if self.is_text else 1)
        filled = [cell for cell in self.cells if cell]
        self.right = bool(filled) and self.name not in IDS and all(map(_NUMBER.fullmatch, filled))

    def fold_instants(self) -> None:
        """Put the hour below the day."""
        if all(_INSTANT.fullmatch(cell) for cell in self.cells if cell):
            self.narrowest = max(
                cell_len(word) for cell in (_heading(self.name), *self.cells) for word in cell.split()
            )

    @property
    def is_text(self) -> bool:
        """Whether it holds sentences."""
        return self.name not in IDS and any(" " in cell for cell in self.cells)


def lay_out(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    optional: Sequence[str] = (),
    last: Sequence[str] = (),
    rule: str = "─",
) -> Layout:
    """A table of at most ``width`` cells a line.

    Where it does not fit, in this order: empty columns are left out; ``optional`` ones are, one by one; the longest
    text goes below its row; ``last`` columns are left out, one by one; the hour of an instant goes below its day; each
    row becomes a block of one line a column.
    """
    made = [_Column(name, [row[n] for row in rows]) for n, name in enumerate(columns)]
    if not _fits(made, width):
        made = [column for column in made if any(column.cells)] or made
    dropped: list[str] = []
    for name in [*optional, *last]:
        below = _longest_text(made) if name in last else None
        if _fits([column for column in made if column is not below], width):
            break
        if name not in {column.name for column in made}:
            continue
        made = [column for column in made if column.name != name]
        dropped.append(name)
    below = None if _fits(made, width) else _longest_text(made)
    beside = [column for column in made if column is not below]
    if not _fits(beside, width):
        for column in beside:
            column.fold_instants()
    if not _fits(beside, width):
        return Layout(list(_blocks(made, len(rows), width)), dropped)
    return Layout(list(_grid(beside, below, len(rows), width, rule)), dropped)


def _fits(columns: Sequence[_Column], width: int) -> bool:
    return sum(column.narrowest + _GAP for column in columns) - _GAP <= width


def _longest_text(columns: Sequence[_Column]) -> _Column | None:
    texts = [column for column in columns if column.name not in IDS]
    return max(texts, key=lambda column: column.natural, default=None)


def _widths(columns: Sequence[_Column], width: int) -> list[int]:
    """The natural width of each column; wide columns share the width that the narrow ones leave."""
    room = width - _GAP * (len(columns) - 1)
    level = max((column.natural for column in columns), default=0)
    widths = [max(c.narrowest, min(c.natural, level)) for c in columns]
    while sum(widths) > room and level > 0:
        level -= 1
        widths = [max(c.narrowest, min(c.natural, level)) for c in columns]
    return widths


def _grid(
    columns: Sequence[_Column], below: _Column | None, count: int, width: int, rule: str
) -> Iterator[list[Piece]]:
    widths = _widths(columns, width)
    yield from _row(columns, widths, [_heading(column.name) for column in columns])
    yield [(rule * (sum(widths) + _GAP * (len(widths) - 1)), None)]
    for number in range(count):
        yield from _row(columns, widths, [column.cells[number] for column in columns])
        if below is not None and below.cells[number]:
            for line in wrap(below.cells[number], width - _INDENT):
                yield [(" " * _INDENT, None), (line, below.name)]


def _row(columns: Sequence[_Column], widths: Sequence[int], cells: Sequence[str]) -> Iterator[list[Piece]]:
    wrapped = [wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
    for number in range(max(map(len, wrapped), default=0)):
        pieces: list[Piece] = []
        for column, width, lines in zip(columns, widths, wrapped, strict=True):
            line = lines[number] if number < len(lines) else ""
            space = " " * (width - cell_len(line))
            pieces += [(space, None), (line, column.name)] if column.right else [(line, column.name)]
            pieces.append(("" if column.right else space, None))
            pieces.append((" " * _GAP, None))
        yield _without_trailing_space(pieces)


def _without_trailing_space(pieces: list[Piece]) -> list[Piece]:
    while pieces and not pieces[-1][0].strip():
        pieces.pop()
    return pieces


def _blocks(columns: Sequence[_Column], count: int, width: int) -> Iterator[list[Piece]]:
    for number in range(count):
        if number:
            yield []
        yield from lines_of([(column.name, column.cells[number]) for column in columns], width)


def lines_of(values: Sequence[tuple[str, str]], width: int, *, indent: int = 0) -> Iterator[list[Piece]]:
    """Names and values, one pair a line; a value is wrapped beside its name, or below it where a word is too wide."""
    kept = [(name, text) for name, text in values if text]
    label = min(max((cell_len(_heading(name)) for name, _ in kept), default=0), width // 2)
    for name, text in kept:
        beside = width - indent - label - _GAP
        at = indent + label + _GAP
        heading = _heading(name)
        start = " " * indent + heading + " " * (label - cell_len(heading) + _GAP)
        longest = max(cell_len(word) for word in text.split()) if text.split() else 0
        if cell_len(heading) > label or (longest > beside and longest <= width):
            for line in wrap(heading, width - indent):
                yield [(" " * indent + line, None)]
            at = min(indent + _GAP, max(0, width - longest))
            start = " " * at
        for line in wrap(text, width - at):
            yield [(start, None), (line, name)]
            start = " " * at


def _heading(name: str) -> str:
    return name.replace("_", " ")
