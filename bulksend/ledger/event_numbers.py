"""The numbers of events: given after the commit, so that a reader who asks for those above its last one misses none.

On PostgreSQL ``number_committed`` gives them, one transaction at a time. SQLite has one writer, and the id of a row is
its number.
"""

from __future__ import annotations

from itertools import takewhile

from sqlalchemy import ColumnElement, Connection, delete, select

from bulksend.errors import EventsGone, InvalidValue
from bulksend.ledger import installation
from bulksend.ledger.bulk_parameters import statement
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database, prefer_indexes
from bulksend.ledger.schema import events

#: How many rows get their numbers in one transaction.
NUMBERED_AT_ONCE = 5_000
#: Centuries of events; 9,000 times as many fit into a number of JSON.
SKIPPED = 10**12
_NUMBERED = "events_numbered"
# The window counts in the order of writing, so the events of one message keep their order: its later change waited
# for the commit of the earlier one before it wrote.
_NUMBER = """
WITH fresh AS (
    SELECT id, sum(count) OVER (ORDER BY id) AS upto
    FROM (SELECT id, count FROM events WHERE seq IS NULL ORDER BY id LIMIT :most) AS committed),
numbered AS (
    UPDATE events SET seq = :last + fresh.upto FROM fresh WHERE events.id = fresh.id RETURNING events.seq)
SELECT max(seq), count(*) FROM numbered
"""
_SKIP_ON_SQLITE = "UPDATE sqlite_sequence SET seq = seq + :skipped WHERE name = 'events'"
_BEGIN_ON_SQLITE = "INSERT INTO sqlite_sequence (name, seq) VALUES ('events', :skipped)"


def number_committed(tx: Connection, most: int = NUMBERED_AT_ONCE) -> int:
    """Give committed events their numbers; returns how many rows got one, ``most`` where there may be further ones.

    Every reader calls it before it reads, in a transaction of its own, so that no process has to lead. One transaction
    at a time gives numbers: the next one waits for its commit, and so a higher number never appears before a lower one.
    """
    if tx.dialect.name == "sqlite" or not _has_fresh(tx):
        return 0
    # With indexes only: statistics may say that most rows have no number yet.
    prefer_indexes(tx)
    # The lock is a statement of its own: the next one sees what was committed while this one waited.
    last = _locked_last(tx)
    highest, rows = tx.execute(statement(_NUMBER), {"last": last, "most": most}).one()
    if rows:
        _set_last(tx, int(highest))
    return int(rows)


def _locked_last(tx: Connection) -> int:
    """The highest number that was given on PostgreSQL; no other transaction gives one until this one ends."""
    return int(installation.locked(tx, _NUMBERED, b"0"))


def _set_last(tx: Connection, number: int) -> None:
    installation.put(tx, _NUMBERED, str(number).encode())


def skip_numbers(tx: Connection) -> None:
    """Leave SKIPPED numbers out, so that later events have none that a reader saw before the ledger was restored.

    All committed events have their numbers by then (``number_all``).
    """
    if tx.dialect.name != "sqlite":
        _set_last(tx, _locked_last(tx) + SKIPPED)
        return
    skipped = {"skipped": SKIPPED}
    if not tx.execute(statement(_SKIP_ON_SQLITE), skipped).rowcount:
        # There has not been any event.
        tx.execute(statement(_BEGIN_ON_SQLITE), skipped)


def count_between(older: int, newer: int) -> int:
    """How many events have a number above ``older`` and up to ``newer``: what a restore left out does not count."""
    return max(0, newer - older) % SKIPPED


def number_all(database: Database) -> None:
    """Give all committed events their numbers, in short transactions. Raises LedgerUnreachable."""
    if database.is_sqlite:
        return
    with database.translated_errors():
        while database.retrying(number_committed) == NUMBERED_AT_ONCE:
            pass


def _has_fresh(tx: Connection) -> bool:
    return (
        tx.execute(select(events.c.id).where(events.c.seq.is_(None)).order_by(events.c.id).limit(1)).first()
        is not None
    )


def newest(tx: Connection) -> int:
    """The highest number that was given; 0 before the first."""
    if tx.dialect.name == "sqlite":
        # Also after its row was deleted.
        given = "SELECT seq FROM sqlite_sequence WHERE name = 'events'"
        return int(tx.execute(statement(given)).scalar() or 0)
    return int(installation.get(tx, _NUMBERED) or 0)


def oldest(tx: Connection) -> int:
    """The lowest number that is kept; the one after the highest where none is."""
    number = number_of_row(tx)
    first = tx.execute(
        select(number - events.c["count"] + 1).where(number.is_not(None)).order_by(number).limit(1)
    ).scalar()
    return newest(tx) + 1 if first is None else int(first)


def check_after(tx: Connection, seq: int, field: str = "after") -> None:
    """Check that a reader which has seen all events up to ``seq`` misses none.

    Raises EventsGone when the next ones were deleted, InvalidValue of ``field`` when no event has that number yet.
    """
    first, last = oldest(tx), newest(tx)
    if seq > last:
        raise InvalidValue(
            field,
            str(seq),
            f"is above the newest number, {last}; after a restore `bulksend restored` leads beyond it",
        )
    if seq < first - 1:
        raise EventsGone(
            f"the events after {seq} were deleted; the oldest one kept is {first}: read `messages find` for what "
            f"came before, and continue after {first - 1}",
            oldest=first,
        )


def delete_old(tx: Connection, keep_ms: int, limit: int = 2000) -> int:
    """Delete up to ``limit`` rows of events that are older than ``keep_ms``; returns how many.

    The lowest numbers first and without a gap, so that ``oldest`` says what is missing.
    """
    number, cutoff = number_of_row(tx), read_clock(tx) - keep_ms
    prefer_indexes(tx)
    first = select(number, events.c.at).where(number.is_not(None)).order_by(number)
    # Usually the first row says that there is nothing to do.
    lead = tx.execute(first.limit(1)).first()
    if lead is None or lead.at >= cutoff:
        return 0
    old = [*takewhile(lambda row: row.at < cutoff, tx.execute(first.limit(limit)))]
    if old:
        tx.execute(delete(events).where(number <= old[-1][0]))
    return len(old)


def number_of_row(tx: Connection) -> ColumnElement[int]:
    """The number of a row's last item."""
    return events.c.id if tx.dialect.name == "sqlite" else events.c.seq
