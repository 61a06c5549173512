"""What the relay asks: what is due, what has expired, what waits for whom."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import (
    Connection,
    Text,
    Tuple,
    cast,
    func,
    literal,
    select,
    text,
    tuple_,
)

from bulksend.ledger.database import by_index, instant
from bulksend.ledger.endings import end_unsent
from bulksend.ledger.schema import WAITING_SQL, Id, Instant, messages
from bulksend.messaging.states import Status

# SQLite chooses the partial indexes only for the very words of their condition, not for bound values.
_IS_WAITING = text(f"messages.{WAITING_SQL}")
_place = tuple_(messages.c.due_at, messages.c.id)
#: Thousands at a time: text from the server is cheaper than a UUID object each.
_ID_TEXT = cast(messages.c.id, Text)


class Due(NamedTuple):
    """A message that waits and is due. ``fresh_ms``: how long it has been in the ledger; ``at_once``: it was due
    when it came in, so its producer has published it already."""

    id: str
    due_at: int
    fresh_ms: int
    at_once: bool


#: A place in the order of what is due: instant and id.
Place = tuple[int, str]


def _bound(place: Place) -> Tuple:
    """A place as a parameter; PostgreSQL takes no text for an id."""
    at, id = place
    return tuple_(literal(at, Instant), literal(id, Id))


def next_payloads(tx: Connection, campaign_id: str, most: int = 20) -> list[bytes]:
    """What the messages hold that wait longest in a campaign, clear or encrypted."""
    wanted = (
        select(messages.c.payload)
        .where(messages.c.campaign_id == campaign_id, _IS_WAITING)
        .order_by(messages.c.due_at, messages.c.id)
        .limit(most)
    )
    return [bytes(payload) for payload in tx.execute(wanted).scalars() if payload is not None]


def due(tx: Connection, campaign_id: str, limit: int, *, after: Place | None = None) -> list[Due]:
    """Messages of a campaign that wait and are due, the longest due first; of those, what comes ``after`` a place."""
    now = instant(tx)
    wanted = (
        select(_ID_TEXT, messages.c.due_at, messages.c.queued_at, messages.c.attempts)
        .where(messages.c.campaign_id == campaign_id, _IS_WAITING, messages.c.due_at <= now)
        .order_by(messages.c.due_at, messages.c.id)
        .limit(limit)
    )
    rows = tx.execute(wanted if after is None else wanted.where(_place > _bound(after))).all()
    return [
        Due(id, due_at, now - queued_at, due_at <= queued_at and attempts == 0)
        for id, due_at, queued_at, attempts in rows
    ]


def waiting_up_to(tx: Connection, campaign_id: str, place: Place, most: int) -> int:
    """How many messages of a campaign still wait up to a place; counts no further than ``most``."""
    waiting = (
        select(literal(1))
        .select_from(messages)
        .where(messages.c.campaign_id == campaign_id, _IS_WAITING, _place <= _bound(place))
        .limit(most)
    )
    return tx.execute(select(func.count()).select_from(waiting.subquery())).scalar_one()


def next_due(tx: Connection, campaign_id: str) -> int | None:
    """When the next waiting message of a campaign is due."""
    return tx.execute(
        select(func.min(messages.c.due_at)).where(messages.c.campaign_id == campaign_id, _IS_WAITING)
    ).scalar()


def expire(tx: Connection, limit: int = 5000) -> int:
    """End waiting messages whose time to live has passed, the longest over first; says how many.

    What another transaction holds is left for the next round.
    """
    by_index(tx)
    # The instant as a value: a clock that may go on within a statement bounds no walk along an index.
    late = tx.execute(
        select(_ID_TEXT)
        .where(_IS_WAITING, messages.c.expires_at.is_not(None), messages.c.expires_at <= instant(tx))
        .order_by(messages.c.expires_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    why = "its time to live passed before it could be sent"
    return end_unsent(tx, late.scalars().all(), Status.EXPIRED, why)
