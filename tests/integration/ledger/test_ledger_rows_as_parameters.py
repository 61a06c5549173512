"""Rows as parameters: both databases read back what was handed to them, of every type that a statement uses."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from bulksend.ledger.bulk_parameters import bound, table
from bulksend.ledger.database import Database
from bulksend.ledger.ids import new_id

COLUMNS = {"id": "uuid", "n": "bigint", "share": "double precision", "flag": "boolean", "words": "text"}
ROWS = st.lists(
    st.tuples(
        st.builds(new_id),
        st.none() | st.integers(-(2**53), 2**53),
        st.none() | st.floats(-1e6, 1e6).map(lambda share: round(share, 2)),
        st.none() | st.booleans(),
        st.none() | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
    ),
    max_size=5,
)


@settings(deadline=None)
@given(ROWS)
def test_rows_come_back_as_they_were(ledger: Database, rows: list[tuple[object, ...]]) -> None:
    with ledger.read() as tx:
        sql = f"SELECT CAST(id AS text), n, share, flag, words FROM {table(tx, COLUMNS)}"  # noqa: S608
        found = tx.execute(text(sql), bound(tx, COLUMNS, rows)).all()
    assert [tuple(row) for row in found] == rows


def test_no_rows_are_no_rows(ledger: Database) -> None:
    with ledger.read() as tx:
        sql = f"SELECT count(*) FROM {table(tx, COLUMNS)}"  # noqa: S608
        assert tx.execute(text(sql), bound(tx, COLUMNS, [])).scalar() == 0
