"""A ledger that cannot be used as it is set up: who says so, in what words, and with which exit code.

Cases 11 (a pooler in transaction mode), 14 (encodings) and the ledger's part of 23 (remedies); a ledger that is newer
than the program; file modes.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from bulksend.errors import InvalidInput, LedgerUnfit, LedgerUnreachable, SchemaNewer
from bulksend.ledger import installation
from bulksend.ledger.database import Database
from bulksend.ledger.migrate import check_schema, migrate, newest_revision
from bulksend.ledger.readiness import check_ledger_works
from bulksend.operations.doctor import examine
from bulksend.settings import Settings
from producer import InvalidInput as ExportedInvalidInput
from producer import LedgerUnreachable as ExportedUnreachable
from producer import Producer
from tests.acceptance.many_commands import Shell
from tests.pooler import TransactionPooler

ROOT = Path(__file__).resolve().parents[2]
CELERY = (sys.executable, "-m", "celery", "-A", "worker", "worker")


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(shell: Shell) -> Run:
    """Runs ``bulksend …`` in a folder; Celery's own command is a process from its beginning."""

    def run(*words: str, folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
        environ = {n: v for n, v in os.environ.items() if not n.startswith(("BULKSEND_", "USPEEDO_", "PG"))}
        environ |= {"USPEEDO_ACCESSKEY_ID": "id", "USPEEDO_ACCESSKEY_SECRET": "hush"}
        environ |= {"PYTHONPATH": str(ROOT), "REDIS_URL": "redis://127.0.0.1:1/0"} | changes
        if words[:1] != CELERY[:1]:
            return shell.run(words, environ, folder)
        return subprocess.run(
            words, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
        )

    return run


@pytest.fixture
def admin(postgres_server_url: str) -> Iterator[psycopg.Connection]:
    plain = make_url(postgres_server_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        yield connection


def at_port(url: str, port: int, **changed: str) -> str:
    return make_url(url).set(host="127.0.0.1", port=port, **changed).render_as_string(hide_password=False)


# -- case 14 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_of_another_encoding_is_refused_everywhere(
    admin: psycopg.Connection, postgres_server_url: str, tmp_path: Path, encoding: str, run: Run
) -> None:
    name = f"bulksend_{encoding.lower()}"
    admin.execute(
        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'".encode()
    )
    url = make_url(postgres_server_url).set(database=name).render_as_string(hide_password=False)
    try:
        for command in (["migrate"], ["campaigns", "list"], ["worker"], ["relay"]):
            done = run(*command, folder=tmp_path, DATABASE_URL=url)
            assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr[-2000:]
            assert f"is in {encoding}" in done.stderr
            assert "ENCODING UTF8" in done.stderr
        doctor = run("doctor", "--json", folder=tmp_path, DATABASE_URL=url)
        found = json.loads(doctor.stdout)["findings"][0]
        assert (found["about"], found["well"], encoding in found["found"]) == ("ledger", False, True)
    finally:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


# -- case 11 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ignores_options", [False, True], ids=["refuses options", "ignores options"])
def test_a_pooler_in_transaction_mode_is_refused_with_the_setting_that_makes_it_work(
    postgres_ledger_url: str, tmp_path: Path, ignores_options: bool, run: Run
) -> None:
    pooler = TransactionPooler(make_url(postgres_ledger_url).port or 0, ignores_options=ignores_options)
    url = at_port(postgres_ledger_url, pooler.port)
    try:
        for command in ("migrate", "worker", "relay"):
            done = run(command, folder=tmp_path, DATABASE_URL=url)
            assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr[-2000:]
            assert "BULKSEND_POOLER=transaction" in done.stderr
    finally:
        pooler.close()


def test_prepared_statements_that_get_lost_are_found_by_trying(
    postgres_ledger_url: str, admin: psycopg.Connection
) -> None:
    """Startup options that the pooler's own configuration happens to have: only the statement itself tells."""
    name = make_url(postgres_ledger_url).database
    admin.execute(f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '60s'".encode())
    pooler = TransactionPooler(make_url(postgres_ledger_url).port or 0, ignores_options=True)
    database = Database(at_port(postgres_ledger_url, pooler.port))
    try:
        database.check()
        with pytest.raises(LedgerUnfit, match="BULKSEND_POOLER=transaction"):
            check_ledger_works(database)
    finally:
        database.close()
        pooler.close()


def test_with_the_setting_everything_works_through_a_pooler(
    postgres_url: str, tmp_path: Path, run: Run
) -> None:
    pooler = TransactionPooler(make_url(postgres_url).port or 0)
    url = at_port(postgres_url, pooler.port)
    database = Database(url, pooled=True, by_key=True)
    try:
        pooled = {"DATABASE_URL": url, "BULKSEND_POOLER": "transaction"}
        assert run("migrate", folder=tmp_path, **pooled).returncode == 0
        check_ledger_works(database)
        for _ in range(20):
            with database.write() as tx:
                kept = tx.execute(
                    text("SELECT current_setting('lock_timeout'), current_setting('enable_seqscan')")
                )
                assert kept.one() == ("10s", "off")
        producer = Producer.from_settings(Settings.from_env(pooled))
        for number in range(20):
            receipt = producer.send(
                to=f"4477009001{number:02d}",
                sender="8615000579987",
                kind="marketing",
                type="text",
                content={"body": "hello"},
                key=f"k{number}",
            )
            assert receipt.status == "queued"
        producer.close()
        with database.read() as tx:
            assert tx.execute(text("SELECT count(*) FROM messages")).scalar_one() == 20
    finally:
        database.close()
        pooler.close()


# -- case 23 -----------------------------------------------------------------------------------------------------


@pytest.fixture
def weak(admin: psycopg.Connection, postgres_ledger_url: str) -> Iterator[str]:
    """The URL of a user without any right."""
    admin.execute("DROP ROLE IF EXISTS bulksend_weak")
    admin.execute("CREATE ROLE bulksend_weak LOGIN PASSWORD 'hush'")
    yield make_url(postgres_ledger_url).set(username="bulksend_weak").render_as_string(hide_password=False)
    owner = Database(postgres_ledger_url)
    with owner.write() as tx:
        tx.execute(text("DROP OWNED BY bulksend_weak"))
    owner.close()
    admin.execute("DROP ROLE bulksend_weak")


def test_missing_rights_in_the_tables_are_named(weak: str, tmp_path: Path, run: Run) -> None:
    for command in ("worker", "relay"):
        done = run(command, folder=tmp_path, DATABASE_URL=weak)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr[-2000:]
        assert "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public" in done.stderr


def test_doctor_names_the_missing_rights_among_its_other_checks(weak: str) -> None:
    found = {check.about: check for check in examine(Settings.from_env({"DATABASE_URL": weak})).checks}
    assert "permission denied" in found["ledger"].found
    assert found["ledger"].remedy.startswith(
        "as the owner: GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES"
    )
    assert "credentials" in found


def test_a_user_that_may_read_but_not_write_is_found_by_trying(weak: str, postgres_ledger_url: str) -> None:
    owner = Database(postgres_ledger_url)
    with owner.write() as tx:
        tx.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO bulksend_weak"))
    owner.close()
    database = Database(weak)
    database.check()
    with pytest.raises(LedgerUnfit, match="may not INSERT in"):
        check_ledger_works(database)
    database.close()


def test_a_schema_without_create_names_the_grant(
    admin: psycopg.Connection, weak: str, postgres_url: str, tmp_path: Path, run: Run
) -> None:
    url = make_url(weak).set(database=make_url(postgres_url).database).render_as_string(hide_password=False)
    done = run("migrate", folder=tmp_path, DATABASE_URL=url)
    assert done.returncode == 2, done.stderr
    assert "GRANT CREATE, USAGE ON SCHEMA public" in done.stderr


def test_a_database_that_is_not_there_names_createdb(postgres_url: str, tmp_path: Path, run: Run) -> None:
    url = make_url(postgres_url).set(database="nowhere").render_as_string(hide_password=False)
    done = run("migrate", folder=tmp_path, DATABASE_URL=url)
    assert (done.returncode, "createdb" in done.stderr) == (2, True), done.stderr


def test_a_closed_port_and_an_unknown_host_are_told_apart() -> None:
    for host, said in (
        ("127.0.0.1:1", "nothing listens there"),
        ("nowhere.invalid:5432", "host name is not known"),
    ):
        database = Database(f"postgresql+psycopg://bs:hush@{host}/x")
        with pytest.raises(LedgerUnreachable) as found:
            database.check()
        assert said in str(found.value)
        assert "hush" not in str(found.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://bs:p@ss#1@host/db",
        "postgresql://bs:p@ss@host/db",
        "postgresql://bs:p@ss/1@host:5432/db",
        "redis://:p@ss#1@host:6379/0",
        "redis://:pa#ss@host:6379/0",
        "redis://:pa/ss@host:6379/0",
        "redis://u:1/23pass@host/0",
        "redis://:pa?ss@host:6379/0",
    ],
)
def test_a_bare_special_character_in_a_password_is_explained_and_never_shown(url: str) -> None:
    name = "DATABASE_URL" if url.startswith("post") else "REDIS_URL"
    with pytest.raises(InvalidInput) as found:
        Settings.from_env({name: url})
    assert "percent-encode @ : / # ? % in the password" in str(found.value)
    assert url.split("://")[1].split("@host")[0].split(":")[-1] not in str(found.value)


@pytest.mark.parametrize("inside", ["missing/ledger.db", "."], ids=["no folder", "a folder"])
def test_a_sqlite_file_that_cannot_be_made_is_explained(tmp_path: Path, inside: str, run: Run) -> None:
    done = run("campaigns", "list", folder=tmp_path, DATABASE_URL=f"sqlite:///{tmp_path}/{inside}")
    assert done.returncode == 2, done.stderr
    assert "docker" not in done.stderr
    assert ("is not there" if "missing" in inside else "is a folder") in done.stderr


def test_a_file_that_is_no_database_is_explained(tmp_path: Path, run: Run) -> None:
    (tmp_path / "x.db").write_text("not a database at all " * 100)
    done = run("campaigns", "list", folder=tmp_path, DATABASE_URL=f"sqlite:///{tmp_path}/x.db")
    assert (done.returncode, "no SQLite database" in done.stderr) == (2, True), done.stderr


# -- a newer ledger; the package's own errors ----------------------------------------------------------------------


def become_newer(ledger: Database, *, compatible_with: str) -> None:
    """As a newer program migrates it."""
    with ledger.write() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        installation.put(tx, "compatible_with", compatible_with.encode())


def test_a_program_may_start_beside_the_newer_one_that_says_so(ledger: Database) -> None:
    become_newer(ledger, compatible_with=newest_revision())
    check_schema(ledger)
    with pytest.raises(SchemaNewer):
        migrate(ledger)


def test_a_ledger_newer_than_the_program_is_left_alone_in_one_sentence(
    ledger: Database, ledger_url: str, tmp_path: Path, run: Run
) -> None:
    become_newer(ledger, compatible_with="9998")
    with pytest.raises(SchemaNewer, match="newer than this program"):
        check_schema(ledger)
    with pytest.raises(SchemaNewer):
        migrate(ledger)
    for command in (["migrate"], ["campaigns", "list"], ["worker"]):
        done = run(*command, folder=tmp_path, DATABASE_URL=ledger_url)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr[-1500:]
        assert "update bulksend" in done.stderr


def test_celerys_own_command_says_what_is_wrong_with_the_ledger_and_ends(
    database_url: str, tmp_path: Path, valkey_url: str, run: Run
) -> None:
    done = run(*CELERY, folder=tmp_path, DATABASE_URL=database_url, REDIS_URL=valkey_url)
    assert done.returncode != 0
    assert "has no tables yet" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_producer_raises_errors_of_its_own_package(tmp_path: Path) -> None:
    message = {"sender": "8615000579987", "kind": "marketing", "type": "text", "content": {"body": "x"}}
    nowhere = Producer.from_settings(
        Settings.from_env({"DATABASE_URL": "postgresql://bs:hush@127.0.0.1:1/x"})
    )
    with pytest.raises(ExportedUnreachable, match="nothing listens there"):
        nowhere.send(to="447700900123", **message)
    nowhere.close()
    empty = Producer.from_settings(Settings.from_env({"DATABASE_URL": f"sqlite:///{tmp_path}/empty.db"}))
    with pytest.raises(ExportedInvalidInput, match="bulksend migrate"):
        empty.send(to="447700900123", **message)
    with pytest.raises(ExportedInvalidInput, match="bulksend migrate"):
        empty.submit(name="n", rows=[{"to": "447700900123"}], **message)
    empty.close()


# -- file modes ----------------------------------------------------------------------------------------------------


def test_a_ledger_file_is_its_users_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        database = Database(f"sqlite:///{tmp_path}/ledger.db")
        migrate(database)
        with database.read():
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
        database.close()
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600}, modes


@pytest.mark.parametrize(
    ("before", "after"),
    [(0o644, 0o600), (0o666, 0o660), (0o664, 0o660), (0o640, 0o640), (0o600, 0o600)],
    ids=oct,
)
def test_an_earlier_programs_ledger_is_closed_to_others_when_it_is_opened(
    tmp_path: Path, before: int, after: int
) -> None:
    """A group that was given rights keeps them: it shares the ledger on purpose."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    holder = Database(url)
    migrate(holder)
    with holder.read():  # -wal and -shm are there as long as one connection is
        for file in tmp_path.iterdir():
            file.chmod(before)
        second = Database(url)
        with second.read():
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
        second.close()
    holder.close()
    assert len(modes) == 3
    assert set(modes.values()) == {after}, modes


def test_what_a_command_writes_is_its_users_alone(tmp_path: Path, run: Run) -> None:
    (tmp_path / "c.json").write_text('{"body": "hello"}')
    (tmp_path / "p.csv").write_text("to\n447700900123\n")
    here = f"sqlite:///{tmp_path}/ledger.db"
    sent = run(
        *("send", "p.csv", "--sender", "8615000579987", "--type", "text", "--content", "c.json"),
        *("--kind", "marketing", "--name", "s"),
        folder=tmp_path,
        DATABASE_URL=here,
        REDIS_URL="",
    )
    assert sent.returncode == 0, sent.stderr
    assert run("export", "s", "-o", "out.csv", folder=tmp_path, DATABASE_URL=here).returncode == 0
    assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) == 0o600
