"""The queries of the relay: which messages are due, how many wait, and which have expired."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    Tuple,
    cast,
    false,
    func,
    literal,
    select,
    text,
    tuple_,
    union_all,
)

from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import count_up_to, prefer_indexes
from bulksend.ledger.endings import end_unsent
from bulksend.ledger.in_flight import IS_IN_FLIGHT, IS_OPEN
from bulksend.ledger.schema import WAITING_SQL, Id, Instant, messages
from bulksend.messaging.states import WAITING, Status

# SQLite uses a partial index only where the statement has the words of its condition, without parameters.
_IS_WAITING = text(f"messages.{WAITING_SQL}")
_cursor = tuple_(messages.c.due_at, messages.c.id)
#: For thousands of rows, text from the server is cheaper than UUID objects.
_ID_TEXT = cast(messages.c.id, Text)


class DueMessage(NamedTuple):
    """A message that waits and is due. ``age_ms`` is its time in the ledger.

    ``was_due_at_intake``: its producer has published it already. ``is_claimed``: a worker has it, without an attempt.
    """

    id: str
    due_at: int
    age_ms: int
    was_due_at_intake: bool
    is_claimed: bool = False


#: A position in the order of due messages: due time and id.
Cursor = tuple[int, str]


def _cursor_value(cursor: Cursor) -> Tuple:
    """A cursor as parameters with their types: PostgreSQL does not compare an id with text."""
    at, id = cursor
    return tuple_(literal(at, Instant), literal(id, Id))


def next_payloads(tx: Connection, campaign_id: str, most: int = 20) -> list[bytes]:
    """The payloads of the campaign's messages that have waited longest, clear or encrypted."""
    wanted = (
        select(messages.c.payload)
        .where(messages.c.campaign_id == campaign_id, _IS_WAITING)
        .order_by(messages.c.due_at, messages.c.id)
        .limit(most)
    )
    return [bytes(payload) for payload in tx.execute(wanted).scalars() if payload is not None]


def due_messages(
    tx: Connection,
    campaign_id: str,
    limit: int,
    *,
    after: Cursor | None = None,
    held_after: str | None = None,
    claimed: bool = False,
) -> list[DueMessage]:
    """The campaign's messages that wait and are due, the longest due first; with ``after`` those behind that cursor.

    ``held_after``: without those that its canary holds. ``claimed``: also those that workers have claimed, until their
    attempts are open.
    """
    now = read_clock(tx)
    is_claimed = IS_IN_FLIGHT if claimed else false()
    found = select(_ID_TEXT, messages.c.due_at, messages.c.queued_at, messages.c.attempts, is_claimed)
    found = found.where(_IS_WAITING) if held_after is None else _in_slice(found, held_after)
    wanted = (
        found.where(messages.c.campaign_id == campaign_id, messages.c.due_at <= now, _is_free(claimed))
        .order_by(messages.c.due_at, messages.c.id)
        .limit(limit)
    )
    rows = tx.execute(wanted if after is None else wanted.where(_cursor > _cursor_value(after))).all()
    return [
        DueMessage(id, due_at, now - queued_at, due_at <= queued_at and attempts == 0, bool(is_claimed))
        for id, due_at, queued_at, attempts, is_claimed in rows
    ]


def _is_free(claimed: bool) -> ColumnElement[bool]:
    """That no worker has a message; with ``claimed``, that none has opened an attempt of it."""
    return ~(IS_OPEN if claimed else IS_IN_FLIGHT)


def _in_slice(found: Select[Any], held_after: str) -> Select[Any]:
    """Only the messages that wait and that their campaign's canary does not hold.

    The statuses are joined, so that no database sees the condition of the index of waiting messages, in which those of
    the slice can be the last of millions: they are the first in the index of campaign, status and id.
    """
    waiting = union_all(*(select(literal(status.value).label("status")) for status in sorted(WAITING)))
    each = waiting.subquery("waiting")
    is_one = messages.c.status == each.c.status
    return found.select_from(each).join(messages, is_one).where(messages.c.id <= literal(held_after, Id))


def count_waiting_up_to(
    tx: Connection, campaign_id: str, cursor: Cursor, most: int, *, claimed: bool = False
) -> int:
    """How many messages of a campaign wait up to a cursor, at most ``most``. ``claimed`` as in ``due_messages``."""
    before = messages.c.campaign_id == campaign_id, _IS_WAITING, _cursor <= _cursor_value(cursor)
    return count_up_to(tx, most, select(messages.c.id).where(*before, _is_free(claimed)))


def next_due_at(tx: Connection, campaign_id: str) -> int | None:
    """When the next waiting message of a campaign is due; None where none waits."""
    return tx.execute(
        select(func.min(messages.c.due_at)).where(
            messages.c.campaign_id == campaign_id, _IS_WAITING, ~IS_IN_FLIGHT
        )
    ).scalar()


def expire(tx: Connection, limit: int = 5000) -> int:
    """End waiting messages whose time to live has passed, the longest expired first; returns how many.

    Messages locked by another transaction are left to the next call.
    """
    prefer_indexes(tx)
    # The time as a value: the database does not use a volatile function as the bound of an index scan.
    expired = tx.execute(
        select(_ID_TEXT)
        .where(
            _IS_WAITING,
            messages.c.expires_at.is_not(None),
            messages.c.expires_at <= read_clock(tx),
            ~IS_IN_FLIGHT,
        )
        .order_by(messages.c.expires_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    why = "its time to live passed before it could be sent"
    return end_unsent(tx, expired.scalars().all(), Status.EXPIRED, why)
