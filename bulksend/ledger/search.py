"""What ops ask: one named query each, in keyset pages, without counting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, select, union_all

from bulksend.ledger.schema import attempts, messages
from bulksend.messaging.states import Status

#: ``queued_at`` is by the database's clock, an id by its maker's: bounds of ids leave a day between them.
CLOCKS_APART_MS = 86_400_000

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
    """The newest matching messages first; ``before`` is the id of the last line of the page before."""
    narrowed = list(conditions(query))
    if before is not None:
        narrowed.append(messages.c.id < before)
    if query.campaign_id is not None and _is_wide(query):
        narrowed = [messages.c.id.in_(_page_of(query.campaign_id, narrowed, limit, newest_first=True))]
    statement = select(*FOUND).where(*narrowed).order_by(messages.c.id.desc()).limit(limit)
    return list(tx.execute(statement).mappings())


def _is_wide(query: Query) -> bool:
    """Whether only the campaign itself narrows it down, which may have millions."""
    return query.status is None and not (query.phone or query.message_id or query.request_id)


def _page_of(
    campaign_id: str, conditions: Sequence[ColumnElement[bool]], limit: int, *, newest_first: bool
) -> Select[tuple[str]]:
    """The ids of a page of a campaign: a page of each status from the index of (campaign, status, id), merged.

    Without this both databases would sort the whole campaign for every page, or one more index would have to be
    kept up at each step of each message.
    """
    order = messages.c.id.desc() if newest_first else messages.c.id.asc()
    branches = []
    for status in Status:
        here = messages.c.campaign_id == campaign_id, messages.c.status == status.value
        branch = select(messages.c.id).where(*here, *conditions).order_by(order).limit(limit).subquery()
        branches.append(select(branch.c.id))
    merged = union_all(*branches).subquery()
    page = select(merged.c.id).order_by(merged.c.id.desc() if newest_first else merged.c.id).limit(limit)
    return select(page.subquery().c.id)


def conditions(query: Query) -> Iterator[ColumnElement[bool]]:
    """What a message must meet to be found."""
    if query.phone is not None:
        yield messages.c.recipient == query.phone
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
    if query.since is not None:
        yield messages.c.queued_at >= query.since
        yield messages.c.id >= _id_at(query.since - CLOCKS_APART_MS)
    if query.until is not None:
        yield messages.c.queued_at <= query.until
        yield messages.c.id < _id_at(query.until + CLOCKS_APART_MS)


def _id_at(instant_ms: int) -> str:
    """The lowest id made at that instant: a UUIDv7 begins with the milliseconds of its making (RFC 9562)."""
    within = min(max(instant_ms, 0), 2**48 - 1)
    return str(UUID(int=within << 80))


def export(tx: Connection, campaign_id: str, *, page: int = 5000) -> Iterator[RowMapping]:
    """Every message of a campaign in the order of its intake, in flat memory."""
    after = _id_at(0)
    while True:
        ids = _page_of(campaign_id, [messages.c.id > after], page, newest_first=False)
        statement = select(*FOUND).where(messages.c.id.in_(ids)).order_by(messages.c.id)
        rows = tx.execute(statement).mappings().all()
        yield from rows
        if len(rows) < page:
            return
        after = str(rows[-1]["id"])
