"""The queries of ops, one function each, in keyset pages and without counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Subquery,
    case,
    exists,
    literal,
    or_,
    select,
    union_all,
)

from bulksend.errors import InvalidInput
from bulksend.ledger import counters, installation, look_up
from bulksend.ledger.campaigns import IS_DIRECT
from bulksend.ledger.database import among, prefer_indexes
from bulksend.ledger.ids import NEAR_MS, instant_of, is_id, lowest_at
from bulksend.ledger.in_flight import has_status, shown
from bulksend.ledger.schema import attempts, campaigns, messages, receipts
from bulksend.messaging.audience import Audience
from bulksend.messaging.masking import mask_digits
from bulksend.messaging.number_forms import number_forms
from bulksend.messaging.states import HELD, Kind, Status

#: Ids and ``queued_at`` follow the database's clock. The ids of an older installation followed another clock: for them
#: a range of ids is this much wider.
CLOCK_SKEW_MS = 86_400_000
_NEAR_SINCE = "ids_near_since"
#: The newest messages of any campaign: of how many campaigns and statuses one query reads the newest, and a page.
_HEADS_PER_QUERY, _PAGES_PER_QUERY = 200, 6
#: This many single messages of a status are looked at for those of one sender.
SENDERS_SEEN = 3_000
#: Later than any message: the intake of the campaign is not done.
_STILL_OPEN = 2**47

#: The columns of ``messages find``, without content and variables.
COLUMNS = shown(
    (
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
        "purpose",
        "superseded_by",
    )
)


@dataclass(frozen=True, slots=True)
class Query:
    """Filters, None: any. ``since`` and ``until`` bound ``queued_at``, in ms since the epoch."""

    phone: str | None = None
    message_id: str | None = None
    request_id: str | None = None
    campaign_id: str | None = None
    status: str | None = None
    kind: str | None = None
    sender: str | None = None
    since: int | None = None
    until: int | None = None


def find(tx: Connection, query: Query, *, limit: int, before: str | None = None) -> list[RowMapping]:
    """Matching messages, newest first; ``before`` is the id of the last line of the previous page.

    Raises InvalidInput when ``before`` is not an id.
    """
    if before is not None:
        before = _check_id(before)
    older = [] if before is None else [messages.c.id < before]
    if not (query.phone or query.message_id or query.request_id or query.status in HELD):
        # All messages of a campaign have its kind, and those of one with a sender its sender.
        narrowed = [*conditions(tx, replace(query, kind=None, sender=None)), *older]
        if query.campaign_id is not None:
            if not _may_have(tx, query):
                return []
            statuses = list(Status) if query.status is None else [query.status]
            page = _page_of_campaign(
                query.campaign_id, statuses, narrowed, limit, newest_first=True, sender=query.sender
            )
            prefer_indexes(tx)
            return _by_ids(tx, COLUMNS, [str(id) for (id,) in tx.execute(page)])[::-1]
        if query.status is not None or query.kind is not None or query.sender is not None:
            prefer_indexes(tx)
            return _by_ids(tx, COLUMNS, _newest_of_any(tx, query, before, narrowed, limit))[::-1]
    every = [*conditions(tx, query), *older]
    statement = select(*COLUMNS).where(*every).order_by(messages.c.id.desc()).limit(limit)
    return list(tx.execute(statement).mappings())


def _may_have(tx: Connection, query: Query) -> bool:
    """Whether the campaign can have messages of the kind and the sender."""
    if query.kind is None and query.sender is None:
        return True
    kind, sender = tx.execute(
        select(campaigns.c.kind, campaigns.c.sender).where(campaigns.c.id == query.campaign_id)
    ).one()
    return query.kind in (None, kind) and (query.sender in (None, sender) or not sender)


def find_all(tx: Connection, query: Query, *, page: int = 5000) -> Iterator[RowMapping]:
    """Every matching message, newest first; memory stays flat."""
    before = None
    while True:
        rows = find(tx, query, limit=page, before=before)
        yield from rows
        if len(rows) < page:
            return
        before = str(rows[-1]["id"])


def by_ids(tx: Connection, ids: Sequence[str]) -> list[RowMapping]:
    """The messages of these ids, newest first."""
    return _by_ids(tx, COLUMNS, ids)[::-1]


def _by_ids(tx: Connection, columns: Sequence[ColumnElement[Any]], ids: Sequence[str]) -> list[RowMapping]:
    """The messages of these ids, in the order of the ids."""
    rows = tx.execute(select(*columns).where(among(tx, messages.c.id, ids))).mappings().all()
    return sorted(rows, key=lambda row: str(row["id"]))


def _check_id(id: str) -> str:
    if not is_id(id):
        raise InvalidInput(
            f"--before: {mask_digits(id[:40])!r} is not the id of a message; use the id of the last line"
        )
    return str(UUID(id))


def _newest_of_any(
    tx: Connection, query: Query, before: str | None, conditions: Sequence[ColumnElement[bool]], limit: int
) -> list[str]:
    """The ids of the newest messages, of any campaign.

    Reads a page of each campaign and status, those with the newest message first, until no other can have a newer one.
    An index of status alone would have to be updated at each step of each message.
    """
    # Standing campaigns may have none of the sender.
    heads = iter(_heads(tx, query, before, conditions, limit + 2 * len(Kind) * len(Status)))
    found: list[str] = []
    while group := list(islice(heads, _PAGES_PER_QUERY)):
        if len(found) == limit and group[0][0] < found[-1]:
            break
        branches = (
            _page_in_status(id, status, conditions, limit, newest_first=True, sender=query.sender)
            for _, id, status in group
        )
        merged = union_all(*(select(branch.c.id) for branch in branches)).subquery()
        ids = tx.execute(select(merged.c.id).order_by(merged.c.id.desc()).limit(limit)).scalars()
        found = sorted([*found, *map(str, ids)], reverse=True)[:limit]
    return found


def _heads(
    tx: Connection, query: Query, before: str | None, conditions: Sequence[ColumnElement[bool]], limit: int
) -> list[tuple[str, str, str]]:
    """The newest message of each campaign in each status, the campaign and the status: the newest ``limit`` of them.

    Reads the campaigns whose intake ended last first, until no other campaign can have a newer one.
    """
    held = counters.statuses_held(query.status).subquery()
    newest = (
        select(messages.c.id)
        .where(messages.c.campaign_id == campaigns.c.id, messages.c.status == held.c.status, *conditions)
        .order_by(messages.c.id.desc())
        .limit(1)
        .correlate(campaigns, held)
        .scalar_subquery()
    )
    asked = (
        _campaigns_of(query, before, _near_since(tx))
        .join(held, held.c.campaign_id == campaigns.c.id)
        .add_columns(held.c.status, newest.label("newest"))
        .order_by(held.c.status)
        .limit(_HEADS_PER_QUERY)
    )
    heads: list[tuple[str, str, str]] = []
    for page in count():
        rows = tx.execute(asked.offset(page * _HEADS_PER_QUERY)).all()
        heads += [(str(newest), str(id), status) for id, _, status, newest in rows if newest is not None]
        heads = sorted(heads, reverse=True)[:limit]
        if len(rows) < _HEADS_PER_QUERY:
            break
        if len(heads) == limit and lowest_at(rows[-1].until + 1) <= heads[-1][0]:
            break
    return heads


def _campaigns_of(query: Query, before: str | None, near_since: int | None) -> Select[tuple[str, int]]:
    """Campaigns that may have messages within the time range, and when their intake ended at the latest."""
    # Only direct sends come in after the intake of their campaign is done.
    goes_on = or_(campaigns.c.intake_done_at.is_(None), IS_DIRECT)
    last = case((goes_on, literal(_STILL_OPEN)), else_=campaigns.c.intake_done_at)

    def skew(instant: ColumnElement[int]) -> ColumnElement[int]:
        if near_since is None:
            return literal(CLOCK_SKEW_MS)
        return case((instant >= near_since, literal(NEAR_MS)), else_=literal(CLOCK_SKEW_MS))

    until = (last + skew(last)).label("until")
    matching = select(campaigns.c.id, until)
    if query.kind is not None:
        matching = matching.where(campaigns.c.kind == query.kind)
    if query.sender is not None:
        # Each single message has a sender of its own.
        matching = matching.where(campaigns.c.sender.in_(["", query.sender]))
    if query.since is not None:
        matching = matching.where(last >= query.since)
    if query.until is not None:
        matching = matching.where(campaigns.c.created_at <= query.until)
    if before is not None:
        matching = matching.where(campaigns.c.created_at - skew(campaigns.c.created_at) <= instant_of(before))
    return matching.order_by(until.desc(), campaigns.c.id.desc())


def _page_in_status(
    campaign_id: str,
    status: str,
    conditions: Sequence[ColumnElement[bool]],
    limit: int,
    *,
    newest_first: bool,
    sender: str | None = None,
) -> Subquery:
    """A page of the ids of a campaign's messages in a status, from the index of (campaign, status, id).

    With ``sender`` of the first SENDERS_SEEN of them: no index has the sender.
    """
    here = messages.c.campaign_id == campaign_id, messages.c.status == status
    order = messages.c.id.desc() if newest_first else messages.c.id.asc()
    page = select(messages.c.id).where(*here, *conditions).order_by(order)
    if sender is not None:
        seen = page.add_columns(messages.c.sender).limit(SENDERS_SEEN).subquery()
        page = select(seen.c.id).where(seen.c.sender == sender)
    return page.limit(limit).subquery()


def _page_of_campaign(
    campaign_id: str,
    statuses: Sequence[str],
    conditions: Sequence[ColumnElement[bool]],
    limit: int,
    *,
    newest_first: bool,
    sender: str | None = None,
) -> Select[tuple[str]]:
    """The ids of a page of a campaign: a page of each status from the index of (campaign, status, id), merged.

    With a plain query both databases would sort the whole campaign for each page. The query selects ids alone, or
    PostgreSQL would scan all newer messages when the campaign has most of the table.
    """
    pages = (
        _page_in_status(campaign_id, status, conditions, limit, newest_first=newest_first, sender=sender)
        for status in statuses
    )
    merged = union_all(*(select(page.c.id) for page in pages)).subquery()
    page = select(merged.c.id).order_by(merged.c.id.desc() if newest_first else merged.c.id).limit(limit)
    return select(page.subquery().c.id)


def conditions(tx: Connection, query: Query) -> Iterator[ColumnElement[bool]]:
    """The conditions of the filters."""
    if query.phone is not None:
        yield messages.c.recipient.in_(number_forms(query.phone))
    if query.message_id is not None:
        yield messages.c.id.in_(union_all(*look_up.with_message_id(query.message_id)))
    if query.request_id is not None:
        yield messages.c.id.in_(union_all(*look_up.with_request_id(query.request_id)))
    if query.campaign_id is not None:
        yield messages.c.campaign_id == query.campaign_id
    if query.status is not None:
        yield has_status(tx, Status(query.status))
    if query.kind is not None:
        yield messages.c.kind == query.kind
    if query.sender is not None:
        yield messages.c.sender == query.sender
    if query.since is not None or query.until is not None:
        yield from _intake_range(tx, query.since, query.until)


def _intake_range(tx: Connection, since: int | None, until: int | None) -> Iterator[ColumnElement[bool]]:
    """The range of ``queued_at``, and the range of ids that it implies."""
    near_since = _near_since(tx)
    if since is not None:
        near = near_since is not None and since >= near_since
        yield messages.c.queued_at >= since
        yield messages.c.id >= lowest_at(since - (NEAR_MS if near else CLOCK_SKEW_MS))
    if until is not None:
        near = near_since is not None and until >= near_since + CLOCK_SKEW_MS
        yield messages.c.queued_at <= until
        yield messages.c.id < lowest_at(until + 1 + (NEAR_MS if near else CLOCK_SKEW_MS))


def _near_since(tx: Connection) -> int | None:
    """Since when (ms) ids follow the ledger's clock; None where that is not on record."""
    found = installation.get(tx, _NEAR_SINCE)
    return None if found is None else int(found)


def export(
    tx: Connection, campaign_id: str, *, payloads: bool = False, page: int = 5000
) -> Iterator[RowMapping]:
    """Every message of a campaign in the order of intake; memory stays flat. With ``payloads`` they are included."""
    columns = [*COLUMNS, messages.c.payload] if payloads else COLUMNS
    after = None
    while True:
        rows = _next_of_campaign(tx, campaign_id, columns, list(Status), [], after, page)
        yield from rows
        if len(rows) < page:
            return
        after = str(rows[-1]["id"])


#: What another message to the same people may need of the first one.
_OF_AUDIENCE = ("id", "row", "key", "recipient", "payload", "due_at", "expires_at", "attempts")


def audience(
    tx: Connection, campaign_id: str, of: Audience, *, after: str | None = None, limit: int = 5000
) -> list[RowMapping]:
    """A page of the messages whose people are an audience of a campaign, in the order of intake.

    Without forgotten persons. ``after`` is the last id of the page before. With the columns _OF_AUDIENCE.
    """
    columns = [messages.c[name] for name in _OF_AUDIENCE]
    narrowed = [messages.c.recipient != "", *([] if of.code is None else [_failed_with(of.code)])]
    return _next_of_campaign(tx, campaign_id, columns, sorted(of.statuses), narrowed, after, limit)


def _failed_with(code: int) -> ColumnElement[bool]:
    """Whether the answer to the newest attempt, or a receipt, has the code."""
    newest = select(attempts.c.id).where(
        attempts.c.message_pk == messages.c.id,
        attempts.c.id == messages.c.attempt_id,
        attempts.c.whatsapp_code == code,
    )
    receipt = select(receipts.c.id).where(
        receipts.c.message_pk == messages.c.id, receipts.c.status == "failed", receipts.c.code == str(code)
    )
    return or_(messages.c.ret_code == code, exists(newest), exists(receipt))


def _next_of_campaign(
    tx: Connection,
    campaign_id: str,
    columns: Sequence[ColumnElement[Any]],
    statuses: Sequence[str],
    conditions: Sequence[ColumnElement[bool]],
    after: str | None,
    limit: int,
) -> list[RowMapping]:
    prefer_indexes(tx)
    newer = messages.c.id > (after or lowest_at(0))
    ids = _page_of_campaign(campaign_id, statuses, [newer, *conditions], limit, newest_first=False)
    return _by_ids(tx, columns, [str(id) for (id,) in tx.execute(ids)])
