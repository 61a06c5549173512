"""A look at a sheet's XML before calamine lays it out in memory: how far it reaches, and which cells hold
errors.

calamine allocates the rectangle from the first to the last cell, and its library ends the process where
memory is not given: one stray cell in the last column and row asks for 550 GB, and rows in the wrong order
wrap around to as much. So each cell's place is read first, by patterns, and a sheet that they do not fully
account for is refused.
"""

from __future__ import annotations

import html
import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bulksend.messaging.errors import InvalidInput
from producer.reading.headers import letters

#: Cells of the rectangle that a sheet may span: a full sheet of 30 columns, about 1 GB.
CELLS_MAX = 32_000_000
#: Bytes that a workbook may unpack to.
UNPACKED_MAX = 2 << 30
#: Excel's own.
_ROWS_MAX, _COLUMNS_MAX = 1_048_576, 16_384
_PART = 4 << 20
_ELEMENT_MAX = 4096
_AGAIN = "save it as .xlsx or CSV again"
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    KeyError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
)

_SHEET = re.compile(r"<(?:\w+:)?sheet\s[^>]*?\bid=\"([^\"]+)\"[^>]*>")
_RELATION = re.compile(r"<(?:\w+:)?Relationship\s[^>]*>")
_ATTRIBUTE = re.compile(r"\b(Id|Target)=\"([^\"]*)\"")
#: A cell as all programs write it, and in every way that XML allows: column, row, ``/`` where it is empty.
_CELL = re.compile(rb'<c r="([A-Z]{1,3})(\d{1,7})"[^>]*?(/?)>')
_ODD_CELL = re.compile(rb"<(?:\w+:)?c\s(?:[^>]*?\s)?r=[\"']([A-Za-z]{1,3})(\d{1,7})[\"'](?:\s[^>]*?)?(/?)>")
_ANY_CELL = re.compile(rb"<(?:\w+:)?c[\s/>]")
_IS_ERROR = re.compile(rb"<(?:\w+:)?c\s[^>]*?\bt=[\"']e[\"'][^>]*>")
_PLACE = re.compile(rb"\sr=[\"']([A-Za-z]{1,3})(\d{1,7})[\"']")


@dataclass(slots=True)
class Looked:
    """What was seen: ``errors`` by row number, the columns (from 0) of cells that hold a formula's error."""

    errors: dict[int, list[int]] = field(default_factory=dict)
    columns: set[bytes] = field(default_factory=set)
    first_row: int = 0
    last_row: int = 0


def look_at(path: Path, index: int, *, unpacked_max: int = UNPACKED_MAX) -> Looked:
    """Look at the workbook's sheet number ``index``. Raises InvalidInput where laying it out is not safe."""
    try:
        with zipfile.ZipFile(path) as book:
            if sum(part.file_size for part in book.infolist()) > unpacked_max:
                raise InvalidInput(
                    f"{path.name} unpacks to more than {unpacked_max >> 20:,} MB; save it as CSV, of any size"
                )
            looked = Looked()
            for piece in _pieces(book, _part_of(book, index)):
                _look(piece, looked)
            _check_reach(looked, path.name)
            return looked
    except InvalidInput:
        raise
    except _UNREADABLE:
        raise InvalidInput(f"{path.name} is damaged; {_AGAIN}") from None


def _part_of(book: zipfile.ZipFile, index: int) -> str:
    """The name of the part that holds the sheet: workbook.xml names a relation, its rels file the part.

    Raises KeyError where there is none.
    """
    ids = dict(enumerate(_SHEET.findall(book.read("xl/workbook.xml").decode("utf-8", "replace"))))
    for relation in _RELATION.findall(book.read("xl/_rels/workbook.xml.rels").decode("utf-8", "replace")):
        found = dict(_ATTRIBUTE.findall(relation))
        if found.get("Id") == ids[index]:
            target = html.unescape(found.get("Target", ""))
            return target.lstrip("/") if target.startswith("/") else posixpath.normpath("xl/" + target)
    raise KeyError(index)


def _pieces(book: zipfile.ZipFile, part: str) -> Iterator[bytes]:
    """The sheet's XML in pieces that cut no element in two."""
    kept = b""
    with book.open(part) as xml:
        while read := xml.read(_PART):
            piece = kept + read
            begun = piece.rfind(b"<")
            cut = begun if begun > piece.rfind(b">") else len(piece)
            if len(piece) - cut > _ELEMENT_MAX:
                raise ValueError("an element of more than 4 KB")
            yield piece[:cut]
            kept = piece[cut:]
    yield kept


def _look(piece: bytes, looked: Looked) -> None:
    """Account for every cell of a piece. Raises ValueError where one has no place, or rows are out of
    order.
    """
    cells = _CELL.findall(piece)
    if piece.count(b"<c") != len(cells) or b":c" in piece:
        cells = _ODD_CELL.findall(piece)
        if len(cells) != sum(1 for _ in _ANY_CELL.finditer(piece)):
            raise ValueError("cells without a place")
    if b"\0" in piece:
        raise ValueError("not UTF-8")
    filled = [cell for cell in cells if not cell[2]]  # one that is only formatted ends with />
    rows = [int(cell[1]) for cell in filled]
    if not rows:
        return
    if rows != sorted(rows) or rows[0] < max(1, looked.last_row):
        raise ValueError("rows out of order")
    looked.first_row = looked.first_row or rows[0]
    looked.last_row = rows[-1]
    looked.columns.update(cell[0] for cell in filled)
    if b't="e"' in piece or b"t='e'" in piece:
        _find_errors(piece, looked)


def _find_errors(piece: bytes, looked: Looked) -> None:
    for cell in _IS_ERROR.findall(piece):
        place = _PLACE.search(cell)
        if place:
            looked.errors.setdefault(int(place[2]), []).append(_column(place[1]))


def _check_reach(looked: Looked, file: str) -> None:
    if not looked.columns:
        return
    places = [_column(name) for name in looked.columns]
    right = max(places)
    cells = (right - min(places) + 1) * (looked.last_row - looked.first_row + 1)
    if cells > CELLS_MAX or right >= _COLUMNS_MAX or looked.last_row > _ROWS_MAX:
        raise InvalidInput(
            f"{file} reaches to column {letters(right + 1)} and row {looked.last_row:,}, too far to be laid "
            "out; clear the stray cells there, or save it as CSV"
        )


def _column(name: bytes) -> int:
    """``A`` is 0, ``AA`` 26."""
    place = 0
    for letter in name.upper():
        place = place * 26 + letter - 64
    return place - 1
