"""What ops ask: one named query each, in keyset pages, without counting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, or_, select

from bulksend.ledger.schema import attempts, messages

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
    statement = select(*FOUND).order_by(messages.c.id.desc()).limit(limit)
    if query.phone is not None:
        statement = statement.where(messages.c.recipient == query.phone)
    if query.message_id is not None:
        statement = statement.where(messages.c.message_id == query.message_id)
    if query.request_id is not None:
        # The message keeps the newest request id, its attempts keep each.
        of_attempts = select(attempts.c.message_pk).where(attempts.c.request_id == query.request_id)
        statement = statement.where(
            or_(messages.c.request_id == query.request_id, messages.c.id.in_(of_attempts))
        )
    if query.campaign_id is not None:
        statement = statement.where(messages.c.campaign_id == query.campaign_id)
    if query.status is not None:
        statement = statement.where(messages.c.status == query.status)
    if query.since is not None:
        statement = statement.where(messages.c.queued_at >= query.since)
    if query.until is not None:
        statement = statement.where(messages.c.queued_at <= query.until)
    if before is not None:
        statement = statement.where(messages.c.id < before)
    return list(tx.execute(statement).mappings())


def export(tx: Connection, campaign_id: str, *, page: int = 5000) -> Iterator[RowMapping]:
    """Every message of a campaign in the order of its intake, in flat memory."""
    after: str | None = None
    while True:
        statement = (
            select(*FOUND).where(messages.c.campaign_id == campaign_id).order_by(messages.c.id).limit(page)
        )
        if after is not None:
            statement = statement.where(messages.c.id > after)
        rows = tx.execute(statement).mappings().all()
        yield from rows
        if len(rows) < page:
            return
        after = str(rows[-1]["id"])
