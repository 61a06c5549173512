"""Errors of the database driver as errors of ours: the cause and the remedy of each.

A fatal problem (a wrong password, a missing right, an encoding) ends a worker at its start. A worker outlives one
that may pass (away, full, locked).
"""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy.exc import DataError, DBAPIError

from bulksend.errors import InvalidInput, LedgerUnfit, LedgerUnreachable, ServerProblem

#: SQLSTATEs of a prepared statement that the session does not know, or knows from another connection.
LOST_PREPARED = ("26000", "42P05")
POOLER = (
    "a pooler in transaction mode stands before it",
    "set BULKSEND_POOLER=transaction, or use its session mode or the direct port",
)


def _fatal(what: str, remedy: str) -> ServerProblem:
    return ServerProblem(what, remedy, fatal=True)


def _transient(what: str, remedy: str) -> ServerProblem:
    return ServerProblem(what, remedy, fatal=False)


_START = "start it, e.g. with `docker compose up -d postgres`, or set DATABASE_URL"
#: By SQLSTATE where there is one, or a part of the text: libpq has no states for a connection that is not made.
_CAUSES: tuple[tuple[tuple[str, ...], ServerProblem], ...] = (
    (
        ("28P01", "password authentication failed", "no password supplied"),
        _fatal(
            "the password or the user is wrong",
            "check both in DATABASE_URL, and percent-encode @ : / # ? % in the password",
        ),
    ),
    (
        ("pg_hba.conf", "28000"),
        _fatal(
            "the server refuses this user from here", "see its pg_hba.conf, and the user's right to log in"
        ),
    ),
    (
        ("3D000", "3d000"),
        _fatal("there is no such database", "create it: createdb --encoding UTF8 --template template0 NAME"),
    ),
    (
        ("permission denied for schema", "permission denied for database"),
        _fatal(
            "the user may not make tables there",
            "as the owner: GRANT CREATE, USAGE ON SCHEMA public TO the user of DATABASE_URL",
        ),
    ),
    (
        ("42501",),
        _fatal(
            "the user lacks a right",
            "as the owner: GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public "
            "TO the user of DATABASE_URL",
        ),
    ),
    (("unsupported startup parameter", *LOST_PREPARED), _fatal(*POOLER)),
    (
        ("42P01", "42703", "no such table", "no such column"),
        _fatal("its schema is not this program's", "bulksend migrate"),
    ),
    (
        ("certificate verify failed", "root certificate", "certificate"),
        _fatal(
            "the server's certificate is not trusted",
            "add ?sslmode=verify-full&sslrootcert=FILE to DATABASE_URL, with the authority's certificate",
        ),
    ),
    (
        ("does not support SSL",),
        _fatal("the server speaks no TLS", "leave sslmode out of DATABASE_URL, or set up TLS there"),
    ),
    (
        ("53100", "o space left", "disk is full"),
        _transient("the disk is full", "make room on the ledger's disk"),
    ),
    (
        ("53300", "too many clients", "too many connections", "remaining connection slots"),
        _transient("it takes no more connections", "raise max_connections, or use a pooler"),
    ),
    (
        # A replica refuses the beginning of a transaction that writes, with the SQLSTATE of what it does not support.
        ("25006", "cannot set transaction read-write mode"),
        _transient(
            "it is read-only",
            "set DATABASE_URL to the primary, not to a replica, or, where a full disk made the primary read-only, "
            "make room and turn default_transaction_read_only off",
        ),
    ),
    (
        ("57P01", "57P02", "57P03", "starting up", "shutting down"),
        _transient("it starts or stops just now", "wait until it has"),
    ),
    (
        ("resolve host", "translate host", "not known", "name resolution"),
        _transient("its host name is not known", "check the host in DATABASE_URL, and the name server"),
    ),
    (
        ("55P03",),
        _transient(
            "a transaction holds a lock for long, such as one of a migration or of maintenance",
            "try again, and if it stays, end that transaction (pg_stat_activity, pg_locks)",
        ),
    ),
    (
        ("57014",),
        _transient("a statement took too long", "try again, or ask for less: a shorter time, one campaign"),
    ),
    (
        ("imeout", "timed out"),
        _transient(
            "it does not answer in time", "check the host, the port and what lies between, such as a firewall"
        ),
    ),
    (("refused", "No such file or directory"), _transient("nothing listens there", _START)),
    (
        ("file is not a database", "malformed"),
        _fatal("the file is no SQLite database, or a damaged one", "set DATABASE_URL to another file"),
    ),
    (
        ("readonly database", "attempt to write"),
        _fatal("this folder or file cannot be written", "run it elsewhere, or as the user that owns it"),
    ),
    (
        ("database is locked",),
        _transient("another process keeps it locked", "wait, or end the process that keeps it"),
    ),
    (("disk I/O error",), _transient("its disk failed", "look at the disk, and at the system's log")),
)


def first_line(error: BaseException) -> str:
    """The first line of the database's error, without values of rows or parameters, which are private."""
    state = getattr(getattr(error, "orig", error), "sqlstate", None) or ""
    if state.startswith("22"):  # these quote what could not be read
        return f"a value does not fit (SQLSTATE {state})"
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0].strip()[:300] if lines else type(error).__name__


def log_text(error: BaseException) -> str:
    """An error for the log: its type and, of a database error, its first line."""
    name = type(error).__name__
    return f"{name}: {first_line(error)}" if isinstance(error, DBAPIError) else name


def problem_of(error: DBAPIError, file: str | None = None) -> ServerProblem:
    """The cause and remedy of an error of the database. ``file``: the ledger's file on SQLite."""
    said = str(error.orig)
    state = getattr(error.orig, "sqlstate", None) or ""
    if file is not None and "unable to open" in said:
        return _of_the_file(Path(file))
    words = first_line(error)
    if "does not exist" in said and "database " in said and not state:
        state = "3D000"
    for marks, problem in _CAUSES:
        if any(mark == state or mark in said for mark in marks):
            return ServerProblem(f"{problem.what} ({words})", problem.remedy, problem.fatal)
    return _transient(f"it cannot be used ({words})", "see the database's own log, or set DATABASE_URL")


def _of_the_file(file: Path) -> ServerProblem:
    folder = file.absolute().parent
    if file.is_dir():
        return _fatal(f"{file} is a folder", "write the name of a file into DATABASE_URL")
    if not folder.is_dir():
        return _fatal(f"the folder {folder} is not there", "make it, or set DATABASE_URL to another file")
    if not os.access(folder, os.W_OK | os.X_OK) or (file.exists() and not os.access(file, os.W_OK)):
        return _fatal(f"the folder {folder} cannot be written", "run it elsewhere, or set DATABASE_URL")
    return _fatal(f"{file} cannot be opened", "run it elsewhere, or set DATABASE_URL to another file")


def translated(error: DBAPIError, address: str, file: str | None = None) -> InvalidInput | LedgerUnreachable:
    """The error as one of ours: what is wrong with the ledger at ``address``, or with a value, and the remedy."""
    if isinstance(error, DataError):
        return InvalidInput(
            "a value cannot be stored in the ledger: it is out of range, or holds a character such as NUL; correct it"
        )
    problem = problem_of(error, file)
    text = problem.text(f"the ledger at {address}")
    return LedgerUnfit(text) if problem.fatal else LedgerUnreachable(text)
