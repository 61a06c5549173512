"""COPY: what comes out is what went in, a lost connection is tried again, and an error tells nothing private."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from bulksend.ledger.copy import copy_in
from bulksend.ledger.database import Database, is_transient

COPY = "COPY suppressions (subject, scope, reason, source, added_at) FROM STDIN"
TELLING = st.text(
    st.sampled_from("a\\\"'{},\tNn\r\n.é😀")
    | st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
    min_size=1,
    max_size=40,
)


@pytest.fixture
def server(postgres_ledger_url: str, desk_of: Callable[[Database], Any]) -> Iterator[Any]:
    database = Database(postgres_ledger_url)
    yield desk_of(database)
    database.close()


@settings(max_examples=50, deadline=None)
@given(st.lists(TELLING, min_size=1, max_size=5, unique=True))
def test_a_key_of_any_characters_is_stored_as_it_is_and_found_again(desk: Any, keys: list[str]) -> None:
    campaign = desk.campaign()
    chosen = [desk.new_message(row, key=key, explicit_key=True) for row, key in enumerate(keys, start=1)]
    taken = desk.take(campaign, *chosen)
    assert [desk.row(id)["key"] for id in taken.ready] == keys
    assert desk.take(campaign, *chosen).duplicates == len(keys)


def test_a_value_that_a_table_refuses_is_not_told(server: Any) -> None:
    lines = ["447700900123\tall\tprivate\tbench\t1\n"] * 2
    with pytest.raises(DBAPIError) as caught, server.database.write() as tx:
        copy_in(tx, COPY, lines)
    assert "duplicate key" in str(caught.value)
    told = f"{caught.value} {caught.value.orig!r} {caught.value.__context__!r}"
    assert "447700900123" not in told
    assert not is_transient(caught.value)
    assert server.scalar("SELECT count(*) FROM suppressions") == 0


def test_a_connection_that_is_lost_on_the_way_is_replaced_and_the_rows_go_in_once(server: Any) -> None:
    lost = threading.Event()

    def work(tx: Connection) -> int:
        own = tx.execute(text("SELECT pg_backend_pid()")).scalar_one()
        if not lost.is_set():
            lost.set()
            server.sql("SELECT pg_terminate_backend(:pid, 5000)", pid=own)
        copy_in(tx, COPY, ["447700900123\tall\tasked\thand\t1\n"])
        return int(own)

    server.database.retrying(work)
    assert server.scalar("SELECT count(*) FROM suppressions") == 1
