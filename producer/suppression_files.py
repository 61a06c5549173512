"""A file of numbers that must not get a kind of message: read, and imported all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from bulksend.ledger.database import Database
from bulksend.messaging import RefusedRow
from bulksend.messaging.argument_naming import ArgumentNaming
from bulksend.messaging.column_names import ColumnMapping
from bulksend.messaging.surrogates import replace_surrogates
from bulksend.operations.suppressions import OWN_COLUMNS, ImportReport, ReadRow, import_suppressions
from producer.files import given_columns
from producer.reading import RowSource, open_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class SuppressionFile:
    """A file and how it is read: ``columns`` are given as ``to=COLUMN``, ``default_region`` is of national numbers."""

    path: Path
    naming: ArgumentNaming
    columns: Sequence[str] = ()
    encoding: str | None = None
    sheet: str | None = None
    default_region: str | None = None

    def take_in(
        self,
        database: Database,
        *,
        scope: str,
        reason: str,
        actor: str,
        source: str | None = None,
        dry_run: bool = False,
        on_row: Callable[[], None] = lambda: None,
        also: Callable[[Connection, ImportReport, list[str]], None] = lambda _tx, _report, _notes: None,
    ) -> tuple[ImportReport, list[str]]:
        """Import it, see ``import_suppressions``; also notes about the file. ``on_row`` is called for each row,
        ``also`` in the transaction with the report and the notes.

        Raises InvalidInput when the file cannot be read.
        """
        with open_rows(self.path, encoding=self.encoding, sheet=self.sheet, naming=self.naming) as rows:
            columns = rows.columns(given_columns(self.columns, self.naming))
            of_columns = rows.notes_for(column for column, name in columns.names.items() if name == "to")

            def notes() -> list[str]:
                """Complete when the last row has been read."""
                return [*of_columns, *rows.skipped_notes()]

            report = import_suppressions(
                database,
                _recipients(rows, columns, on_row),
                scope=scope,
                reason=reason,
                file_name=replace_surrogates(self.path.name),
                actor=actor,
                default_region=self.default_region,
                source=source,
                dry_run=dry_run,
                also=lambda tx, report: also(tx, report, notes()),
            )
            return report, notes()


def _recipients(
    source: RowSource, columns: ColumnMapping, on_row: Callable[[], None]
) -> Iterator[ReadRow | RefusedRow]:
    """Each row as it is read, or why it cannot be."""
    is_export = columns.names.keys() >= set(OWN_COLUMNS)
    for row in source:
        on_row()
        if isinstance(row, RefusedRow):
            yield row
        else:
            cells = columns.rename(row.values)
            yield ReadRow(row.row, cells.get("to"), cells if is_export else None)
