"""The door to the database: what is tried again, what is not, and what an error may show."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from bulksend.errors import InvalidInput, LedgerUnreachable
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import (
    Database,
    among,
    rows_changed,
    set_lock_timeout,
    set_statement_timeout,
)
from bulksend.ledger.schema import senders

PUT = text("INSERT INTO senders (phone, name, rate, added_at) VALUES (:phone, '', 1, 1)")


def put(tx: Connection, phone: str) -> None:
    tx.execute(PUT, {"phone": phone})


def phones(desk: Any) -> list[str]:
    return [
        phone
        for (phone,) in desk.read(lambda tx: tx.execute(select(senders.c.phone).order_by("phone")).all())
    ]


def test_a_transaction_that_fails_leaves_nothing_behind(desk: Any) -> None:
    def work(tx: Connection) -> None:
        put(tx, "1")
        raise KeyError("halfway")

    with pytest.raises(KeyError):
        desk.write(work)
    assert phones(desk) == []


def test_a_network_that_swallows_packets_holds_no_thread_for_longer_than_half_a_minute(
    postgres_ledger_url: str,
) -> None:
    database = Database(postgres_ledger_url)
    with database.read() as tx:
        connection: Any = tx.connection.driver_connection
        kept = connection.info.get_parameters()
        sock = socket.socket(fileno=os.dup(connection.fileno()))
    with sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 25_000
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
    probed_s = int(kept["keepalives_idle"]) + int(kept["keepalives_interval"]) * int(kept["keepalives_count"])
    assert probed_s <= 30
    database.close()


def durability(tx: Connection) -> object:
    sqlite = tx.dialect.name == "sqlite"
    return tx.exec_driver_sql("PRAGMA synchronous" if sqlite else "SHOW synchronous_commit").scalar_one()


def test_only_what_need_not_last_by_itself_is_not_waited_for(desk: Any) -> None:
    soon, on_disk = (1, 2) if desk.database.is_sqlite else ("off", "on")
    with desk.database.write() as tx:
        assert durability(tx) == on_disk
    with desk.database.write(durable=False) as tx:
        assert durability(tx) == soon
        put(tx, "1")
    assert desk.database.retrying(durability, durable=False) == soon
    with pytest.raises(KeyError), desk.database.write(durable=False) as tx:
        raise KeyError("halfway")
    for _ in range(8):
        assert desk.database.retrying(durability) == on_disk
    assert phones(desk) == ["1"]


def test_a_read_cannot_write_on_postgresql_and_sees_one_state_on_both(desk: Any) -> None:
    desk.write(put, "1")
    with desk.database.read() as tx:
        before = tx.execute(select(senders.c.phone)).all()
        desk.write(put, "2")
        assert tx.execute(select(senders.c.phone)).all() == before
    assert phones(desk) == ["1", "2"]
    if not desk.database.is_sqlite:
        with pytest.raises(DBAPIError, match="read-only"):
            desk.read(put, "3")


def test_after_a_read_the_same_connection_writes_again(desk: Any) -> None:
    for n in range(8):
        desk.read(read_clock)
        desk.write(put, str(n))
    assert len(phones(desk)) == 8


def test_the_clock_is_the_databases_and_runs_in_milliseconds(desk: Any) -> None:
    first, second = desk.now(), desk.now()
    assert 0 <= second - first < 60_000
    assert 1_600_000_000_000 < first < 10_000_000_000_000


def test_a_single_parameter_holds_any_number_of_values(desk: Any) -> None:
    desk.write(put, "7")
    many = [str(n) for n in range(100_000)]
    with desk.database.read() as tx:
        assert tx.execute(
            select(senders.c.phone).where(among(tx, senders.c.phone, many))
        ).scalars().all() == ["7"]
        assert tx.execute(select(senders.c.phone).where(among(tx, senders.c.phone, []))).all() == []


def test_rows_are_counted_for_textual_statements_too(desk: Any) -> None:
    with desk.database.write() as tx:
        assert rows_changed(tx, PUT, {"phone": "1"}) == 1
        assert rows_changed(tx, text("UPDATE senders SET rate = 2 WHERE phone = :phone"), {"phone": "9"}) == 0


def test_what_the_database_asked_to_repeat_is_repeated(desk: Any) -> None:
    """Two transactions in opposite order: on PostgreSQL a deadlock, on SQLite one waits for the other."""
    for phone in ("1", "2"):
        desk.write(put, phone)
    both = threading.Barrier(2)
    raise_rate = text("UPDATE senders SET rate = rate + 1 WHERE phone = :phone")
    tries: list[str] = []

    def worker(first: str, second: str) -> None:
        def work(tx: Connection) -> None:
            tries.append(first)
            tx.execute(raise_rate, {"phone": first})
            if not desk.database.is_sqlite and tries.count(first) == 1:
                both.wait(timeout=60)
            tx.execute(raise_rate, {"phone": second})

        desk.database.retrying(work)

    threads = [threading.Thread(target=worker, args=order) for order in (("1", "2"), ("2", "1"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    with desk.database.read() as tx:
        assert tx.execute(select(senders.c.rate)).scalars().all() == [3.0, 3.0]
    assert len(tries) == (2 if desk.database.is_sqlite else 3)


def test_what_is_wrong_with_the_data_is_not_repeated(desk: Any) -> None:
    tries = []

    def work(tx: Connection) -> None:
        tries.append(1)
        put(tx, "1")
        put(tx, "1")

    with pytest.raises(IntegrityError) as caught:
        desk.database.retrying(work)
    assert len(tries) == 1
    assert "hide_parameters" in str(caught.value)


def test_a_mistake_in_a_statement_is_not_repeated(desk: Any) -> None:
    tries = []

    def work(tx: Connection) -> None:
        tries.append(1)
        tx.execute(text("SELECT nonsense FROM nowhere"))

    with pytest.raises(DBAPIError):
        desk.database.retrying(work)
    assert len(tries) == 1


@pytest.fixture
def nobody_home() -> Iterator[Database]:
    database = Database("postgresql+psycopg://ada:hunter2@127.0.0.1:1/ledger")
    yield database
    database.close()


def test_a_server_that_is_away_is_named_without_its_password(nobody_home: Database) -> None:
    with pytest.raises(LedgerUnreachable) as caught:
        nobody_home.check()
    assert "127.0.0.1:1/ledger" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_patience_with_a_server_that_is_away_ends(nobody_home: Database) -> None:
    with pytest.raises(LedgerUnreachable, match=r"127\.0\.0\.1"):
        nobody_home.retrying(read_clock, patience_s=0.05)


def refusal(database: Database, work: Callable[[Connection], Any]) -> str:
    """What a transaction raises."""

    def write() -> None:
        with database.translated_errors(), database.write() as tx:
            work(tx)

    with pytest.raises(LedgerUnreachable) as raised:
        write()
    return str(raised.value)


def test_connections_that_all_stay_in_use_are_named_as_the_cause(ledger_url: str) -> None:
    with closing(Database(ledger_url, pool_size=1, pool_timeout_s=0.05)) as database, ExitStack() as readers:
        most = 1 + 10  # pool_size and what it may have beyond that
        for _ in range(most):
            readers.enter_context(database.read())
        assert "all connections of this process are in use" in refusal(database, lambda tx: put(tx, "1"))


def test_a_lock_and_a_slow_statement_are_no_lost_network(postgres_ledger_url: str) -> None:
    def wait(tx: Connection) -> None:
        set_lock_timeout(tx, 50)
        put(tx, "1")

    def take_long(tx: Connection) -> None:
        set_statement_timeout(tx, 50)
        tx.execute(text("SELECT pg_sleep(60)"))

    with closing(Database(postgres_ledger_url)) as database, database.write() as holder:
        holder.execute(text("LOCK TABLE senders IN ACCESS EXCLUSIVE MODE"))
        assert "a transaction holds a lock for long" in refusal(database, wait)
        assert "a statement took too long" in refusal(database, take_long)


def test_a_lost_connection_is_replaced(desk: Any) -> None:
    if desk.database.is_sqlite:
        desk.database.close()
    else:
        desk.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'bulksend'"
        )
    assert desk.database.retrying(read_clock) > 0


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_ledger_in_memory_is_refused_since_it_would_not_survive_us(url: str) -> None:
    with pytest.raises(InvalidInput, match="DATABASE_URL"):
        Database(url)


def test_on_sqlite_a_writer_looks_for_the_lock_again_and_again(tmp_path: Path) -> None:
    """SQLite itself looks seldom: the other connection ends its transaction only once this one has looked often."""
    url, looks = f"sqlite:///{tmp_path / 'ledger.db'}", threading.Semaphore(0)

    def trace(driver: Any, _: object) -> None:
        driver.set_trace_callback(lambda sql: looks.release() if sql == "BEGIN IMMEDIATE" else None)

    def write() -> None:
        with ours.write():
            pass

    with closing(Database(url)) as ours, closing(Database(url)) as others:
        event.listen(ours.engine, "connect", trace)
        with ThreadPoolExecutor(1) as pool:
            with others.write():
                writing = pool.submit(write)
                assert all(looks.acquire(timeout=10) for _ in range(20))
            writing.result(10)


def test_a_sqlite_ledger_survives_a_power_cut_and_serves_readers_while_it_writes(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    with database.read() as tx:
        pragmas = {
            name: tx.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    database.close()
