"""Messages in flight: which lease holds a message, and the attempt that is open.

A claim inserts a row, the write-ahead notes the attempt in it, the settlement deletes it and inserts the attempt. So
the row of the message, with its many indexes, changes once: when its attempt has ended. A message that waits by its own
row and is in flight is shown as ``claimed``, and as ``sending`` once its attempt is open.

A statement or transaction that changes both tables changes ``messages`` first: two of them then wait in one order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    ScalarSelect,
    Select,
    Subquery,
    case,
    delete,
    func,
    literal,
    literal_column,
    null,
    select,
    true,
    union_all,
)

from bulksend.ledger.bulk_parameters import IDS, bound, statement, table
from bulksend.ledger.database import among, rows_changed
from bulksend.ledger.ids import new_id
from bulksend.ledger.schema import attempts, in_flight, messages, workers
from bulksend.messaging.states import HELD, WAITING, Status

#: SQL: an attempt of the message {message} is open, so a POST of it may be under way.
OPEN = "(SELECT f.attempt_id FROM in_flight f WHERE f.message_pk = {message}.id) IS NOT NULL"

_OF_MESSAGE = in_flight.c.message_pk == messages.c.id


def _its(column: ColumnElement[Any]) -> ScalarSelect[Any]:
    """A column of the row in flight of a message, null where it has none.

    A subquery and not a join: one lookup by the key, with any statistics. Those of a table whose rows live for seconds
    are always wrong.
    """
    return select(column).where(_OF_MESSAGE).correlate(messages).scalar_subquery()


IS_IN_FLIGHT = _its(in_flight.c.owner).is_not(None)
IS_OPEN = _its(in_flight.c.attempt_id).is_not(None)


def waits(of: Any) -> ColumnElement[bool]:
    """Whether a message waits by its own row; ``of``: its columns."""
    is_waiting: ColumnElement[bool] = of.status.in_([status.value for status in sorted(WAITING)])
    return is_waiting


_WAITS = waits(messages.c)


def _or(column: ColumnElement[Any], otherwise: ColumnElement[Any]) -> ColumnElement[Any]:
    """A column of its row in flight where a message waits and has one."""
    return case((_WAITS, func.coalesce(_its(column), otherwise)), else_=otherwise)


_IS_CLAIMED = in_flight.c.attempt_id.is_(None)
_HOW = case((_IS_CLAIMED, Status.CLAIMED.value), else_=Status.SENDING.value)
_SHOWN: dict[str, ColumnElement[Any]] = {
    "status": _or(_HOW, messages.c.status),
    "attempts": messages.c.attempts + case((_WAITS & IS_OPEN, 1), else_=0),
    "sent_at": _or(in_flight.c.started_at, messages.c.sent_at),
    "gate": case((_WAITS & IS_IN_FLIGHT, null()), else_=messages.c.gate),
    "gate_until": case((_WAITS & IS_IN_FLIGHT, null()), else_=messages.c.gate_until),
}


def shown(names: Iterable[str]) -> list[ColumnElement[Any]]:
    """The columns of ``messages`` of these names, as they are shown to people and programs."""
    return [_SHOWN[name].label(name) if name in _SHOWN else messages.c[name] for name in names]


#: The messages in flight, each looked up by its key, with any statistics; and what joins them.
_LOOKED_UP: dict[str, tuple[FromClause, ColumnElement[bool]]] = {
    # By the plus the message's row is no way to its row in flight.
    "sqlite": (messages, messages.c.id == literal_column("+in_flight.message_pk")),
    # As in ``bulk_parameters.named``.
    "postgresql": (
        select(messages).where(_OF_MESSAGE).correlate(in_flight).offset(literal_column("0")).lateral("m"),
        true(),
    ),
}


def with_messages(tx: Connection) -> tuple[FromClause, Any]:
    """``in_flight`` joined with its messages, and their columns."""
    found, on = _LOOKED_UP[tx.dialect.name]
    return in_flight.join(found, on), found.c


def ids_of(tx: Connection, status: Status) -> list[str]:
    """The ids of the messages that are shown as claimed, or as sending: a few thousand at most."""
    source, m = with_messages(tx)
    how = _IS_CLAIMED if status is Status.CLAIMED else ~_IS_CLAIMED
    return [str(id) for id in tx.execute(select(m.id).select_from(source).where(how, waits(m))).scalars()]


def has_status(tx: Connection, status: Status) -> ColumnElement[bool]:
    """Whether a message is shown with this status."""
    if status in HELD:
        return among(tx, messages.c.id, ids_of(tx, status))
    is_it = messages.c.status == status.value
    return is_it & ~IS_IN_FLIGHT if status in WAITING else is_it


def changes(tx: Connection) -> list[Select[Any]]:
    """What the messages in flight change in the counts of a campaign: campaign, status, messages, attempts."""
    source, m = with_messages(tx)
    # Grouped first, so that each message is looked up once: the counts of campaigns are read every second.
    columns = m.campaign_id, m.status, _HOW.label("how")
    of = (
        select(*columns, func.count().label("n")).select_from(source).where(waits(m)).group_by(*columns)
    ).cte("of_campaigns")
    opened = case((of.c.how == Status.SENDING.value, of.c.n), else_=0)
    return [
        select(of.c.campaign_id, of.c.status, (-of.c.n).label("messages"), literal(0).label("attempts")),
        select(of.c.campaign_id, of.c.how, of.c.n, opened),
    ]


def posts_since(
    tx: Connection, phone: str, since: int | ColumnElement[int], most: int | None = None
) -> Subquery:
    """The POSTs of a sender that began since then, those under way too: message_pk, started_at.

    Of those that ended at most ``most``, the newest, where it is given.
    """
    ended = select(attempts.c.message_pk, attempts.c.started_at).where(
        attempts.c.sender == phone, attempts.c.started_at >= since
    )
    if most is not None:
        ended = ended.order_by(attempts.c.started_at.desc()).limit(most)
    source, m = with_messages(tx)
    under_way = (
        select(in_flight.c.message_pk, in_flight.c.started_at)
        .select_from(source)
        .where(m.sender == phone, in_flight.c.started_at >= since)
    )
    return union_all(select(ended.subquery()), under_way).subquery()


#: One look into the index of (sender, started_at) for each sender.
_SENDERS = """
WITH RECURSIVE found(phone) AS (
    SELECT min(sender) FROM attempts
    UNION ALL SELECT (SELECT min(sender) FROM attempts WHERE sender > found.phone) FROM found
    WHERE found.phone IS NOT NULL)
SELECT phone FROM found WHERE phone IS NOT NULL
"""


def senders_of_attempts(tx: Connection) -> list[str]:
    """The senders that have attempts which ended."""
    return list(tx.execute(statement(_SENDERS)).scalars())


def oldest_open(tx: Connection) -> int | None:
    """When the oldest open attempt began (ms)."""
    return tx.execute(select(func.min(in_flight.c.started_at))).scalar()


def open_attempt_of(id: str) -> Select[Any]:
    """The open attempt of a message, with the columns of ``attempts``; no row where there is none."""
    known = {
        "id": in_flight.c.attempt_id,
        "message_pk": in_flight.c.message_pk,
        "n": messages.c.attempts + 1,
        "owner": in_flight.c.owner,
        "worker": workers.c.name,
        "sender": messages.c.sender,
        "started_at": in_flight.c.started_at,
    }
    columns = [known[c.name].label(c.name) if c.name in known else null().label(c.name) for c in attempts.c]
    return (
        select(*columns)
        .select_from(in_flight.join(messages, _OF_MESSAGE).join(workers, workers.c.id == in_flight.c.owner))
        .where(in_flight.c.message_pk == id, ~_IS_CLAIMED)
    )


class OpenAttempt(NamedTuple):
    """An attempt that is open, and the counts of its message."""

    message: str
    attempt_id: str
    due_at: int
    tries: int
    waits: int
    kind: str
    campaign_id: str
    expires_at: int | None


def open_under(tx: Connection, lease: str) -> list[OpenAttempt]:
    """The attempts that are open under a lease."""
    source, m = with_messages(tx)
    columns = m.id, in_flight.c.attempt_id, m.due_at, m.tries, m.waits, m.kind, m.campaign_id, m.expires_at
    rows = tx.execute(select(*columns).select_from(source).where(in_flight.c.owner == lease, ~_IS_CLAIMED))
    return [
        OpenAttempt(str(id), str(attempt), due_at, tries, waits, kind, str(campaign), expires_at)
        for id, attempt, due_at, tries, waits, kind, campaign, expires_at in rows
    ]


def owners(tx: Connection) -> list[str]:
    """The leases that hold messages."""
    return [str(id) for id in tx.execute(select(in_flight.c.owner).distinct()).scalars()]


def claimed_under(tx: Connection, lease: str) -> list[str]:
    """The ids of the messages that a lease has claimed and not opened."""
    found = select(in_flight.c.message_pk).where(in_flight.c.owner == lease, _IS_CLAIMED)
    return [str(id) for id in tx.execute(found).scalars()]


def drop_claims(tx: Connection, lease: str, ids: Sequence[str]) -> None:
    """Of these messages those that the lease has claimed, and not opened, are no longer in flight."""
    mine = among(tx, in_flight.c.message_pk, ids), in_flight.c.owner == lease, _IS_CLAIMED
    tx.execute(delete(in_flight).where(*mine))


def drop_ended(tx: Connection, lease: str, ids: Sequence[str]) -> None:
    """Of these messages of the lease those that have ended are no longer in flight; none of them was POSTed."""
    mine = among(tx, in_flight.c.message_pk, ids), in_flight.c.owner == lease
    is_waiting = select(_WAITS).where(_OF_MESSAGE).correlate(in_flight).scalar_subquery()
    tx.execute(delete(in_flight).where(*mine, ~is_waiting))


def drop_attempts(tx: Connection, ids: Sequence[str], attempt_ids: Sequence[str]) -> None:
    """These attempts of these messages are no longer open, and the messages no longer in flight."""
    ended = among(tx, in_flight.c.message_pk, ids), among(tx, in_flight.c.attempt_id, attempt_ids)
    tx.execute(delete(in_flight).where(*ended))


_HELD = {
    "sqlite": "{rows} CROSS JOIN in_flight AS f ON f.message_pk = p.id",
    "postgresql": "{rows} CROSS JOIN LATERAL (SELECT * FROM in_flight AS x WHERE x.message_pk = p.id OFFSET 0) AS f",
}


def held(tx: Connection, rows: str) -> str:
    """SQL of the rows in flight ``f`` of the messages ``p.id``, of a table ``rows``, each looked up by its key."""
    return _HELD[tx.dialect.name].format(rows=rows)


def lock(tx: Connection, ids: Sequence[str]) -> None:
    """Lock these messages in the order of their ids, in which all wait that change more than one in a transaction."""
    if ids and tx.dialect.name == "postgresql":
        mine = select(messages.c.id).where(among(tx, messages.c.id, ids))
        tx.execute(mine.order_by(messages.c.id).with_for_update())


def take_claims(tx: Connection, ids: Sequence[str]) -> None:
    """Take these messages from the workers that have claimed them, except those whose attempt is open.

    Their own rows are locked first.
    """
    lock(tx, ids)
    tx.execute(delete(in_flight).where(among(tx, in_flight.c.message_pk, ids), _IS_CLAIMED))


def keep_from_workers(tx: Connection, ids: Sequence[str]) -> bool:
    """Take these messages from the workers that have claimed them, and let none claim them before the next commit.

    False where an attempt of one of them is open. Call ``take_claims`` before the commit.
    """
    take_claims(tx, ids)
    rows = table(tx, IDS)
    owner = ":owner" if tx.dialect.name == "sqlite" else "CAST(:owner AS uuid)"
    sql = f"""INSERT INTO in_flight (message_pk, owner) SELECT p.id, {owner} FROM {rows} WHERE true
              ON CONFLICT DO NOTHING"""  # noqa: S608 - our own words
    kept = rows_changed(
        tx, statement(sql), bound(tx, IDS, [(id,) for id in sorted(ids)]) | {"owner": new_id()}
    )
    return kept == len(ids)
