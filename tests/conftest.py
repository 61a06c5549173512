"""Servers for the tests: one Valkey and one PostgreSQL a test process, started when a test first asks.

valkey_url           URL of an empty Valkey
valkey               a redis-py client of it
postgres_url         an empty PostgreSQL database; on TEST_DATABASE_URL's server if that is set
postgres_ledger_url  the same with the ledger's schema in it
database_url         an empty database, once on SQLite and once on PostgreSQL
ledger_url           a ledger with its schema and no rows, once on each
ledger               the same as an open ``Database``
shell                runs commands, each a process of its own that begins with everything imported
"""

from __future__ import annotations

import fcntl
import gc
import itertools
import os
import shutil
import tempfile
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import redis
from hypothesis import HealthCheck, settings
from psycopg import sql
from sqlalchemy.engine import make_url

from bulksend.ledger.database import Database
from bulksend.ledger.migrate import migrate
from bulksend.settings import Settings
from ops.local.postgres import EmbeddedPostgres
from ops.local.valkey import EmbeddedValkey
from tests.in_memory import make_folder
from tests.ledger_rows import LedgerRows, connect

if TYPE_CHECKING:
    from tests.acceptance.many_commands import Shell

BACKENDS = ("sqlite", "postgresql")

# Hypothesis would judge by the clock: one example of a property that takes 200 ms, or one second of slow dice, because
# the machine stood still for a moment, fails the test. What must be quick is measured in bench/, or counted in steps.
# Fixtures of a function are shared by all examples of its property; those that use them know.
settings.register_profile(
    "by what is right",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("by what is right")


# Until all tests are there: hardly anything of that time is garbage, and the collector would look at it all many times.
gc.disable()

_IN_MEMORY = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Temporary files are in memory, unless TMPDIR says where. What this process starts has its environment."""
    if "TMPDIR" not in os.environ and (folder := make_folder()) is not None:
        config.stash[_IN_MEMORY] = folder
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """After a failure the files stay until the next run: its cause may be in there."""
    folder = session.config.stash.get(_IN_MEMORY, None)
    if folder is not None and exitstatus == pytest.ExitCode.OK:
        session.config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


class Room:
    """The machine, which xdist's processes share; but for tests marked ``alone``, which have it to themselves.

    What such a test measures, a rate on the wire, is not to be had beside another test on the same two cores. Those
    that follow one another keep it: to let others in between would be to wait for the end of the slowest of them.
    """

    def __init__(self, run: str) -> None:
        folder = Path(tempfile.gettempdir())
        self._turn = (folder / f"bulksend-turn-{run}").open("w")
        self._room = (folder / f"bulksend-room-{run}").open("w")
        self._is_kept = False

    def enter(self, *, alone: bool) -> None:
        if self._is_kept:
            return
        how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        # A test that waits to be alone keeps the turnstile closed: later ones would go in before it.
        fcntl.flock(self._turn, how)
        if not alone:
            fcntl.flock(self._turn, fcntl.LOCK_UN)
        fcntl.flock(self._room, how)

    def leave(self, *, keep: bool) -> None:
        self._is_kept = keep
        if not keep:
            fcntl.flock(self._room, fcntl.LOCK_UN)
            fcntl.flock(self._turn, fcntl.LOCK_UN)


_ROOM = pytest.StashKey[Room]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """A test marked ``alone`` has the machine to itself: xdist's other workers wait between two tests."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        return (yield)
    if _ROOM not in item.config.stash:
        item.config.stash[_ROOM] = Room(run)
    room, alone = item.config.stash[_ROOM], _is_alone(item)
    room.enter(alone=alone)
    try:
        return (yield)
    finally:
        room.leave(keep=alone and nextitem is not None and _is_alone(nextitem))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each process of xdist begins with its share of the slow rooms, so that the last minutes are of quick tests.

    The first one begins with the tests that are alone: no other test has to end before them.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes == 1:
        return
    shares: list[list[pytest.Item]] = [[] for _ in range(processes)]
    shares[0] += filter(_is_alone, items)
    others = list(itertools.filterfalse(_is_alone, items))
    slow = itertools.groupby(filter(_is_slow, others), lambda item: item.path)
    for number, (_, of_one_file) in enumerate(slow, 1):
        shares[number % processes] += of_one_file
    quick = list(itertools.filterfalse(_is_slow, others))
    left, items[:] = len(items), []
    for number, share in enumerate(shares):
        # As worksteal cuts the list.
        size = left // (processes - number)
        left -= size
        fill = max(0, size - len(share))
        items += share + quick[:fill]
        quick = quick[fill:]
    items += quick


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


def pytest_collection_finish() -> None:
    """What all tests are made of stays until the end: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()
    gc.enable()


def _is_slow(item: pytest.Item) -> bool:
    """Whether it is of real processes or a browser, by its room."""
    room = item.path.relative_to(Path(__file__).parent).parts[:-1]
    return room in (("acceptance",), ("browser",), ("faults",), ("integration",))


@pytest.fixture(scope="session")
def valkey_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedValkey(tmp_path_factory.mktemp("valkey"), durable=False)
    yield server.start()
    server.stop()


@pytest.fixture
def valkey_url(valkey_server_url: str) -> str:
    with redis.Redis.from_url(valkey_server_url) as client:
        client.flushall()
    return valkey_server_url


@pytest.fixture
def valkey(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


class Databases:
    """Makes databases on a PostgreSQL server, and drops them again."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        plain = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._admin = psycopg.connect(plain, autocommit=True)

    def new(self, template: str = "template0") -> str:
        """URL of a new UTF-8 database, a copy of ``template``."""
        name = f"bulksend_test_{uuid.uuid4().hex}"
        self._admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8'".encode())
        return self._url.set(database=name).render_as_string(hide_password=False)

    def rename(self, url: str) -> str:
        """Its URL by a new name. Raises psycopg.Error where a client of the old name comes back again and again."""
        old, new = make_url(url).database or "", f"bulksend_test_{uuid.uuid4().hex}"
        self._admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [old]
        )
        self._admin.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new))
        )
        return self._url.set(database=new).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Drop it, whoever is still connected."""
        self._admin.execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)".encode())

    def close(self) -> None:
        self._admin.close()


#: Tables, their rows as planners know them, columns, constraints, indexes, triggers, functions, sequences, settings.
_CATALOG = """
SELECT md5(string_agg(line, chr(10) ORDER BY line)) FROM (
  SELECT concat('c', relname, relkind, relpersistence, relacl, reloptions, CASE relkind WHEN 'r' THEN reltuples END)
  FROM pg_class WHERE relnamespace = 'public'::regnamespace
  UNION ALL SELECT concat('a', attrelid::regclass, attname, atttypid, attnotnull, attstattarget)
  FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid WHERE relnamespace = 'public'::regnamespace AND attnum > 0
  UNION ALL SELECT concat('k', conname, convalidated) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
  UNION ALL SELECT concat('i', indexrelid::regclass, indisvalid) FROM pg_index WHERE indexrelid >= 16384
  UNION ALL SELECT concat('t', tgrelid::regclass, tgname, tgenabled) FROM pg_trigger WHERE NOT tgisinternal
  UNION ALL SELECT concat('f', proname, prosrc) FROM pg_proc WHERE oid >= 16384
  UNION ALL SELECT concat('n', nspname) FROM pg_namespace WHERE nspname !~ '^pg_'
  UNION ALL SELECT concat('s', sequencename, last_value) FROM pg_sequences WHERE schemaname = 'public'
  UNION ALL SELECT concat('p', starelid::regclass, staattnum) FROM pg_statistic WHERE starelid >= 16384
  UNION ALL SELECT concat('d', setconfig) FROM pg_db_role_setting, pg_database
  WHERE setdatabase = pg_database.oid AND datname = current_database()
) AS lines (line)
"""


class Ledgers:
    """PostgreSQL databases with the ledger's schema and what ``template`` has in it.

    One that a test gives back is emptied and renamed for the next one: that takes a fraction of a copy. One of which
    more than its rows has changed is dropped.
    """

    def __init__(self, databases: Databases, template: str) -> None:
        self._databases, self._template = databases, template
        self._idle: list[str] = []
        first = databases.new(template)
        with connect(first) as connection:
            self._catalog = connection.execute(_CATALOG).fetchone()
            self._rows = LedgerRows.read(connection)
        databases.drop(first)

    def take(self) -> str:
        """URL of a ledger that no other test has."""
        return self._idle.pop() if self._idle else self._databases.new(self._template)

    def give_back(self, url: str) -> None:
        """It may be used for another test."""
        try:
            url = self._databases.rename(url)
        except psycopg.Error:
            self._databases.drop(url)
            return
        with connect(url) as connection:
            self._rows.replace(connection)
            is_as_before = connection.execute(_CATALOG).fetchone() == self._catalog
        if is_as_before:
            self._idle.append(url)
        else:
            self._databases.drop(url)

    def close(self) -> None:
        """Drop what is idle."""
        for url in self._idle:
            self._databases.drop(url)


@pytest.fixture(scope="session")
def shell() -> Iterator[Shell]:
    """Of all tests for which it is no matter that a command imports its modules for itself."""
    from tests.acceptance.many_commands import Shell

    with Shell() as shell:
        yield shell


@pytest.fixture(scope="session")
def postgres_server_url() -> Iterator[str]:
    """A PostgreSQL server on which we may make databases."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield Settings.from_env({"DATABASE_URL": given}).database_url_text()
        return
    server = EmbeddedPostgres()
    yield server.start()
    server.remove()


@pytest.fixture(scope="session")
def postgres_databases(postgres_server_url: str) -> Iterator[Databases]:
    databases = Databases(postgres_server_url)
    yield databases
    databases.close()


@pytest.fixture(scope="session")
def postgres_template(postgres_databases: Databases) -> Iterator[str]:
    """Name of a database with the ledger's schema: copying it takes a tenth of migrating."""
    url = postgres_databases.new()
    _migrate(url)
    yield str(make_url(url).database)
    postgres_databases.drop(url)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the ledger's schema."""
    file = tmp_path_factory.mktemp("template") / "ledger.db"
    _migrate(f"sqlite:///{file}")
    return file


def _migrate(url: str) -> None:
    database = Database(url)
    migrate(database)
    database.close()


@pytest.fixture
def postgres_url(postgres_databases: Databases) -> Iterator[str]:
    url = postgres_databases.new()
    yield url
    postgres_databases.drop(url)


@pytest.fixture(scope="session")
def postgres_ledgers(postgres_databases: Databases, postgres_template: str) -> Iterator[Ledgers]:
    ledgers = Ledgers(postgres_databases, postgres_template)
    yield ledgers
    ledgers.close()


@pytest.fixture
def postgres_ledger_url(postgres_ledgers: Ledgers) -> Iterator[str]:
    url = postgres_ledgers.take()
    yield url
    postgres_ledgers.give_back(url)


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(params=BACKENDS)
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_ledger_url"))
    file = tmp_path / "ledger.db"
    shutil.copyfile(request.getfixturevalue("sqlite_template"), file)
    return f"sqlite:///{file}"


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Database]:
    database = Database(ledger_url)
    yield database
    database.close()
