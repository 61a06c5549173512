"""Many rows as one parameter: what comes out is what went in, and nothing a database cannot hold goes in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from bulksend.ledger.bulk_parameters import bound, statement, storable, table

VALUES = st.one_of(
    st.none(),
    st.integers(-(2**53), 2**53),
    st.booleans(),
    st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
)


@given(st.lists(st.tuples(VALUES, VALUES), max_size=5))
def test_a_database_reads_back_the_rows_as_they_were(rows: list[tuple[object, object]]) -> None:
    columns = {"one": "text", "other": "text"}
    engine = create_engine("sqlite://")
    with engine.connect() as tx:
        found = tx.execute(text(f"SELECT one, other FROM {table(tx, columns)}"), bound(tx, columns, rows))  # noqa: S608
        assert [tuple(row) for row in found] == rows
    engine.dispose()


@given(st.text(), st.integers(0, 20))
def test_whatever_a_stranger_wrote_becomes_text_that_both_databases_hold(wrote: str, most: int) -> None:
    kept = storable(wrote, most)
    assert len(kept) <= most
    assert "\x00" not in kept
    assert kept.encode("utf-8").decode("utf-8") == kept


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20))
def test_text_that_can_be_held_is_not_touched(held: str) -> None:
    assert storable(held, 20) == held


def test_a_stray_nul_or_half_a_pair_is_shown_to_have_been_there() -> None:
    assert storable("a\x00b\ud83dc", 10) == "a\ufffdb\ufffdc"


def test_a_statement_is_parsed_once() -> None:
    assert statement("SELECT 1") is statement("SELECT 1")
