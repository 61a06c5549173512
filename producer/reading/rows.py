"""What a reader gives: rows, rows that cannot be read, and what was found out about the file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import NamedTuple, Self

from bulksend.errors import InvalidInput
from bulksend.messaging.argument_naming import ArgumentNaming
from bulksend.messaging.column_names import ColumnMapping, map_columns
from bulksend.messaging.plan import RefusedRow


class RawRow(NamedTuple):
    """A row of a file. ``values`` by column, named as in ``RowSource.header`` or by ``rename_columns``: text as it was
    written, and from spreadsheets and JSON also numbers, booleans and None.
    """

    row: int
    values: dict[str, object]


class RowSource(ABC):
    """An open file. Iterating goes on where it stopped; it is read once, and closed by ``close`` or ``with``.

    ``encoding`` and ``delimiter`` are None where the format has none. ``notes`` are sentences for people
    about what was found out, ``column_notes`` those that concern a column, by its name in the header. ``blank``
    counts the empty rows among those that were read.
    """

    header: tuple[str, ...]
    format: str
    encoding: str | None = None
    delimiter: str | None = None
    notes: list[str]
    column_notes: dict[str, list[str]]
    blank: int

    def __init__(self) -> None:
        self.notes = []
        self.column_notes = {}
        self.blank = 0
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
        """Leave out the next ``n`` rows, good or bad, without making them; blank rows were never counted."""
        if n > 0 and self._first is not None:
            self._first = None
            n -= 1
        self._to_skip += max(0, n)

    def rename_columns(self, names: Mapping[str, str]) -> None:
        """From here on rows name their columns so: of the header -> new. What is not in it keeps its name."""
        self._names = names
        if isinstance(self._first, RawRow):
            self._first = RawRow(self._first.row, self._renamed(self._first.values))

    def _renamed(self, values: dict[str, object]) -> dict[str, object]:
        names = self._names
        return values if names is None else {names.get(name, name): cell for name, cell in values.items()}

    def columns(
        self, given: Mapping[str, str] | None = None, naming: ArgumentNaming | None = None
    ) -> ColumnMapping:
        """Its columns by their names here, as ``map_columns`` finds them. Raises InvalidInput, which also names the
        sheets that have recipients.
        """
        try:
            return map_columns(self.header, given, naming)
        except InvalidInput as error:
            raise InvalidInput(f"{error}{self.other_sheets()}") from None

    def notes_for(self, used: Iterable[str]) -> list[str]:
        """What a person should know before the rows are used; ``used`` are the columns that are, as in the header."""
        return self.notes + [note for column in used for note in self.column_notes.get(column, ())]

    def skipped_notes(self) -> list[str]:
        """What a person should know after the last row."""
        rows = "1 empty row was" if self.blank == 1 else f"{self.blank:,} empty rows were"
        return [f"{rows} left out"] if self.blank else []

    def other_sheets(self) -> str:
        """Where else in the file recipients are, as the end of an error's text; empty where nowhere."""
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
        """The rows after the header, less those that ``_to_skip`` says."""

    def _begin(self, name: str) -> None:
        """Look at the first row. Raises InvalidInput where there is none: a campaign of nothing is a
        mistake.
        """
        self._rest = self._read()
        self._first = next(self._rest, None)
        if self._first is None:
            blank = f"{self.blank:,} empty row{'' if self.blank == 1 else 's'}" if self.blank else "no rows"
            raise InvalidInput(f"{name} has a header and {blank}; was it exported with a filter on?")
