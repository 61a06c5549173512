"""Rows as an XLSX workbook, written row by row in flat memory. Text stays text, phone numbers too."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import xlsxwriter

from bulksend.errors import InvalidInput
from ops.export_files import FORMULA

#: Limits of Excel, the header included.
MOST_ROWS, MOST_CHARACTERS = 1_048_576, 32_767
#: The same rows give the same file: the date of a workbook is that of the files in it.
_CREATED = datetime(1980, 1, 1, tzinfo=UTC)


def check_row_count(rows: int, field: str) -> None:
    """Raises InvalidInput when a workbook cannot hold that many rows beside its header."""
    if rows >= MOST_ROWS:
        raise InvalidInput(
            f"{field}: an .xlsx holds {MOST_ROWS - 1:,} rows, and there are more; use .csv, .jsonl or .parquet"
        )


@contextmanager
def open_workbook(path: Path, columns: Sequence[str] | None) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that writes a row. Raises InvalidInput when a row or a cell is more than Excel can hold."""
    # The rows rest in files until the end: beside the workbook, which holds the same.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        options = {"constant_memory": True, "tmpdir": folder, "in_memory": False}
        book = xlsxwriter.Workbook(str(path), options)
        book.use_zip64()
        book.set_properties({"created": _CREATED})
        writer = _SheetWriter(book, columns)
        try:
            yield writer.write
        except BaseException:
            # Closing would write the whole file first.
            book.fileclosed = 1
            raise
        book.close()


class _SheetWriter:
    def __init__(self, book: Any, columns: Sequence[str] | None) -> None:
        self._sheet = book.add_worksheet()
        # What a person who edits the cell sees as an apostrophe: it stays text.
        self._quoted = book.add_format({"quote_prefix": True})
        self._header: list[str] = []
        self._row = 0
        if columns:
            self._begin(columns)

    def _begin(self, names: Iterable[str]) -> None:
        self._header.extend(names)
        self._write_cells(self._header)

    def write(self, row: Mapping[str, Any]) -> None:
        if not self._header:
            self._begin(row)
        check_row_count(self._row, "rows")
        self._write_cells([row[name] for name in self._header])

    def _write_cells(self, values: Sequence[object]) -> None:
        for column, value in enumerate(values):
            if isinstance(value, str):
                self._write_text(column, value)
            elif isinstance(value, int | float):
                self._sheet.write_number(self._row, column, value)
        self._row += 1

    def _write_text(self, column: int, value: str) -> None:
        if len(value) > MOST_CHARACTERS:
            raise InvalidInput(
                f"{self._header[column]}: a cell of an .xlsx holds {MOST_CHARACTERS:,} characters, and row "
                f"{self._row + 1} has more; use .csv, .jsonl or .parquet"
            )
        if value:
            quoted = self._quoted if value.startswith(FORMULA) else None
            self._sheet.write_string(self._row, column, value, quoted)
