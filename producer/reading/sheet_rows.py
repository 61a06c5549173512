"""One sheet of an .xlsx.

The whole sheet is read when it is opened: a damaged file is refused before its first row is used, and the notes say
where people see something else than is sent (hidden rows, formats).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bulksend.errors import InvalidInput, InvalidValue
from bulksend.messaging.argument_naming import ArgumentNaming
from bulksend.messaging.column_names import clean_name, recipient_columns
from bulksend.messaging.masking import mask_digits
from bulksend.messaging.plan import RefusedRow, as_text
from bulksend.messaging.sentences import joined, say
from producer.reading.header_row import check_header, letters
from producer.reading.number_formats import GENERAL, NumberFormat
from producer.reading.rows import RawRow, RowSource
from producer.reading.sheet_cells import Cell, CellProblem, SheetCells, SheetRow, column_number
from producer.reading.workbook import Sheet, Workbook

_SHEETS_NAMED = 5
#: A merged area, such as ``A2:B5``.
_MERGED = re.compile(r"([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})", re.ASCII)


@dataclass(slots=True)
class _SheetSurvey:
    """What the first reading of a sheet finds."""

    header: SheetRow | None = None
    rows: int = 0
    """Below the header, without empty ones."""
    hidden: int = 0
    numbers: set[int] = field(default_factory=set)
    """Columns, from 0, with numbers that have no format."""
    formatted: Counter[int] = field(default_factory=Counter)
    """Cells of each column that show something else than is sent."""
    example: dict[int, str] = field(default_factory=dict)
    """The first of them in each column."""
    merged: list[str] = field(default_factory=list)
    hidden_columns: list[tuple[int, int]] = field(default_factory=list)


class SheetRows(RowSource):
    """One sheet, open at its first row."""

    format = "xlsx"

    def __init__(self, path: Path, *, sheet: str | None, is_verified: bool, naming: ArgumentNaming) -> None:
        """Raises InvalidInput when the file or the sheet cannot be read."""
        super().__init__(naming)
        self._merged: dict[str, str] = {}
        self._file = path.name
        self._book = Workbook(path)
        try:
            self._sheet = self._choose(sheet)
            with self._with_other_sheets(sheet):
                self._open(is_verified)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._rest = iter(())
        self._book.close()

    def _open(self, is_verified: bool) -> None:
        survey = None if is_verified else self._survey()
        self._rows = self._read_sheet()
        header = next((row for row in self._rows if _has_values(row.cells)), None)
        if header is None:
            raise InvalidInput(
                f"{self._file} is empty; its first row must be the names of the columns, such as to and name"
            )
        self._number, self._left = header.number, _first_of(header.cells)
        if survey is not None:
            self._refuse_merged_header(survey.merged)
        names: list[object] = [""] * (header.cells[-1][0] + 1 - self._left)
        for column, value, _, _ in header.cells:
            if column >= self._left:
                names[column - self._left] = "" if isinstance(value, CellProblem) else value
        self.header = check_header(names, self._file, self._naming, first=self._left + 1)
        if survey is not None:
            self._note(survey)
            self._merged = self._find_merged(survey.merged)
        self._begin(self._file)

    # -- which sheet ----------------------------------------------------------------------------------------

    def _choose(self, wanted: str | None) -> Sheet:
        sheets = self._book.sheets
        if wanted is not None:
            chosen = next((sheet for sheet in sheets if sheet.name == wanted), None)
            if chosen is None:
                there = ", ".join(sheet.name for sheet in sheets)[:200] or "none with cells"
                raise InvalidInput(
                    f"{self._naming('sheet')}: {self._file} has no sheet {wanted[:40]!r}; it has {there}"
                )
            if chosen.is_hidden:
                self.notes.append(f"the sheet {wanted[:40]!r} is hidden")
            return chosen
        visible = [sheet for sheet in sheets if not sheet.is_hidden]
        if not sheets:
            raise InvalidInput(f"{self._file} has no sheet with cells")
        chosen, hidden = (visible or sheets)[0], len(sheets) - len(visible)
        name = repr(chosen.name[:40])
        if not visible:
            self.notes.append(say("read the sheet {name}, which is hidden, as all of them are", name=name))
        elif len(sheets) > 1:
            others = _other_sheets(len(visible), hidden)
            option = self._naming("sheet")
            said = say(
                "read the sheet {name}, {why} ({option} takes another)", name=name, why=others, option=option
            )
            self.notes.append(said)
        return chosen

    @contextmanager
    def _with_other_sheets(self, wanted: str | None) -> Iterator[None]:
        """Errors of the default sheet also name the sheets that have recipients."""
        try:
            yield
        except InvalidInput as error:
            hint = self.other_sheets() if wanted is None else ""
            raise (InvalidInput(f"{error}{hint}") if hint else error) from None

    def other_sheets(self) -> str:
        found = []
        for sheet in self._book.sheets:
            if sheet != self._sheet and self._has_recipients(sheet):
                found.append(sheet.name[:40])
            if len(found) == _SHEETS_NAMED:
                break
        if not found:
            return ""
        names = ", ".join(map(repr, found))
        return f"; recipients are in {names}: use {self._naming('sheet', found[0])}"

    def _has_recipients(self, sheet: Sheet) -> bool:
        try:
            with self._book.reporting_damage():
                for row in SheetCells(self._book, sheet):
                    if _has_values(row.cells):
                        return bool(recipient_columns(clean_name(value) for _, value, _, _ in row.cells))
        except InvalidInput:
            return False
        return False

    # -- what people see --------------------------------------------------------------------------------------

    def _survey(self) -> _SheetSurvey:
        survey = _SheetSurvey()
        with self._book.reporting_damage():
            cells = SheetCells(self._book, self._sheet)
            for row in cells:
                if not _has_values(row.cells):
                    continue
                if survey.header is None:
                    survey.header = row
                    continue
                survey.rows += 1
                survey.hidden += row.is_hidden
                for cell in row.cells:
                    if cell[3] is not None or type(cell[1]) is bool:
                        self._survey_cell(cell, row.number, survey)
        survey.merged, survey.hidden_columns = cells.merged, cells.hidden_columns
        return survey

    def _survey_cell(self, cell: Cell, row: int, survey: _SheetSurvey) -> None:
        """Record whether a number or boolean is shown as it is sent."""
        column, value, style, number = cell
        formats = self._book.formats
        format = formats[style] if style < len(formats) and number is not None else GENERAL
        if format.kind == "length":  # sent as it is shown
            return
        if format == GENERAL and number is not None:
            survey.numbers.add(column)
            return
        try:
            sent = as_text("", value) or ""
        except InvalidValue:  # its row will be refused
            return
        shown = _shown(value, number, format)
        if shown == sent:
            survey.numbers.add(column)
            return
        survey.formatted[column] += 1
        if column not in survey.example:
            survey.example[column] = _example(f"{letters(column + 1)}{row}", shown, sent, format)

    def _note(self, survey: _SheetSurvey) -> None:
        if survey.hidden:
            self.notes.append(_hidden_rows(survey.hidden, survey.rows))
        for place, name in enumerate(self.header, self._left):
            notes = self.column_notes.setdefault(name, [])
            if any(first <= place + 1 <= last for first, last in survey.hidden_columns):
                notes.append(f"the column {name!r} is hidden; it is used all the same")
            if count := survey.formatted[place]:
                notes.append(_not_as_shown(count, repr(name), survey.example[place]))
            elif place in survey.numbers:
                what = say(
                    "the column {name} holds numbers, which have no leading zeros and no +", name=repr(name)
                )
                notes.append(joined([what, say("format it as text if they matter")]))

    def notes_for(self, used: Iterable[str]) -> list[str]:
        """See RowSource. Raises InvalidInput when a used column has merged cells."""
        columns = list(used)
        for column in columns:
            if column in self._merged:
                raise InvalidInput(
                    f"cells {self._merged[column]} of {self._file}, in the column {column!r}, are merged, so only the "
                    "first row has a value; unmerge them and fill each row"
                )
        return super().notes_for(columns)

    def _find_merged(self, merged: Iterable[str]) -> dict[str, str]:
        """The first merged area of several rows in each column that has one below the header."""
        found: dict[str, str] = {}
        for area in filter(None, map(_MERGED.fullmatch, merged)):
            if int(area[4]) <= max(self._number, int(area[2])):
                continue
            left, right = column_number(area[1]), column_number(area[3])
            for place, name in enumerate(self.header, self._left):
                if left is not None and right is not None and left <= place <= right:
                    found.setdefault(name, area[0])
        return found

    def _refuse_merged_header(self, merged: Iterable[str]) -> None:
        for area in merged:
            first, _, last = area.partition(":")
            left, right = _letters_of(first), _letters_of(last)
            if first.removeprefix(left) == str(self._number) and left != right:
                raise InvalidInput(
                    f"cells {left} to {right} in the first row of {self._file} are merged; the first row must be the "
                    "names of the columns, one a cell: delete titles above the table"
                )

    # -- rows -------------------------------------------------------------------------------------------------

    def _read_sheet(self) -> Iterator[SheetRow]:
        with self._book.reporting_damage():
            yield from SheetCells(self._book, self._sheet)

    def _read(self) -> Iterator[RawRow | RefusedRow]:
        last = self._number
        for row in self._rows:
            if not _has_values(row.cells):
                continue
            self.blank += row.number - last - 1
            last = row.number
            if self._to_skip:
                self._to_skip -= 1
                continue
            yield self._read_row(row)

    def _read_row(self, row: SheetRow) -> RawRow | RefusedRow:
        header, left = self.header, self._left
        values: dict[str, object] = dict.fromkeys(header, "")
        for column, value, _, _ in row.cells:
            place = column - left
            if type(value) is CellProblem:
                name = header[place] if 0 <= place < len(header) else "row"
                return RefusedRow(
                    row.number, name, "", f"cell {letters(column + 1)}{row.number} {value.what}"
                )
            if 0 <= place < len(header):
                values[header[place]] = value
            elif value != "" and not (isinstance(value, str) and value.isspace()):
                return RefusedRow(
                    row.number,
                    "row",
                    "",
                    f"cell {letters(column + 1)}{row.number} is in a column without a name; name the column or clear "
                    "the cell",
                )
        return RawRow(row.number, self._renamed(values))


def _shown(value: object, number: float | None, format: NumberFormat) -> str | None:
    """What the spreadsheet shows in a cell; None when it is not known."""
    if number is None:
        return "TRUE" if value else "FALSE"
    return format.shown(number) if format.kind == "number" else None


def _other_sheets(visible: int, hidden: int) -> str:
    if not hidden:
        return say("the first of {visible}", visible=visible)
    if visible == 1:
        return say("1 more is hidden") if hidden == 1 else say("{hidden} more are hidden", hidden=hidden)
    if hidden == 1:
        return say("the first of {visible}, 1 more is hidden", visible=visible)
    return say("the first of {visible}, {hidden} more are hidden", visible=visible, hidden=hidden)


def _hidden_rows(hidden: int, rows: int) -> str:
    of = f"{rows:,}"
    if hidden == 1:
        said = say("1 of {rows} rows is hidden, by a filter or by hand", rows=of)
        return joined([said, say("it is used too")])
    said = say("{count} of {rows} rows are hidden, by a filter or by hand", count=f"{hidden:,}", rows=of)
    return joined([said, say("they are used too")])


def _not_as_shown(cells: int, name: str, why: str) -> str:
    """``why``: an example."""
    said = (
        say("1 cell of {name} is sent as its value, not as shown: {why}", name=name, why=why)
        if cells == 1
        else say(
            "{count} cells of {name} are sent as their values, not as shown: {why}",
            count=f"{cells:,}",
            name=name,
            why=why,
        )
    )
    return joined([said, say("format the column as text to send what it shows")])


def _example(place: str, shown: str | None, sent: str, format: NumberFormat) -> str:
    """How a cell is sent. The text has no number that may be private, such as a phone number or code."""
    if format.kind != "number":
        return say("the date or time in {place} is sent as {sent}", place=place, sent=sent[:40])
    if format.whole_digits > 1:
        return say("{place} is sent without its leading zeros", place=place)
    if mask_digits(sent) != sent:
        return say("the number in {place} is sent without its format", place=place)
    if shown:
        return say("{shown} is sent as {sent}", shown=shown, sent=sent[:40])
    return say("the number in {place} is sent as {sent}", place=place, sent=sent[:40])


def _has_values(cells: Iterable[Cell]) -> bool:
    return any(map(_is_value, cells))


def _is_value(cell: Cell) -> bool:
    return type(cell[1]) is not str or not cell[1].isspace()


def _first_of(cells: Iterable[Cell]) -> int:
    return next(cell[0] for cell in cells if _is_value(cell))


def _letters_of(place: str) -> str:
    return place.rstrip("0123456789")
