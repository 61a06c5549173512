"""Events: what happened to messages and campaigns, each with a number, in the order of the numbers.

Triggers on ``messages`` and ``campaigns`` (migration 0016) write ``events`` in the transaction of each change. The
numbers are given later (``event_numbers``).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, text, update

from bulksend.ledger import counters
from bulksend.ledger.clock import current_ms, read_clock
from bulksend.ledger.database import among, prefer_indexes
from bulksend.ledger.event_numbers import number_of_row
from bulksend.ledger.schema import LATE_CODES_SQL, campaigns, events, messages, receipts
from bulksend.messaging.masking import mask_digits, mask_key, mask_phone
from bulksend.messaging.units import format_instant

UNDELIVERED = "message.undelivered"
#: Of messages and campaigns; the last line by ``add``.
TYPES = (
    *("message.accepted", "message.delivered", "message.read", "message.failed", "message.expired"),
    *("message.suppressed", "message.cancelled", "message.superseded", "message.unknown", "message.resolved"),
    UNDELIVERED,
    *("campaign.started", "campaign.paused", "campaign.resumed", "campaign.finished"),
    *("campaign.reopened", "campaign.cancelled"),
    *("sender.changed", "template.changed", "webhook.disabled"),
)
#: How many rows a page with a filter looks at.
SCANNED = 2_000
#: A code that was accepted longer ago than this is not called undelivered any more.
UNDELIVERED_WITHIN_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Event:
    """``seq`` is its number, ``at`` in ms since the epoch by the ledger's clock, ``data`` ready for JSON."""

    seq: int
    type: str
    at: int
    data: dict[str, Any]

    def masked(self) -> Event:
        """Without the recipient's number: masked in ``to``, and in a key or an error that holds it."""
        data = dict(self.data)
        if "to" in data:
            to = str(data["to"])
            data |= {"to": mask_phone(to), "key": mask_key(str(data["key"]), to)}
        for name in ("error", "pause_why"):
            if name in data:
                data[name] = mask_digits(str(data[name]))
        return replace(self, data=data)


@dataclass(frozen=True, slots=True)
class EventPage:
    """``upto``: all events up to this number were looked at; the next page begins after it. ``more`` may follow."""

    events: list[Event]
    upto: int
    more: bool


# -- write ------------------------------------------------------------------------------------------


def add(tx: Connection, type: str, data: Mapping[str, Any]) -> None:
    """Add an event of a rare type, such as ``sender.changed``. ``data`` is without private values."""
    tx.execute(insert(events).values(_fields(tx, type) | {"at": current_ms(), "data": json.dumps(data)}))


def _fields(tx: Connection, type: str) -> dict[str, Any]:
    """What a row of one item begins with. On SQLite it needs no number."""
    return {"seq": 0 if tx.dialect.name == "sqlite" else None, "type": type, "count": 1}


def add_undelivered(tx: Connection, wait_ms: int, limit: int = 1000) -> int:
    """Add ``message.undelivered``, once, for each code that was accepted ``wait_ms`` ago and not delivered since.

    Adds none in a ledger that never got a receipt: there, its absence says nothing. Returns how many.
    """
    if wait_ms <= 0 or tx.execute(select(receipts.c.id).limit(1)).first() is None:
        return 0
    prefer_indexes(tx)
    now = read_clock(tx)
    accepted_at = messages.c.accepted_at
    found = tx.execute(
        select(messages.c.id, messages.c.campaign_id)
        .where(text(LATE_CODES_SQL), accepted_at <= now - wait_ms)
        .where(accepted_at > now - wait_ms - UNDELIVERED_WITHIN_MS)
        .order_by(accepted_at)
        .limit(limit)
        # PostgreSQL checks the locked row again: a receipt may have come meanwhile.
        .with_for_update(skip_locked=True)
    ).all()
    late: dict[str, list[str]] = {}
    for id, campaign_id in found:
        late.setdefault(str(campaign_id), []).append(str(id))
    data = json.dumps({"status": "accepted", "after_seconds": wait_ms / 1000})
    for campaign_id, ids in late.items():
        tx.execute(update(messages).where(among(tx, messages.c.id, ids)).values(undelivered_at=now))
        # A row has all its items on PostgreSQL and one on SQLite.
        packs: list[tuple[int, Any]] = (
            [(1, id) for id in ids] if tx.dialect.name == "sqlite" else [(len(ids), ids)]
        )
        fields = _fields(tx, UNDELIVERED) | {"at": now, "campaign_id": campaign_id, "data": data}
        tx.execute(insert(events), [fields | {"count": count, "items": items} for count, items in packs])
    return len(found)


# -- read -------------------------------------------------------------------------------------------


def after(tx: Connection, seq: int, limit: int, *, numbers: bool = False) -> list[Event]:
    """Up to ``limit`` events with a number above ``seq``, in the order of the numbers.

    Phone numbers are masked unless ``numbers``. The fields of a message are those it has now; ``status`` is that of the
    event.
    """
    return page(tx, seq, limit, numbers=numbers).events


def page(
    tx: Connection,
    seq: int,
    limit: int,
    *,
    types: Collection[str] = (),
    campaign_id: str | None = None,
    numbers: bool = False,
) -> EventPage:
    """``after`` with a filter: a page of it looks at SCANNED rows at most, and may be short or empty."""
    rows = _rows(tx, seq, SCANNED if types or campaign_id else limit)
    full = len(rows) == (SCANNED if types or campaign_id else limit)
    chosen: list[Row[Any]] = []
    room = limit
    for row in rows:
        if (types and row.type not in types) or (campaign_id and str(row.campaign_id) != campaign_id):
            continue
        chosen.append(row)
        room -= row.number - max(seq, row.number - row.size)
        if room <= 0:
            break
    found = _joined(tx, chosen, seq, limit)
    shown = found if numbers else [event.masked() for event in found]
    if room <= 0:
        return EventPage(shown, shown[-1].seq, more=True)
    return EventPage(shown, rows[-1].number if rows else seq, more=full)


def _rows(tx: Connection, seq: int, limit: int) -> Sequence[Row[Any]]:
    """The rows after ``seq``, without their items."""
    number = number_of_row(tx)
    prefer_indexes(tx)
    e = events.c
    columns = number.label("number"), e.id, e["count"].label("size"), e.type, e.at, e.campaign_id, e.data
    query: Select[Any] = select(*columns).where(number > seq)
    return tx.execute(query.order_by(number).limit(limit)).all()


_MESSAGE_COLUMNS = (
    *("id", "campaign_id", "key", "kind", "sender", "recipient", "message_id", "request_id", "ret_code"),
    *(
        "error",
        "attempts",
        "due_at",
        "queued_at",
        "sent_at",
        "accepted_at",
        "delivered_at",
        "read_at",
        "ended_at",
        "superseded_by",
    ),
)
#: What a message has only after the event, as it may have gone on since.
_LATER: Mapping[str, frozenset[str]] = {
    "accepted": frozenset({"delivered_at", "read_at", "error"}),
    "delivered": frozenset({"read_at", "error"}),
    "read": frozenset({"error"}),
}


def _joined(tx: Connection, rows: Sequence[Row[Any]], seq: int, limit: int) -> list[Event]:
    """Up to ``limit`` events of these rows above ``seq``: one query for messages, one for campaigns."""
    items = _items(tx, [row.id for row in rows if row.type.startswith("message.")])
    wanted: dict[int, Sequence[str]] = {}
    for row in rows:
        read = max(0, seq - (row.number - row.size))
        wanted[row.id] = items.get(row.id, ())[read : read + limit]
        limit -= row.size - read
    known = _messages(tx, [id for ids in wanted.values() for id in ids])
    about = _campaigns(tx, {str(row.campaign_id) for row in rows if row.type.startswith("campaign.")})
    return [event for row in rows for event in _of_row(row, seq, wanted[row.id], known, about)]


def _of_row(
    row: Row[Any],
    seq: int,
    ids: Sequence[str],
    known: Mapping[str, Mapping[str, Any]],
    about: Mapping[str, Mapping[str, Any]],
) -> Iterator[Event]:
    more = json.loads(row.data) if row.data else {}
    if row.type.startswith("message."):
        status = more.get("status", row.type.removeprefix("message."))
        for n, id in enumerate(ids, max(seq, row.number - row.size) + 1):
            data = {"id": id, "campaign_id": str(row.campaign_id), "status": status, "version": n}
            yield Event(n, row.type, row.at, data | _of_message(known.get(id, {}), status) | more)
    elif row.type.startswith("campaign."):
        id = str(row.campaign_id)
        data = {"campaign_id": id, "version": row.number}
        yield Event(row.number, row.type, row.at, data | dict(about.get(id, {})) | more)
    else:
        yield Event(row.number, row.type, row.at, more)


def _of_message(row: Mapping[str, Any], status: str) -> dict[str, Any]:
    later = _LATER.get(status, frozenset())
    return {
        "to" if name == "recipient" else name: format_instant(value) if name.endswith("_at") else value
        for name, value in row.items()
        if value is not None and name not in later
    }


def _items(tx: Connection, ids: Sequence[int]) -> dict[int, list[str]]:
    if not ids:
        return {}
    rows = tx.execute(select(events.c.id, events.c["items"]).where(events.c.id.in_(ids)))
    return {id: [items] if isinstance(items, str) else [str(item) for item in items] for id, items in rows}


def _messages(tx: Connection, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    if not ids:
        return {}
    columns = [messages.c[name] for name in _MESSAGE_COLUMNS]
    rows = tx.execute(select(*columns).where(among(tx, messages.c.id, ids))).mappings()
    return {str(row["id"]): {str(name): value for name, value in row.items()} for row in rows}


def _campaigns(tx: Connection, ids: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """Names and counts of campaigns, as they are now."""
    if not ids:
        return {}
    c = campaigns.c
    counts = counters.of(tx, ids)
    rows = tx.execute(
        select(c.id, c.name, c.kind, c.sender, c.status, c.pause_why).where(among(tx, c.id, [*ids]))
    )
    return {
        str(id): {"name": name, "kind": kind, "sender": sender, "status": status}
        | {"messages": sum(counts[str(id)].statuses.values()), "statuses": counts[str(id)].statuses}
        | ({} if why is None else {"pause_why": why})
        for id, name, kind, sender, status, why in rows
    }
