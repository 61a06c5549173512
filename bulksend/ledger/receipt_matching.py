"""Which message a receipt is about: by the MessageId or the RequestId of any of its attempts, the newest first.

A receipt that names a RequestId also tells the MessageId where the answer to the POST did not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, select, text

from bulksend.ledger.bulk_parameters import bound, statement, table
from bulksend.ledger.database import among
from bulksend.ledger.schema import EARLIER_ID_SQL, attempts, messages


class Match(NamedTuple):
    """The message of a receipt."""

    message: str
    """Its own id."""
    message_id: str
    """The MessageId of the attempt that the receipt is about."""
    newest_id: str | None
    """The MessageId of its newest attempt."""


def find_messages(tx: Connection, named: Sequence[tuple[str, ...]]) -> list[Match | None]:
    """The message of each receipt, by all ids that it names, the likeliest first. The messages are locked."""
    by_id = _by_message_id(tx, {id for ids in named for id in ids if id})
    found = [_first(ids, by_id) for ids in named]
    rest = {ids for ids, match in zip(named, found, strict=True) if match is None}
    if rest:
        by_request = _by_request_id(tx, rest)
        found = [match or by_request.get(ids) for ids, match in zip(named, found, strict=True)]
    rest = {ids for ids, match in zip(named, found, strict=True) if match is None}
    if rest:
        by_id = _by_earlier_id(tx, {id for ids in rest for id in ids if id})
        found = [match or _first(ids, by_id) for ids, match in zip(named, found, strict=True)]
    return found


def _first(ids: Iterable[str], by_id: Mapping[str, Match]) -> Match | None:
    return next((by_id[id] for id in ids if id in by_id), None)


def _by_message_id(tx: Connection, ids: Iterable[str]) -> dict[str, Match]:
    rows = tx.execute(
        select(messages.c.id, messages.c.message_id)
        .where(among(tx, messages.c.message_id, sorted(ids)))
        # Two transactions with receipts of one message take turns: each must see what the other stored.
        .order_by(messages.c.id)
        .with_for_update()
    )
    return {row.message_id: Match(str(row.id), row.message_id, row.message_id) for row in rows}


def _by_earlier_id(tx: Connection, ids: Iterable[str]) -> dict[str, Match]:
    earlier = (
        select(attempts.c.message_id, attempts.c.message_pk)
        .where(among(tx, attempts.c.message_id, sorted(ids)), text(EARLIER_ID_SQL))
        .subquery()
    )
    rows = tx.execute(
        select(earlier.c.message_id, earlier.c.message_pk, messages.c.message_id.label("newest_id"))
        .join_from(earlier, messages, messages.c.id == earlier.c.message_pk)
        .order_by(messages.c.id)
        .with_for_update(of=messages)
    )
    return {row.message_id: Match(str(row.message_pk), row.message_id, row.newest_id) for row in rows}


def _by_request_id(tx: Connection, named: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], Match]:
    ids = sorted({id for each in named for id in each if id})
    rows = tx.execute(
        select(
            attempts.c.id,
            attempts.c.request_id,
            attempts.c.message_id,
            attempts.c.message_pk,
            messages.c.message_id.label("newest_id"),
            messages.c.attempt_id,
        )
        .join_from(attempts, messages, messages.c.id == attempts.c.message_pk)
        .where(among(tx, attempts.c.request_id, ids))
        .order_by(messages.c.id)
        .with_for_update()
    ).all()
    by_request = {row.request_id: row for row in rows}
    matches: dict[tuple[str, ...], Match] = {}
    told: dict[str, tuple[str, str]] = {}
    for each in named if rows else ():
        row = next((by_request[id] for id in each if id in by_request), None)
        if row is not None:
            matches[each] = _match(row, each, told)
    _tell(tx, told)
    return matches


def _match(row: Any, ids: tuple[str, ...], told: dict[str, tuple[str, str]]) -> Match:
    """The match of an attempt. ``told`` collects the MessageIds that attempts get: attempt -> message, MessageId."""
    message, attempt = str(row.message_pk), str(row.id)
    if row.message_id is not None:
        return Match(message, row.message_id, row.newest_id)
    if attempt not in told:
        told[attempt] = message, next((id for id in ids if id != row.request_id), row.request_id)
    message_id = told[attempt][1]
    is_newest = str(row.attempt_id) == attempt
    return Match(message, message_id, row.newest_id or (message_id if is_newest else None))


_TELL_COLUMNS = {"id": "uuid", "message": "uuid", "message_id": "text"}
_TELL_ATTEMPTS = """
UPDATE attempts SET message_id = p.message_id FROM {rows}
WHERE attempts.message_pk = p.message AND attempts.id = p.id
"""
_TELL_MESSAGES = """
UPDATE messages SET message_id = p.message_id FROM {rows}
WHERE messages.id = p.message AND messages.attempt_id = p.id AND messages.message_id IS NULL
"""


def _tell(tx: Connection, told: dict[str, tuple[str, str]]) -> None:
    if told:
        rows, parameters = (
            table(tx, _TELL_COLUMNS),
            bound(tx, _TELL_COLUMNS, [(attempt, *each) for attempt, each in told.items()]),
        )
        tx.execute(statement(_TELL_ATTEMPTS.format(rows=rows)), parameters)
        tx.execute(statement(_TELL_MESSAGES.format(rows=rows)), parameters)
