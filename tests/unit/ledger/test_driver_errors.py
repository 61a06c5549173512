"""Errors of the database driver: the cause and the remedy that ours name."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError

from bulksend.ledger.driver_errors import problem_of, translated

CONNECTION = 'connection failed: connection to server at "127.0.0.1", port 5432 failed: FATAL:  '


class DriverError(Exception):
    """What psycopg raises: libpq gives no SQLSTATE for a connection that is not made."""

    def __init__(self, said: str, sqlstate: str | None = None) -> None:
        super().__init__(said)
        self.sqlstate = sqlstate


def error(said: str, sqlstate: str | None = None) -> OperationalError:
    return OperationalError("", None, DriverError(said, sqlstate))


@pytest.mark.parametrize(
    "said",
    [
        "sorry, too many clients already",
        'too many connections for role "app"',
        'too many connections for database "bulksend"',
        "remaining connection slots are reserved for roles with the SUPERUSER attribute",
    ],
)
def test_every_limit_of_connections_is_named_as_one(said: str) -> None:
    problem = problem_of(error(CONNECTION + said))
    assert problem.what.startswith("it takes no more connections")
    assert not problem.fatal


@pytest.mark.parametrize(
    ("said", "sqlstate"),
    [
        ("cannot execute INSERT in a read-only transaction", "25006"),
        ("cannot set transaction read-write mode during recovery", "0A000"),
    ],
)
def test_a_replica_and_a_read_only_primary_have_their_remedies(said: str, sqlstate: str) -> None:
    problem = problem_of(error(said, sqlstate))
    assert problem.what.startswith("it is read-only")
    assert "to the primary" in problem.remedy
    assert "turn default_transaction_read_only off" in problem.remedy


@pytest.mark.parametrize(
    ("said", "state", "remedy"),
    [
        ('password authentication failed for user "app"', None, "check both in DATABASE_URL"),
        ("canceling statement due to lock timeout", "55P03", "try again, and if it stays"),
        ("canceling statement due to statement timeout", "57014", "try again, or ask for less"),
        ("disk I/O error", None, "look at the disk, and at the system's log"),
    ],
)
def test_a_remedy_is_whole_after_the_last_semicolon_where_doctor_looks_for_it(
    said: str, state: str | None, remedy: str
) -> None:
    told = str(translated(error(CONNECTION + said, state), "there"))
    assert told.rpartition("; ")[2].startswith(remedy)
