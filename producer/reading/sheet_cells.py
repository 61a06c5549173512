"""The rows of a sheet, read from its XML in a stream. At most one row and a piece of XML are in memory.

A row or cell without its place (``r`` is optional) follows the one before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

from bulksend.errors import InvalidInput
from producer.reading.bounded_xml import DEPTH_MAX, BadXml, XmlFeed, is_on
from producer.reading.header_row import letters
from producer.reading.number_formats import GENERAL, as_instant, as_length
from producer.reading.workbook import Sheet, Workbook, check_length, unescaped

#: Excel's own.
ROWS_MAX, COLUMNS_MAX = 1_048_576, 16_384
#: Digits of a number that a spreadsheet keeps and shows.
DIGITS = 15
_MERGED_MAX = 100_000
#: Elements without a value that a sheet may have: this many, and some more for each cell with a value.
IDLE_MAX, IDLE_PER_CELL = 5_000_000, 64
#: A cell, its value, its text, its formula, a row.
ELEMENTS = ("c", "v", "t", "f", "row")
#: The first element within a cell that has a value or formula.
_HOLDING = (b"<v", b"<f", b"<is")
_EMPTY_CELL = rb"<(?:x:)?c(?: [^<>]*)?(?:/>|></(?:x:)?c>)\s*"
#: A cell or row without values, in front of one that gives its place.
_EMPTY = re.compile(
    rb"%(c)s(?=<(?:x:)?c r=)"
    rb"|<(?:x:)?row(?: [^<>]*)?(?:/>|>\s*(?:%(c)s)*</(?:x:)?row>)\s*(?=<(?:x:)?row r=)" % {b"c": _EMPTY_CELL}
)


class CellProblem(NamedTuple):
    """Replaces the value of a cell that cannot be read: what the cell holds, and the remedy."""

    what: str


_NO_DATE = CellProblem(
    "holds a number that is no date or time (the sheet shows ##### or 29 February 1900); correct it, or format it "
    "as a number"
)

Cell = tuple[int, "str | float | bool | CellProblem", int, float | None]
"""A cell that is not empty: column from 0; value; style, an index of the workbook's formats; and its number, where it
has one, since the value may be a date. A plain tuple, because there are millions.
"""


class SheetRow(NamedTuple):
    """A row; ``cells`` in the order of their columns."""

    number: int
    is_hidden: bool
    cells: list[Cell]


class SheetCells:
    """The rows of one sheet, read once. ``merged`` and ``hidden_columns`` are complete after the last row.

    Iterate within ``Workbook.reporting_damage``: a damaged sheet raises BadXml and errors of several libraries.
    """

    def __init__(self, book: Workbook, sheet: Sheet, *, idle_max: int = IDLE_MAX) -> None:
        self.scanned = 0
        """Bytes of XML that the parser has processed; known after the last row."""
        self.merged: list[str] = []
        self.hidden_columns: list[tuple[int, int]] = []
        """First and last, from 1."""
        self._book = book
        self._formats = book.formats
        self._part = sheet.part
        self._feed = XmlFeed(self._start, self._end)
        self._ready: list[SheetRow] = []
        self._prefix: str | None = None
        self._c = self._v = self._t = self._f = self._row_name = ""
        self._depth = 0
        self._columns: dict[str, int] = {}
        self._row = 0
        self._row_text = ""
        self._is_hidden = False
        self._cells: list[Cell] | None = None
        self._is_ordered = True
        self._column = -1
        self._cell_depth = 0
        self._type = "n"
        self._style = 0
        self._text = ""
        self._takes = self._has_formula = self._has_value = self._in_pronunciation = False
        self._idle_max = self._idle_left = idle_max
        self._heard: list[str] = []
        self._feed.set_text_handler(self._heard.append)

    def __iter__(self) -> Iterator[SheetRow]:
        for piece in _without_empties(self._book.pieces(self._part)):
            self._feed.feed(piece)
            check_length(self._heard, self._text)
            if not self._takes:
                self._heard.clear()
            yield from self._ready
            self._ready.clear()
        self._feed.feed(b"")
        yield from self._ready
        self.scanned = self._feed.scanned
        # Breaks the reference cycle of this object and the parser.
        del self._feed

    # -- elements -------------------------------------------------------------------------------------------

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise BadXml("its XML is nested too deeply")
        if name == self._c:
            self._start_cell(attributes)
        elif name == self._v:
            self._heard.clear()
            self._takes = True
        elif name == self._t:
            self._heard.clear()
            self._takes = not self._in_pronunciation
        elif name == self._row_name:
            self._start_row(attributes)
        elif name == self._f:
            self._has_formula = True
        elif self._prefix is None:
            self._begin(name)
        else:
            self._start_other(name[len(self._prefix) :], attributes)

    def _begin(self, root: str) -> None:
        """Take the prefix of the sheet's elements from its root."""
        self._prefix = prefix = root[: root.rfind(":") + 1]
        self._c, self._v, self._t, self._f, self._row_name = (prefix + name for name in ELEMENTS)

    def _start_other(self, name: str, attributes: dict[str, str]) -> None:
        self._count_idle()
        if name == "rPh":  # the pronunciation of an Asian text
            self._in_pronunciation = True
        elif name == "col" and is_on(attributes.get("hidden")):
            self.hidden_columns.append((int(attributes.get("min", "0")), int(attributes.get("max", "0"))))
            if len(self.hidden_columns) > COLUMNS_MAX:
                raise BadXml("it describes more columns than a sheet has")
        elif name == "mergeCell" and len(self.merged) < _MERGED_MAX:
            self.merged.append(attributes.get("ref", ""))

    def _end(self, name: str) -> None:
        self._depth -= 1
        if name == self._c:
            self._end_cell()
        elif name == self._v or name == self._t:
            if self._takes:
                self._text += "".join(self._heard)
                self._has_value, self._takes = True, False
        elif name == self._row_name:
            if self._cells:
                if not self._is_ordered:
                    self._cells.sort(key=itemgetter(0))
                    self._check_twice(self._cells)
                self._ready.append(SheetRow(self._row, self._is_hidden, self._cells))
            self._cells = None
        elif name.endswith("rPh"):
            self._in_pronunciation = False

    def _start_row(self, attributes: dict[str, str]) -> None:
        if self._cells is not None:
            raise BadXml("it has a row within a row")
        given = attributes.get("r")
        row = self._row + 1 if given is None else _count(given)
        if row <= self._row:
            raise BadXml(f"row {row:,} stands after row {self._row:,}")
        if row > ROWS_MAX:
            raise BadXml(f"it has a row {row:,}, and a sheet has at most {ROWS_MAX:,}")
        self._row, self._row_text = row, str(row)
        self._is_hidden = is_on(attributes.get("hidden")) or attributes.get("ht") in ("0", "0.0")
        self._cells, self._column, self._cell_depth = [], -1, self._depth + 1
        self._is_ordered = True

    def _start_cell(self, attributes: dict[str, str]) -> None:
        if self._cells is None or self._depth != self._cell_depth:
            raise BadXml("it has a cell outside of a row, or within a cell")
        get = attributes.get
        place = get("r")
        column = self._column + 1 if place is None else self._column_of(place)
        if column >= COLUMNS_MAX:
            raise BadXml(f"row {self._row:,} has more than {COLUMNS_MAX:,} columns")
        self._is_ordered = self._is_ordered and column > self._column
        self._column = column
        self._type = get("t", "n")
        style = get("s")
        self._style = 0 if style is None else int(style)
        self._text = ""
        self._has_formula = self._has_value = False

    def _check_twice(self, cells: list[Cell]) -> None:
        for one, other in pairwise(cells):
            if one[0] == other[0]:
                raise BadXml(f"cell {letters(one[0] + 1)}{self._row} stands in it twice")

    def _column_of(self, place: str) -> int:
        """``B7`` is 1; in row 8 it is refused."""
        name = place.removesuffix(self._row_text)
        column = self._columns.get(name)
        if column is None:
            column = column_number(name)
            if column is None:
                raise BadXml(f"cell {place[:20]!r} stands in row {self._row:,}")
            self._columns[name] = column
        return column

    def _end_cell(self) -> None:
        text, kind, number = self._text, self._type, None
        value: str | float | bool | CellProblem
        if not text:
            if not self._has_formula or self._has_value:
                self._count_idle()
                return
            value = CellProblem("holds a formula that was never computed; open the file in Excel and save it")
        elif kind == "n":
            number = float(text)
            value = self._from_number(number, text)
        elif kind == "s":
            value = self._book.string(int(text))
        else:
            value = self._of_another_kind(kind, text)
        if value != "":
            self._idle_left += IDLE_PER_CELL
            self._cells.append((self._column, value, self._style, number))  # type: ignore[union-attr]

    def _count_idle(self) -> None:
        self._idle_left -= 1
        if self._idle_left < 0:
            raise InvalidInput(
                f"{self._book.file} has more than {self._idle_max:,} empty cells that are only formatted; copy the "
                "table into a new sheet, or save it as CSV"
            )

    def _of_another_kind(self, kind: str, text: str) -> str | bool | CellProblem:
        if kind in ("inlineStr", "str", "d"):
            return unescaped(text)
        if kind == "b":
            return is_on(text)
        if kind == "e":
            return CellProblem("holds a formula error; correct it or clear it")
        raise BadXml(f"cell {letters(self._column + 1)}{self._row} is of an unknown type")

    def _from_number(self, number: float, text: str) -> str | float | CellProblem:
        if number - number != 0 or "_" in text:
            raise BadXml(f"cell {letters(self._column + 1)}{self._row} holds no number")
        format = self._formats[self._style] if self._style < len(self._formats) else GENERAL
        if format.kind == "date":
            if format.has_day and 0 <= number < 1:
                return CellProblem(
                    "holds 0 as a date, which programs often write for an empty cell; correct it or clear it"
                )
            return as_instant(number, since_1904=self._book.since_1904) or _NO_DATE
        if format.kind == "length":
            return as_length(number, format) or _NO_DATE
        return float(f"{number:.{DIGITS}g}") if len(text) > DIGITS else number


def _without_empties(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces of a sheet without most cells that are only formatted: a million rows of them take minutes to parse.

    The next element gives its place, so no cell moves. After a comment or the like ``<`` may be text, so all is kept.
    """
    last, is_plain = b"", True
    for piece in pieces:
        is_plain = is_plain and b"<!" not in last + piece
        last = piece[-1:]
        yield _thinned(piece) if is_plain else piece


def _thinned(piece: bytes) -> bytes:
    if b" r=" not in piece:
        return piece
    if not any(mark in piece for mark in _HOLDING):
        tag = b"<row " if b"<row" in piece else b"<c "
        first, last = piece.find(tag), piece.rfind(tag + b"r=")
        if first < last:
            piece = piece[:first] + piece[last:]
    return _EMPTY.sub(b"", piece) if b"/>" in piece or b'"></' in piece else piece


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise BadXml(f"it has a row numbered {text[:20]!r}")
    return int(text)


def column_number(name: str) -> int | None:
    """The place of a column by its letters: ``A`` is 0, ``AA`` 26. None when there is no such column."""
    if not (name.isascii() and name.isalpha() and len(name) <= 3):
        return None
    place = 0
    for letter in name.upper():
        place = place * 26 + ord(letter) - 64
    return place - 1
