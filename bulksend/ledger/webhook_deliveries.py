"""Deliveries of webhooks: made with the endpoint's cursor, claimed by a lease, settled, replayed, deleted by age.

``next_at`` of a delivery that is being sent is the end of its lease, and ``attempts`` its fencing token: what a
notifier that died held is due again then, and a late result of it changes nothing.

A delivery has the result of its newest try in columns, and those of the tries before as one text, which its claimer
reads with it: most deliveries succeed at the first try, and for those nothing more is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, Update, bindparam, case, delete, insert, literal, select, update

from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.clock import current_ms
from bulksend.ledger.database import among, count_up_to, delete_found, first, newest_first, rows_changed
from bulksend.ledger.ids import new_id
from bulksend.ledger.schema import webhook_deliveries, webhook_endpoints
from bulksend.ledger.webhook_endpoints import REMOVED
from bulksend.messaging.webhook_bodies import WebhookBody

PENDING, DELIVERED, DEAD = "pending", "delivered", "dead"
STATUSES = (PENDING, DELIVERED, DEAD)
_DAY_MS = 86_400_000
#: A delivered one keeps its body, and then its row, for this long.
BODY_MS, ROW_MS = 3 * _DAY_MS, 30 * _DAY_MS
#: A transaction of ``delete_old`` touches this many rows.
_AT_ONCE = 2_000
_CLAIMED = ("id", "endpoint_id", "type", "attempts", "body")
_SHOWN = [column for column in webhook_deliveries.c if column.name != "body"]
#: What is kept of a try. ``tried_at`` is its end.
RESULT = ("tried_at", "http_status", "error", "latency_ms")
#: The number of tries that are kept: the newest ones.
TRIES_KEPT = 20


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that its claimer may send until its lease ends.

    ``attempts`` counts this try. ``earlier_tries`` is what the column has to be once this try has a result.
    """

    id: str
    endpoint_id: str
    type: str
    attempts: int
    body: bytes
    earlier_tries: str | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """The result of a try. ``wait_ms``: until the next one, for ``status`` pending."""

    delivery: Claimed
    status: str
    wait_ms: int
    http_status: int | None
    error: str | None
    latency_ms: float


def store(
    tx: Connection, endpoint_id: str, bodies: Iterable[WebhookBody], *, lease_ms: int | None = None
) -> list[Claimed]:
    """Make a delivery of each body, due now; with ``lease_ms`` claimed by the caller, which saves a transaction."""
    attempts = 0 if lease_ms is None else 1
    made = [(Claimed(new_id(), endpoint_id, body.type, attempts, body.body), body) for body in bodies]
    rows = [
        {
            **{name: getattr(claimed, name) for name in _CLAIMED},
            "first_seq": body.first_seq,
            "last_seq": body.last_seq,
            "status": PENDING,
        }
        for claimed, body in made
    ]
    if rows:
        due = current_ms() + (lease_ms or 0)
        tx.execute(insert(webhook_deliveries).values(next_at=due, created_at=current_ms()), rows)
    return [claimed for claimed, _ in made]


def next_due_in_ms(tx: Connection, endpoint_ids: Sequence[str]) -> dict[str, int]:
    """For each endpoint with pending deliveries, in how many ms the next one is due; 0 or less: now."""
    table = webhook_deliveries.c
    found: dict[str, int] = {}
    # One look into the index for each: a GROUP BY reads all that is pending.
    for id in endpoint_ids:
        first = select(table.next_at - current_ms()).where(table.endpoint_id == id, table.status == PENDING)
        wait = tx.scalar(first.order_by(table.next_at).limit(1))
        if wait is not None:
            found[id] = int(wait)
    return found


def waiting(tx: Connection, endpoint_id: str, most: int) -> int:
    """How many deliveries of an endpoint are pending, counted up to ``most``."""
    table = webhook_deliveries.c
    pending = select(literal(1)).where(table.endpoint_id == endpoint_id, table.status == PENDING)
    return count_up_to(tx, most, pending)


def claim(tx: Connection, endpoint_id: str, *, limit: int, lease_ms: int) -> list[Claimed]:
    """Take deliveries of an endpoint that are due, the longest due first; no other notifier takes them meanwhile."""
    table = webhook_deliveries.c
    due = (
        select(*(table[name] for name in (*_CLAIMED, "earlier_tries", *RESULT)))
        .where(table.endpoint_id == endpoint_id, table.status == PENDING, table.next_at <= current_ms())
        .order_by(table.next_at, table.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = [
        Claimed(
            row["id"], endpoint_id, row["type"], row["attempts"] + 1, bytes(row["body"]), _with_newest(row)
        )
        for row in tx.execute(due).mappings()
    ]
    if found:
        tx.execute(
            update(webhook_deliveries)
            .where(among(tx, table.id, [each.id for each in found]))
            .values(attempts=table.attempts + 1, next_at=current_ms() + lease_ms)
        )
    return found


def settle(tx: Connection, results: Sequence[Tried]) -> None:
    """Write the results of tries; ignored where the lease has ended and another try begun."""
    rows = [
        {
            "its_id": each.delivery.id,
            "its_attempts": each.delivery.attempts,
            "status": each.status,
            "wait_ms": each.wait_ms,
            "http_status": each.http_status,
            "error": None if each.error is None else storable(each.error, 200),
            "latency_ms": each.latency_ms,
            # NULL at the first try, as it is already.
            "earlier_tries": each.delivery.earlier_tries,
        }
        for each in results
    ]
    change = _of_its_claimer().values(
        status=bindparam("status"),
        next_at=current_ms() + bindparam("wait_ms"),
        http_status=bindparam("http_status"),
        error=bindparam("error"),
        latency_ms=bindparam("latency_ms"),
        earlier_tries=bindparam("earlier_tries"),
        tried_at=current_ms(),
        ended_at=case((bindparam("status") != PENDING, current_ms())),
    )
    if rows:
        tx.execute(change, rows)


def release(tx: Connection, claimed: Sequence[Claimed]) -> None:
    """Give back what was claimed and not sent: due now, and no try."""
    if claimed:
        table = webhook_deliveries.c
        change = _of_its_claimer().values(attempts=table.attempts - 1, next_at=current_ms())
        tx.execute(change, [{"its_id": each.id, "its_attempts": each.attempts} for each in claimed])


def _of_its_claimer() -> Update:
    table = webhook_deliveries.c
    return update(webhook_deliveries).where(
        table.id == bindparam("its_id"),
        table.attempts == bindparam("its_attempts"),
        table.status == PENDING,
    )


def tries(row: Mapping[Any, Any]) -> list[dict[str, Any]]:
    """The kept tries of a delivery as ``get`` and ``page`` give it, the oldest first; each has RESULT."""
    earlier: list[dict[str, Any]] = json.loads(row["earlier_tries"] or "[]")
    return earlier if row["tried_at"] is None else [*earlier, {name: row[name] for name in RESULT}]


def _with_newest(row: Mapping[Any, Any]) -> str | None:
    """The column ``earlier_tries`` of a row whose newest try is followed by another one."""
    kept = tries(row)[1 - TRIES_KEPT :]
    return json.dumps(kept, separators=(",", ":")) if kept else None


def get(tx: Connection, id: str) -> dict[str, Any] | None:
    """One delivery without its body; None where there is none of that id."""
    return first(tx, select(*_SHOWN).where(webhook_deliveries.c.id == id), dict)


def page(
    tx: Connection, endpoint_id: str, *, status: str | None, before: str | None, limit: int
) -> list[dict[str, Any]]:
    """Deliveries of an endpoint, the newest first."""
    table = webhook_deliveries.c
    query: Select[Any] = select(*_SHOWN).where(table.endpoint_id == endpoint_id)
    if status is not None:
        query = query.where(table.status == status)
    return [dict(row) for row in tx.execute(newest_first(query, table.id, limit, before)).mappings()]


def replay(tx: Connection, endpoint_id: str, ids: Sequence[str]) -> int:
    """Have these sent once more, with all tries; returns how many have a body and were not pending."""
    table = webhook_deliveries.c
    change = _again().where(table.endpoint_id == endpoint_id, table.status != PENDING)
    return rows_changed(tx, change.where(among(tx, table.id, ids)))


def replay_dead(tx: Connection, endpoint_id: str, *, since: int | None, until: int | None) -> int:
    """Have the dead ones made in that time sent once more; returns how many."""
    table = webhook_deliveries.c
    change = _again().where(table.endpoint_id == endpoint_id, table.status == DEAD)
    if since is not None:
        change = change.where(table.created_at >= since)
    if until is not None:
        change = change.where(table.created_at < until)
    return rows_changed(tx, change)


def _again() -> Update:
    return (
        update(webhook_deliveries)
        .where(webhook_deliveries.c.body.is_not(None))
        .values(status=PENDING, attempts=0, next_at=current_ms(), ended_at=None)
    )


def delete_old(tx: Connection) -> dict[str, int]:
    """Delete bodies and rows of what was delivered long ago, and a part of what removed endpoints leave behind."""
    table = webhook_deliveries.c
    old = select(table.id).where(table.status == DELIVERED, table.ended_at < current_ms() - ROW_MS)
    deleted = delete_found(tx, table.id, old.limit(_AT_ONCE))
    spent: list[str] = list(
        tx.scalars(
            select(table.id)
            .where(
                *(table.status == DELIVERED, table.body.is_not(None), table.ended_at < current_ms() - BODY_MS)
            )
            .limit(_AT_ONCE)
        )
    )
    if spent:
        tx.execute(update(webhook_deliveries).where(among(tx, table.id, spent)).values(body=None))
    removed = list(
        tx.scalars(select(webhook_endpoints.c.id).where(webhook_endpoints.c.status == REMOVED).limit(10))
    )
    for id in removed:
        left = delete_found(tx, table.id, select(table.id).where(table.endpoint_id == id).limit(_AT_ONCE))
        deleted += left
        if left < _AT_ONCE:
            tx.execute(delete(webhook_endpoints).where(webhook_endpoints.c.id == id))
    return {"bodies": len(spent), "rows": deleted}
