"""Spreadsheets: one sheet of an .xlsx, through calamine.

calamine lays a sheet out as a full rectangle, all in memory: 30 bytes a cell, and a sheet has at most
1,048,576 rows. So how far its cells reach is looked at before (see ``sheet_guard``): one stray cell in the
last column and row would ask for 550 GB, and calamine does not raise then but ends the process.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path

from python_calamine import (
    CalamineError,
    CalamineSheet,
    CalamineWorkbook,
    PasswordError,
    SheetTypeEnum,
    SheetVisibleEnum,
)

from bulksend.messaging.errors import InvalidInput
from producer.reading.headers import check_header, letters
from producer.reading.rows import BadRow, RawRow, RowSource
from producer.reading.sheet_guard import look_at


class SheetRows(RowSource):
    """One sheet, open at its first row."""

    format = "xlsx"

    def __init__(self, path: Path, *, sheet: str | None = None) -> None:
        """Raises InvalidInput where the file or the sheet cannot be read."""
        super().__init__()
        self._closed = False
        self._book = _open_book(path)
        try:
            index = self._choose(path.name, sheet)
            self._looked = look_at(path, index)
            self._sheet = _open_sheet(self._book, index, path.name)
            self._rows = self._sheet.iter_rows()
            self._left = self._sheet.start[1] if self._sheet.start else 0
            cells = self._read_header(path.name)
            self.header = self._checked(cells, path.name)
            self._begin(path.name)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._rest = iter(())
        if not self._closed:
            self._closed = True
            self._book.close()

    def _choose(self, file: str, wanted: str | None) -> int:
        sheets = [s for s in self._book.sheets_metadata if s.typ == SheetTypeEnum.WorkSheet]
        names = self._book.sheet_names
        if wanted is not None:
            if wanted not in names:
                raise InvalidInput(
                    f"--sheet: {file} has no sheet {wanted[:40]!r}; it has {', '.join(names)[:200]}"
                )
            return names.index(wanted)
        visible = [s for s in sheets if s.visible == SheetVisibleEnum.Visible] or sheets
        if not visible:
            raise InvalidInput(f"{file} has no sheet with cells")
        if len(visible) > 1:
            self.notes.append(
                f"read the first of {len(visible)} sheets, {visible[0].name!r} (--sheet takes another)"
            )
        return names.index(visible[0].name)

    def _read_header(self, file: str) -> list[object]:
        for number, cells in enumerate(self._rows, 1):
            if any(cell != "" for cell in cells):
                self._number = number
                return list(cells)
        raise InvalidInput(
            f"{file} is empty; its first row must be the names of the columns, such as to and name"
        )

    def _checked(self, cells: list[object], file: str) -> tuple[str, ...]:
        top = self._number - 1
        for (row, left), (_, right) in self._sheet.merged_cell_ranges or []:
            if row == top and right > left:
                raise InvalidInput(
                    f"cells {letters(left + 1)} to {letters(right + 1)} in the first row of {file} are "
                    "merged; the first row must be the names of the columns, one a cell: delete titles "
                    "above the table"
                )
        return check_header(cells, file)

    def _read(self) -> Iterator[RawRow | BadRow]:
        header, width = self.header, len(self.header)
        numbers: set[str] = set()
        for number, cells in enumerate(self._rows, self._number + 1):
            errors = self._looked.errors.get(number)
            if not errors and not any(cell != "" for cell in cells):
                continue
            if self._left_to_skip:
                self._left_to_skip -= 1
                continue
            if errors:
                yield self._error(number, errors)
                continue
            if any(cell != "" for cell in cells[width:]):
                yield self._nameless(number, cells)
                continue
            values = {name: _value(cell) for name, cell in zip(header, cells, strict=False)}
            for name, value in values.items():
                if type(value) is float and name not in numbers:
                    numbers.add(name)
                    self.notes.append(
                        f"the column {name!r} holds numbers, which have no leading zeros and no +; format "
                        "it as text if they matter"
                    )
            yield RawRow(number, self._called(values))

    def _error(self, number: int, columns: list[int]) -> BadRow:
        place = columns[0] - self._left
        field = self.header[place] if 0 <= place < len(self.header) else "row"
        return BadRow(
            number,
            field,
            "",
            f"cell {letters(columns[0] + 1)}{number} holds a formula's error; mend it or clear it",
        )

    def _nameless(self, number: int, cells: Sequence[object]) -> BadRow:
        width = len(self.header)
        place = next(n for n, cell in enumerate(cells) if n >= width and cell != "")
        at = f"{letters(self._left + place + 1)}{number}"
        return BadRow(
            number, "row", "", f"cell {at} stands in a column without a name; name the column or clear it"
        )


def _open_book(path: Path) -> CalamineWorkbook:
    with path.open("rb") as file:
        head = file.read(8)
    if not head:
        raise InvalidInput(f"{path.name} is empty")
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        raise InvalidInput(
            f"{path.name} is protected by a password, or an old .xls; save it as .xlsx without a password, "
            f"or as CSV"
        )
    if not head.startswith(b"PK"):
        raise InvalidInput(
            f"{path.name} is no spreadsheet, whatever its name says; if it is text, name it .csv"
        )
    try:
        return CalamineWorkbook.from_path(path)
    except PasswordError:
        raise InvalidInput(
            f"{path.name} is protected by a password; save it without one, or as CSV"
        ) from None
    except CalamineError:
        raise InvalidInput(
            f"{path.name} is damaged or no spreadsheet; save it as .xlsx or CSV again"
        ) from None


def _open_sheet(book: CalamineWorkbook, index: int, file: str) -> CalamineSheet:
    try:
        return book.get_sheet_by_index(index)
    except CalamineError:
        raise InvalidInput(
            f"{file} is damaged: its sheet cannot be read; save it as .xlsx or CSV again"
        ) from None


def _value(cell: object) -> object:
    """Text, numbers and booleans as they are, instants as ISO 8601, lengths of time as ISO 8601 (PT600S)."""
    if isinstance(cell, (datetime.datetime, datetime.date, datetime.time)):
        return cell.isoformat()
    if isinstance(cell, datetime.timedelta):
        return f"PT{cell.total_seconds():.15g}S"
    return cell
