"""What every reader provides: rows, refused rows, and notes about the file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import NamedTuple, Self

from bulksend.errors import InvalidInput
from bulksend.messaging.argument_naming import ArgumentNaming
from bulksend.messaging.column_names import ColumnMapping, map_columns
from bulksend.messaging.plan import RefusedRow
from bulksend.messaging.sentences import say
from bulksend.messaging.units import counted


class RawRow(NamedTuple):
    """A row of a file. ``values`` by column, named as in ``RowSource.header`` or by ``rename_columns``: text as it was
    written, and from spreadsheets and JSON also numbers, booleans and None.
    """

    row: int
    values: dict[str, object]


#: So begins a note that only says how a file is read, and asks for nothing.
_REMARKS = ("read as ", "cells are separated by ", "the recipients are read from ")


def is_remark(note: str) -> bool:
    """Whether a note only says how the file is read. Any other may be a mistake of who made the file."""
    return note.startswith(_REMARKS)


class RowSource(ABC):
    """An open file, read once. Iteration continues where it stopped. Close it by ``close`` or ``with``."""

    header: tuple[str, ...]
    format: str
    encoding: str | None = None
    """None where the format has none."""
    delimiter: str | None = None
    notes: list[str]
    """About the file."""
    column_notes: dict[str, list[str]]
    """About single columns, by their names in the header."""
    blank: int
    """Empty rows among those that were read."""

    def __init__(self, naming: ArgumentNaming) -> None:
        self.notes = []
        self.column_notes = {}
        self.blank = 0
        self._naming = naming
        self._to_skip = 0
        self._names: Mapping[str, str] | None = None
        self._first: RawRow | RefusedRow | None = None
        self._rest: Iterator[RawRow | RefusedRow] = iter(())

    def __iter__(self) -> Iterator[RawRow | RefusedRow]:
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        yield from self._rest

    def skip(self, n: int) -> None:
        """Skip the next ``n`` rows, refused ones included, without parsing their values. Empty rows do not count."""
        if n > 0 and self._first is not None:
            self._first = None
            n -= 1
        self._to_skip += max(0, n)

    def rename_columns(self, names: Mapping[str, str]) -> None:
        """Name the columns of all further rows: header name -> new name. Other columns keep their names."""
        self._names = names
        if isinstance(self._first, RawRow):
            self._first = RawRow(self._first.row, self._renamed(self._first.values))

    def _renamed(self, values: dict[str, object]) -> dict[str, object]:
        names = self._names
        return values if names is None else {names.get(name, name): cell for name, cell in values.items()}

    def columns(self, given: Mapping[str, str] | None = None) -> ColumnMapping:
        """The names of its columns, as ``map_columns`` finds them; ``given`` is None where the caller cannot map any.

        Raises InvalidInput as ``map_columns``, with the other sheets that have recipients.
        """
        try:
            return map_columns(self.header, given, None if given is None else self._naming)
        except InvalidInput as error:
            raise InvalidInput(f"{error}{self.other_sheets()}") from None

    def notes_for(self, used: Iterable[str]) -> list[str]:
        """The notes before the first row is used; ``used`` are the columns in use, as in the header.

        Raises InvalidInput when a column in use holds cells that cannot be read row by row.
        """
        return self.notes + [note for column in used for note in self.column_notes.get(column, ())]

    def skipped_notes(self) -> list[str]:
        """The notes after the last row."""
        if self.blank == 1:
            return [say("1 empty row was left out")]
        return [say("{count} empty rows were left out", count=f"{self.blank:,}")] if self.blank else []

    def other_sheets(self) -> str:
        """The end of an error's text that names other sheets with recipients; empty when there are none."""
        return ""

    @abstractmethod
    def close(self) -> None:
        """Close the file. May be repeated."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _read(self) -> Iterator[RawRow | RefusedRow]:
        """The rows after the header, without the ``_to_skip`` next ones."""

    def _begin(self, name: str) -> None:
        """Read the first row. Raises InvalidInput when there is none: an empty campaign is a mistake."""
        self._rest = self._read()
        self._first = next(self._rest, None)
        if self._first is None:
            blank = counted(self.blank, "empty row") if self.blank else "no rows"
            raise InvalidInput(f"{name} has a header and {blank}; was it exported with a filter on?")
