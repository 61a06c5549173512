"""What ops ask: one named query each, in keyset pages, without counting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Subquery,
    case,
    literal,
    or_,
    select,
    union_all,
)

from bulksend.errors import InvalidInput
from bulksend.ledger import counters
from bulksend.ledger.campaigns import DIRECT_PREFIX
from bulksend.ledger.database import among, by_index
from bulksend.ledger.ids import NEAR_MS, instant_of, is_id, lowest_at
from bulksend.ledger.schema import attempts, campaigns, installation, messages
from bulksend.messaging.masking import mask_digits
from bulksend.messaging.number_forms import number_forms
from bulksend.messaging.states import Status

#: ``queued_at`` is by the database's clock, and so, nearly, is an id. One that was made before that was so may be
#: further off: there bounds of ids leave a day.
CLOCKS_APART_MS = 86_400_000
_NEAR_SINCE = "ids_near_since"
#: For the newest messages in a status: of so many campaigns the newest, of so many a page at once.
_HEADS_AT_ONCE, _PAGES_AT_ONCE = 200, 6
#: Later than any message: the campaign goes on taking some in.
_NO_END = 2**47

#: What a line of ``messages find`` is made of. Content and variables are never part of it.
FOUND = [
    messages.c[name]
    for name in (
        "id",
        "campaign_id",
        "row",
        "key",
        "kind",
        "sender",
        "recipient",
        "type",
        "status",
        "attempts",
        "message_id",
        "request_id",
        "ret_code",
        "error",
        "due_at",
        "expires_at",
        "queued_at",
        "sent_at",
        "accepted_at",
        "delivered_at",
        "read_at",
        "ended_at",
    )
]


@dataclass(frozen=True, slots=True)
class Query:
    """What to find; what is None does not narrow. ``since`` and ``until`` bound ``queued_at``, in ms."""

    phone: str | None = None
    message_id: str | None = None
    request_id: str | None = None
    campaign_id: str | None = None
    status: str | None = None
    since: int | None = None
    until: int | None = None


def find(tx: Connection, query: Query, *, limit: int, before: str | None = None) -> list[RowMapping]:
    """The newest matching messages first; ``before`` is the id of the last line of the page before.

    Raises InvalidInput where that is no id.
    """
    narrowed = list(conditions(tx, query))
    if before is not None:
        before = _checked(before)
        narrowed.append(messages.c.id < before)
    if not (query.phone or query.message_id or query.request_id):
        if query.campaign_id is not None:
            statuses = list(Status) if query.status is None else [query.status]
            page = _page_of(query.campaign_id, statuses, narrowed, limit, newest_first=True)
            by_index(tx)
            return _named(tx, FOUND, [str(id) for (id,) in tx.execute(page)])[::-1]
        if query.status is not None:
            by_index(tx)
            return _named(tx, FOUND, _newest_in_status(tx, query, before, narrowed, limit))[::-1]
    statement = select(*FOUND).where(*narrowed).order_by(messages.c.id.desc()).limit(limit)
    return list(tx.execute(statement).mappings())


def _named(tx: Connection, columns: Sequence[Column[Any]], ids: Sequence[str]) -> list[RowMapping]:
    """The messages of these ids, each found by its key, in the order of their ids."""
    rows = tx.execute(select(*columns).where(among(tx, messages.c.id, ids))).mappings().all()
    return sorted(rows, key=lambda row: str(row["id"]))


def _checked(id: str) -> str:
    if not is_id(id):
        raise InvalidInput(
            f"--before: {mask_digits(id[:40])!r} is not the id of a message; take that of the last line"
        )
    return str(UUID(id))


def _newest_in_status(
    tx: Connection, query: Query, before: str | None, conditions: Sequence[ColumnElement[bool]], limit: int
) -> list[str]:
    """The ids of the newest messages in a status, whatever their campaign.

    Campaigns by the newest that each has, and a page of each until none of those left can have a newer one: an index
    of status alone would have to be kept up at each step of each message.
    """
    heads = iter(_heads(tx, query, before, conditions, limit))
    found: list[str] = []
    while group := list(islice(heads, _PAGES_AT_ONCE)):
        if len(found) == limit and group[0][0] < found[-1]:
            break
        branches = (_branch(id, str(query.status), conditions, limit, newest_first=True) for _, id in group)
        merged = union_all(*(select(branch.c.id) for branch in branches)).subquery()
        ids = tx.execute(select(merged.c.id).order_by(merged.c.id.desc()).limit(limit)).scalars()
        found = sorted([*found, *map(str, ids)], reverse=True)[:limit]
    return found


def _heads(
    tx: Connection, query: Query, before: str | None, conditions: Sequence[ColumnElement[bool]], limit: int
) -> list[tuple[str, str]]:
    """The newest message in the status and its campaign, of those campaigns that have the newest of all.

    Campaigns whose intake ended last are looked into first, until those left can have nothing newer.
    """
    newest = (
        select(messages.c.id)
        .where(messages.c.campaign_id == campaigns.c.id, messages.c.status == query.status, *conditions)
        .order_by(messages.c.id.desc())
        .limit(1)
        .correlate(campaigns)
        .scalar_subquery()
    )
    asked = _having(tx, query, before).add_columns(newest.label("newest")).limit(_HEADS_AT_ONCE)
    heads: list[tuple[str, str]] = []
    for page in count():
        rows = tx.execute(asked.offset(page * _HEADS_AT_ONCE)).all()
        heads += [(str(newest), str(id)) for id, _, newest in rows if newest is not None]
        heads = sorted(heads, reverse=True)[:limit]
        if len(rows) < _HEADS_AT_ONCE:
            break
        if len(heads) == limit and lowest_at(rows[-1].until + 1) <= heads[-1][0]:
            break
    return heads


def _having(tx: Connection, query: Query, before: str | None) -> Select[tuple[str, int]]:
    """Campaigns that have messages in the status, within the question's time, and until when one can have come in."""
    near_since = _near_since(tx)
    # Only single sends come in after their campaign's intake is done.
    goes_on = or_(campaigns.c.intake_done_at.is_(None), campaigns.c.key.startswith(DIRECT_PREFIX))
    last = case((goes_on, literal(_NO_END)), else_=campaigns.c.intake_done_at)

    def apart(instant: ColumnElement[int]) -> ColumnElement[int]:
        if near_since is None:
            return literal(CLOCKS_APART_MS)
        return case((instant >= near_since, literal(NEAR_MS)), else_=literal(CLOCKS_APART_MS))

    until = (last + apart(last)).label("until")
    having = select(campaigns.c.id, until).where(campaigns.c.id.in_(counters.having(str(query.status))))
    if query.since is not None:
        having = having.where(last >= query.since)
    if query.until is not None:
        having = having.where(campaigns.c.created_at <= query.until)
    if before is not None:
        having = having.where(campaigns.c.created_at - apart(campaigns.c.created_at) <= instant_of(before))
    return having.order_by(until.desc(), campaigns.c.id.desc())


def _branch(
    campaign_id: str,
    status: str,
    conditions: Sequence[ColumnElement[bool]],
    limit: int,
    *,
    newest_first: bool,
) -> Subquery:
    """A page of the ids of a campaign's messages in a status, from the index of (campaign, status, id)."""
    here = messages.c.campaign_id == campaign_id, messages.c.status == status
    order = messages.c.id.desc() if newest_first else messages.c.id.asc()
    return select(messages.c.id).where(*here, *conditions).order_by(order).limit(limit).subquery()


def _page_of(
    campaign_id: str,
    statuses: Sequence[str],
    conditions: Sequence[ColumnElement[bool]],
    limit: int,
    *,
    newest_first: bool,
) -> Select[tuple[str]]:
    """The ids of a page of a campaign: a page of each status from the index of (campaign, status, id), merged.

    Without this both databases would sort the whole campaign for every page, or one more index would have to be
    kept up at each step of each message. Ids alone, or PostgreSQL would walk all that is newer for a campaign that it
    takes for nearly everything there is.
    """
    pages = (
        _branch(campaign_id, status, conditions, limit, newest_first=newest_first) for status in statuses
    )
    merged = union_all(*(select(page.c.id) for page in pages)).subquery()
    page = select(merged.c.id).order_by(merged.c.id.desc() if newest_first else merged.c.id).limit(limit)
    return select(page.subquery().c.id)


def conditions(tx: Connection, query: Query) -> Iterator[ColumnElement[bool]]:
    """What a message must meet to be found."""
    if query.phone is not None:
        yield messages.c.recipient.in_(number_forms(query.phone))
    if query.message_id is not None:
        yield messages.c.message_id == query.message_id
    if query.request_id is not None:
        # The message keeps the newest request id, its attempts keep each. A union, for OR would read every row.
        newest = select(messages.c.id).where(messages.c.request_id == query.request_id)
        each = select(attempts.c.message_pk).where(attempts.c.request_id == query.request_id)
        yield messages.c.id.in_(union_all(newest, each))
    if query.campaign_id is not None:
        yield messages.c.campaign_id == query.campaign_id
    if query.status is not None:
        yield messages.c.status == query.status
    if query.since is not None or query.until is not None:
        yield from _taken_in(tx, query.since, query.until)


def _taken_in(tx: Connection, since: int | None, until: int | None) -> Iterator[ColumnElement[bool]]:
    """When it was taken in, and in which range its id then lies."""
    near_since = _near_since(tx)
    if since is not None:
        near = near_since is not None and since >= near_since
        yield messages.c.queued_at >= since
        yield messages.c.id >= lowest_at(since - (NEAR_MS if near else CLOCKS_APART_MS))
    if until is not None:
        near = near_since is not None and until >= near_since + CLOCKS_APART_MS
        yield messages.c.queued_at <= until
        yield messages.c.id < lowest_at(until + 1 + (NEAR_MS if near else CLOCKS_APART_MS))


def _near_since(tx: Connection) -> int | None:
    """Since when ids are near the ledger's clock, ms; None where nobody knows."""
    found = tx.execute(select(installation.c.value).where(installation.c.name == _NEAR_SINCE)).scalar()
    return None if found is None else int(bytes(found))


def export(
    tx: Connection, campaign_id: str, *, payloads: bool = False, page: int = 5000
) -> Iterator[RowMapping]:
    """Every message of a campaign in the order of its intake, in flat memory; with their payloads if asked for."""
    columns = [*FOUND, messages.c.payload] if payloads else FOUND
    by_index(tx)
    after = lowest_at(0)
    while True:
        ids = _page_of(campaign_id, list(Status), [messages.c.id > after], page, newest_first=False)
        rows = _named(tx, columns, [str(id) for (id,) in tx.execute(ids)])
        yield from rows
        if len(rows) < page:
            return
        after = str(rows[-1]["id"])
