"""What the life of a batch costs PostgreSQL: a measure that does not depend on the speed of the machine.

CPU time varies on a shared machine; statements and rows written are counted exactly. A statement more for each batch,
or a row more for each message, fails these tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from bulksend.ledger.claim import claim
from bulksend.ledger.database import Database
from bulksend.ledger.settle import settle_in_one_statement
from bulksend.ledger.write_ahead import open_in_one_statement
from bulksend.messaging.outcome import Accepted
from tests.integration.ledger.conftest import ACCOUNT, Desk
from worker.session.campaign_cache import CampaignCache
from worker.session.store import Store

BATCH = 100


@pytest.fixture
def desk(postgres_ledger_url: str) -> Iterator[Desk]:
    database = Database(postgres_ledger_url, by_key=True)
    yield Desk(database)
    database.close()


def answers(desk: Desk, openings: list[Any]) -> list[Any]:
    return [desk.settlement(o, Accepted(f"mid-{o.message.id}", "rid")) for o in openings]


# -- rows written ---------------------------------------------------------------------------------------------------

_WRITTEN = "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_xact_user_tables"


def written(desk: Desk, work: Callable[[Connection], object]) -> dict[str, int]:
    """How many rows ``work`` wrote in each table that has a row for each message."""
    with desk.database.write() as tx:
        before = Counter(dict(tx.execute(text(_WRITTEN)).all()))
        work(tx)
        after = Counter(dict(tx.execute(text(_WRITTEN)).all()))
    return {table: rows for table, rows in (after - before).items() if rows >= BATCH}


def test_the_row_of_a_message_is_written_once_in_its_life(desk: Desk) -> None:
    ids, lease = desk.queued(n=BATCH), desk.lease()
    of = {"lease": lease, "account": ACCOUNT}
    assert written(desk, lambda tx: claim(tx, ids, **of)) == {"in_flight": BATCH}
    openings = desk.openings(desk.claim(lease, ids))
    assert written(desk, lambda tx: open_in_one_statement(tx, openings, **of)) == {"in_flight": BATCH}
    settled = written(desk, lambda tx: settle_in_one_statement(tx, answers(desk, openings)))
    assert settled == {"in_flight": BATCH, "messages": BATCH, "attempts": BATCH}
    assert desk.broken() == {}


# -- statements -----------------------------------------------------------------------------------------------------


@contextmanager
def statements_of(database: Database) -> Iterator[list[str]]:
    """The statements that go to the server meanwhile; a transaction's BEGIN and COMMIT count as well."""
    seen: list[str] = []
    heard: dict[str, Callable[..., None]] = {
        "before_cursor_execute": lambda _connection, _cursor, sql, *_: seen.append(str(sql)),
        "begin": lambda _connection: seen.append("BEGIN"),
        "commit": lambda _connection: seen.append("COMMIT"),
    }
    for name, hear in heard.items():
        event.listen(database.engine, name, hear)
    try:
        yield seen
    finally:
        for name, hear in heard.items():
            event.remove(database.engine, name, hear)


def test_each_step_of_a_batch_is_one_statement(desk: Desk) -> None:
    store = Store(desk.database, CampaignCache(desk.cipher, default_rate=80), name="host:1", account=ACCOUNT)
    lease, _ = store.take_lease(60_000)
    # The first batch has campaign and senders read, which are kept.
    store.claim(desk.queued(n=1), lease)
    ids = desk.queued(n=BATCH)
    store.claim(ids[:1], lease)
    with statements_of(desk.database) as claiming:
        claimed = store.claim(ids, lease)
    openings = desk.openings(claimed)
    with statements_of(desk.database) as opening:
        assert len(store.open(openings, lease)) == BATCH
    with statements_of(desk.database) as settling:
        store.settle(answers(desk, openings))
    steps = {"claim": claiming, "open": opening, "settle": settling}
    assert {step: len([s for s in seen if s not in ("BEGIN", "COMMIT")]) for step, seen in steps.items()} == {
        "claim": 1,
        "open": 1,
        "settle": 1,
    }
    assert desk.broken() == {}
