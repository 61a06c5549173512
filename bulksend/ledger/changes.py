"""What of the ledger has changed since it was looked at before: a few rows by their indexes, whatever its size."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, func, select

from bulksend.ledger import counters, operator_log
from bulksend.ledger.campaigns import IS_LIVE
from bulksend.ledger.schema import (
    audits,
    campaigns,
    events,
    inbound_messages,
    jobs,
    raw_receipts,
    receipts,
    senders,
    templates,
    uploads,
    webhook_deliveries,
    webhook_endpoints,
    workers,
)

#: Tables that grow, and the topic under which a new row in them is told. Their ids rise.
_GROWING: tuple[tuple[str, Table], ...] = (
    ("messages", events),
    ("messages", receipts),
    ("receipts", raw_receipts),
    ("inbound", inbound_messages),
    ("webhooks", webhook_deliveries),
)
#: Small ones, and what changes in a row that was there before.
_SMALL: tuple[tuple[str, Select[*tuple[Any, ...]]], ...] = (
    ("senders", select(senders.c.phone, senders.c.paused_at, senders.c.changed_at, senders.c.rate)),
    ("webhooks", select(webhook_endpoints.c.id, webhook_endpoints.c.status, webhook_endpoints.c.cursor)),
    (
        "webhooks",
        select(webhook_deliveries.c.id, webhook_deliveries.c.status, webhook_deliveries.c.attempts)
        .order_by(webhook_deliveries.c.id.desc())
        .limit(50),
    ),
    ("templates", select(func.count(), func.max(templates.c.changed_at), func.max(templates.c.synced_at))),
    ("jobs", select(uploads.c.id, uploads.c.state).order_by(uploads.c.id.desc()).limit(50)),
    ("jobs", select(jobs.c.id, jobs.c.status, jobs.c.rows_done).order_by(jobs.c.id.desc()).limit(50)),
    ("system", select(workers.c.id).where(workers.c.ended_at.is_(None))),
    ("system", select(func.max(audits.c.ended_at))),
)


def fingerprints(tx: Connection) -> dict[str, str]:
    """Of each topic a text that is another one after a change: ``campaigns``, ``senders``, … and ``campaign:ID``."""
    found: dict[str, list[object]] = {}
    for topic, table in _GROWING:
        newest = tx.execute(select(table.c.id).order_by(table.c.id.desc()).limit(1)).scalar()
        found.setdefault(topic, []).append(newest)
    for topic, query in _SMALL:
        found.setdefault(topic, []).append([tuple(row) for row in tx.execute(query)])
    # Without those of reading: a page that is one would follow itself.
    found["acts"] = list(operator_log.recent(tx, 1))
    _campaigns(tx, found)
    return {topic: _digest(parts) for topic, parts in found.items()}


def _campaigns(tx: Connection, found: dict[str, list[object]]) -> None:
    """The newest campaign, and the status and counts of each that has not ended."""
    columns = (
        campaigns.c.id,
        campaigns.c.status,
        campaigns.c.rate,
        campaigns.c.due_at,
        campaigns.c.rows_read,
    )
    live: list[Row[tuple[object, ...]]] = list(tx.execute(select(*columns).where(IS_LIVE)))
    counts = counters.of(tx, [str(row[0]) for row in live])
    newest = tx.execute(select(campaigns.c.id).order_by(campaigns.c.id.desc()).limit(1)).scalar()
    all_of_them = found.setdefault("campaigns", [newest])
    for row in live:
        now = (*row, counts[str(row[0])])
        found[f"campaign:{row[0]}"] = [now]
        all_of_them.append(now)


def _digest(parts: list[object]) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
