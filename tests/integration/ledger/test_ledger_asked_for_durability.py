"""``doctor`` asks PostgreSQL what a crash or a failover may lose (issue 14, A3)."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from bulksend.ledger.database import Database
from bulksend.ledger.durability import Durability, durability


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (Durability(True, True, 0), None),
        (Durability(True, True, 2), None),
        (Durability(False, True, 0), "fsync off"),
        (Durability(True, False, 0), "full_page_writes off"),
        (Durability(False, False, 0), "fsync and full_page_writes off"),
    ],
)
def test_what_a_crash_may_lose_is_named(found: Durability, says: str | None) -> None:
    unsafe = found.unsafe()
    assert unsafe is None if says is None else (unsafe or "").startswith(says)


def test_the_server_is_asked(postgres_ledger_url: str) -> None:
    database = Database(postgres_ledger_url)
    with database.read() as tx:
        found = durability(tx)
        fsync = tx.execute(text("SHOW fsync")).scalar_one()
    assert found.fsync == (fsync == "on")
    assert found.asynchronous == 0
    database.close()
