"""CSV, by the standard library's parser in its strict mode, which recovers after a broken row.

The lenient mode loses rows: one stray quote joins all lines up to the next quote into one cell. When strict parsing
fails, the row in which the quote began is refused, and reading continues with the next line.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from bulksend.errors import InvalidInput
from bulksend.messaging.argument_naming import ArgumentNaming
from bulksend.messaging.plan import RefusedRow
from bulksend.messaging.sentences import say
from bulksend.messaging.units import counted
from producer.reading.delimiters import SAMPLE, Dialect, detect_dialect
from producer.reading.header_row import check_header
from producer.reading.rows import RawRow, RowSource
from producer.reading.text_encoding import (
    LINE_MAX,
    Encoding,
    find_encoding,
    is_unreadable,
    open_text,
)

_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
#: Lines that the quoted cells of one row may hold: the most that a stray quote can cost.
ROW_LINES_MAX = 1000
#: Replaces a line that is too long to keep. Its NUL marks it, also when it is read again.
_TOO_LONG = "\0too long\n"
_NUL = "has a NUL character, which text cannot have; export the file again"
_LONG = f"is longer than {LINE_MAX:,} characters; was the file damaged?"


class _OverlongRow(csv.Error):
    """A row has more lines or characters than any message can use."""


class CsvRows(RowSource):
    """A CSV file, open at its first row."""

    format = "csv"

    def __init__(
        self, path: Path, *, encoding: str | None, is_verified: bool, naming: ArgumentNaming
    ) -> None:
        """Raises InvalidInput when the file as a whole cannot be read."""
        super().__init__(naming)
        found = find_encoding(path, encoding, naming, is_verified=is_verified)
        self._name = path.name
        self._file = open_text(path, found, newline="")
        self.encoding = found.codec
        #: Lines of a refused row that are read again as rows.
        self._reread: deque[str] = deque()
        #: The lines of the current row, and what is wrong with them.
        self._row_lines: list[str] = []
        self._faults: list[str] = []
        self._number = 0
        self._last_blank = self._run_of_blanks = 0
        try:
            self._dialect = self._sniff(path, found)
            self.delimiter = self._dialect.delimiter
            cells = self._read_header()
            self.header = check_header(cells, path.name, naming)
            if len(self.header) == 1 and "|" in self.header[0]:
                raise InvalidInput(
                    f"the columns of {path.name} are separated by |; separate them by commas, semicolons or tabs, or "
                    "put the line sep=| above the header"
                )
            self._unnamed = len(cells) - len(self.header)
            self._keys = self.header
            self._note()
            self._begin(path.name)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._file.close()

    def rename_columns(self, names: Mapping[str, str]) -> None:
        super().rename_columns(names)
        # Rows are built with the new names: renaming each row would take as long as reading it.
        self._keys = tuple(names.get(name, name) for name in self.header)

    def _sniff(self, path: Path, encoding: Encoding) -> Dialect:
        with open_text(path, encoding, newline="") as file:
            sample = file.read(SAMPLE)
        if sample.lstrip().startswith(('{"', "[{")):
            raise InvalidInput(f"{path.name} holds JSON; write one object a line and name the file .jsonl")
        if sample.lstrip()[:9].lower().startswith(("<html", "<!doctype", "<?xml", "<table")):
            raise InvalidInput(f"{path.name} holds a web page or XML; export the table as CSV or .xlsx")
        return detect_dialect(sample)

    def _note(self) -> None:
        if self.encoding != "utf-8":
            self.notes.append(say("read as {encoding}", encoding=self.encoding))
        if self.delimiter != ",":
            self.notes.append(f"cells are separated by {_NAMES.get(self._dialect.delimiter, self.delimiter)}")
        if self._unnamed:
            self.notes.append(f"{self._unnamed} columns at the end have no name; they must be empty")

    # -- lines --------------------------------------------------------------------------------------------

    def _lines(self) -> Iterator[str]:
        """Lines for the parser. Those of the current row are kept in ``_row_lines``, their faults in ``_faults``."""
        row_lines, faults, again = self._row_lines, self._faults, self._reread
        more = iter(partial(self._file.readline, LINE_MAX), "")
        length = 0
        while True:
            line = again.popleft() if again else next(more, "")
            if not line:
                return
            if len(line) >= LINE_MAX and line[-1] not in "\r\n":
                self._skip_line()
                line = _TOO_LONG
            if "\0" in line:
                faults.append(_LONG if line is _TOO_LONG else _NUL)
            if not line.isascii() and is_unreadable(line):
                faults.append(self._not_encoded())
            if row_lines:
                length += len(line)
                row_lines.append(line)
                if len(row_lines) > ROW_LINES_MAX or length > LINE_MAX:
                    raise _OverlongRow
            else:
                length = len(line)
                row_lines.append(line)
            yield line

    def _skip_line(self) -> None:
        """Skip the rest of a line without keeping it in memory."""
        while (part := self._file.readline(LINE_MAX)) and part[-1] not in "\r\n":
            pass

    def _not_encoded(self) -> str:
        return (
            f"has bytes that are not {self.encoding}; export the file as UTF-8 again, or name its encoding, such as "
            f"{self._naming('encoding', 'cp1252')}"
        )

    def _parser(self, *, strict: bool = True) -> Iterator[list[str]]:
        return csv.reader(
            self._lines(),
            delimiter=self._dialect.delimiter,
            strict=strict,
            skipinitialspace=self._dialect.skip_spaces,
        )

    # -- rows ---------------------------------------------------------------------------------------------

    def _read_header(self) -> list[str]:
        if self._dialect.sep_line:
            self._file.readline(LINE_MAX)
        try:
            for cells in self._parser():
                self._number += 1
                if any(cell.strip() for cell in cells):
                    self._row_lines.clear()
                    self._faults.clear()
                    return cells
                self._row_lines.clear()
        except csv.Error:
            raise InvalidInput(
                f"the first row of {self._name} has a quote that is not closed, or text after a closing "
                "quote; it must be the names of the columns, such as to,name"
            ) from None
        raise InvalidInput(
            f"{self._name} is empty; its first row must be the names of the columns, such as to,name"
        )

    def _read(self) -> Iterator[RawRow | RefusedRow]:
        row: RawRow | RefusedRow | None
        width = len(self.header)
        row_lines, faults = self._row_lines, self._faults
        number = self._number
        while True:
            try:
                for cells in self._parser():
                    number += 1
                    plain = len(cells) == width and cells[0].strip() and not faults
                    row = None if plain else self._check_row(number, cells)
                    row_lines.clear()
                    if row is None and not plain:
                        self._count_blank(number, cells)
                        continue
                    if self._to_skip:
                        self._to_skip -= 1
                        continue
                    # Not strict: the widths are equal, and asking zip to check takes 0.2 µs.
                    yield row or RawRow(number, dict(zip(self._keys, cells)))  # noqa: B905
                if self._last_blank == number:
                    self.blank -= self._run_of_blanks
                return
            except csv.Error as error:
                number += 1
                row = self._refuse_broken(number, str(error), runaway=isinstance(error, _OverlongRow))
            if self._to_skip:
                self._to_skip -= 1
            else:
                yield row

    def _count_blank(self, number: int, cells: list[str]) -> None:
        """Count an empty row. Empty lines at the end of the file are subtracted there."""
        self.blank += 1
        goes_on = self._last_blank == number - 1 and not cells
        self._run_of_blanks = 0 if cells else self._run_of_blanks + 1 if goes_on else 1
        self._last_blank = number

    def _check_row(self, number: int, cells: list[str]) -> RawRow | RefusedRow | None:
        """Check a row that is not certainly good. None when it is blank."""
        width = len(self.header)
        if self._faults:
            why = self._faults[0]
            self._faults.clear()
            return RefusedRow(number, self._faulty_column(cells), "", why)
        if not any(cell.strip() for cell in cells):
            return None
        found = counted(len(cells), "cell")
        if len(cells) < width:
            return RefusedRow(
                number,
                self.header[len(cells)],
                found,
                f"is missing: the row has {found} and the header {width}; was the row cut, or a line broken in two?",
            )
        if any(cell.strip() for cell in cells[width:]):
            return RefusedRow(
                number,
                "row",
                found,
                f"has {found}, the header {width}; put quotes around a cell that holds "
                f"{_NAMES.get(self._dialect.delimiter, 'the delimiter')}",
            )
        return RawRow(number, dict(zip(self._keys, cells, strict=False)))

    def _faulty_column(self, cells: list[str]) -> str:
        for name, cell in zip(self.header, cells, strict=False):
            if "\0" in cell or is_unreadable(cell):
                return name
        return "row"

    def _refuse_broken(self, number: int, error: str, *, runaway: bool) -> RefusedRow:
        """Refuse the row that the parser cannot read; its lines after the first are read again."""
        first = self._row_lines[0] if self._row_lines else ""
        several = len(self._row_lines) > 1
        self._reread.extendleft(reversed(self._row_lines[1:]))
        faults = list(self._faults)
        self._row_lines.clear()
        self._faults.clear()
        field = self._broken_column(first)
        if faults and not several:
            return RefusedRow(number, field, "", faults[0])
        if runaway or several or "end of data" in error:
            why = (
                "opens a quote that is not closed; close it, or write a quote inside a cell twice. The rows after it "
                "are read as usual"
            )
        elif "limit" in error:
            why = f"is longer than {csv.field_size_limit():,} characters, more than any message can hold"
        else:
            why = (
                "has text after its closing quote; write a quote inside a cell twice, like "
                '"the ""best"" price"'
            )
        return RefusedRow(number, field, "", why)

    def _broken_column(self, line: str) -> str:
        """The column of a broken row's first line whose quotes are wrong."""
        delimiter = re.escape(self._dialect.delimiter)
        cell = re.compile(rf' *"(?:[^"]|"")*"(?={delimiter}|[\r\n]|$)|(?! *")[^{delimiter}\r\n]*')
        at = 0
        for name in self.header:
            found = cell.match(line, at)
            if found is None:
                return name
            at = found.end() + 1
        return "row"
