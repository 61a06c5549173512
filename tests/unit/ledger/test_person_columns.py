"""Every column of the ledger says what it may hold about a person. A new one is classified, or this fails."""

from __future__ import annotations

from sqlalchemy import LargeBinary, String, Text

from bulksend.ledger.erasure import _OPEN
from bulksend.ledger.person_columns import COLUMNS, Holds, columns_with
from bulksend.ledger.schema import metadata


def test_every_column_of_the_schema_is_classified_and_no_other() -> None:
    schema = {table.name: set(table.columns.keys()) for table in metadata.sorted_tables}
    assert {name: set(columns) for name, columns in COLUMNS.items()} == schema


def test_only_texts_and_bytes_may_hold_something_about_a_person() -> None:
    for table, name in columns_with(*(set(Holds) - {Holds.NOTHING})):
        assert isinstance(metadata.tables[table].columns[name].type, String | Text | LargeBinary), (
            table,
            name,
        )


def test_what_is_at_work_is_told_by_columns_of_its_own_table() -> None:
    assert _OPEN.keys() <= COLUMNS.keys()
