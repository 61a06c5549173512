"""After a restore: what the ledger, which is older than the world, says is unsent may have been sent since the backup.

Each such message becomes ``unknown``, with an attempt that says why, so that every rule about attempts holds and no
result, rescue or flight record of the time before sends it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select, text, update

from bulksend.ledger import counters, operator_log
from bulksend.ledger.campaigns import IS_DIRECT
from bulksend.ledger.clock import current_ms, read_clock
from bulksend.ledger.database import among, prefer_indexes, set_statement_timeout
from bulksend.ledger.endings import ENDED_VALUES, RESTORED, WORKER_LOST
from bulksend.ledger.ids import new_id
from bulksend.ledger.in_flight import IS_IN_FLIGHT
from bulksend.ledger.schema import (
    LIVE_UPLOADS_SQL,
    UNKNOWN_SQL,
    WAITING_SQL,
    attempts,
    campaigns,
    in_flight,
    messages,
    plans,
    uploads,
)
from bulksend.messaging import quiet_hours
from bulksend.messaging.states import LEFT, CampaignStatus, Status
from bulksend.messaging.units import NEVER_MS

_WAITING = text(f"messages.{WAITING_SQL}")


def _maybe_sent(now: int) -> ColumnElement[bool]:
    """Of the waiting messages: it was due, or a worker had had it, whose waits may have ended since.

    Quiet hours end when it is due, and not before. What was off its schedule may have got any time.
    """
    was_held = messages.c.gate.is_not(None) & (messages.c.gate != quiet_hours.GATE)
    return or_(messages.c.due_at <= now, messages.c.due_at >= NEVER_MS, messages.c.attempts > 0, was_held)


def count(tx: Connection, now: int) -> dict[str, int]:
    """How many messages ``mark`` and ``close_held`` would make unknown, by kind."""
    set_statement_timeout(tx, 0)
    found: dict[str, int] = {}
    for condition in ([~IS_IN_FLIGHT, _maybe_sent(now)], [IS_IN_FLIGHT]):
        by_kind = select(messages.c.kind, func.count()).where(_WAITING, *condition)
        rows = tx.execute(by_kind.group_by(messages.c.kind))
        for kind, n in rows:
            found[kind] = found.get(kind, 0) + n
    return found


def campaigns_to_mark(tx: Connection) -> list[str]:
    """The campaigns that have messages which have not ended."""
    found = tx.execute(select(campaigns.c.id).where(counters.messages_in(LEFT) > 0))
    return [str(id) for id in found.scalars()]


def close_held(tx: Connection) -> int:
    """End what workers held: their leases are of another time, and so is what their flight records say of it."""
    lost = select(messages.c.id).where(text(f"messages.{UNKNOWN_SQL}")).scalar_subquery()
    was_lost = (attempts.c.outcome == "unknown") & (attempts.c.error == WORKER_LOST)
    # A flight record may clear these; it would be one of after the backup.
    tx.execute(update(attempts).where(was_lost, attempts.c.message_pk.in_(lost)).values(error=RESTORED))
    found = tx.execute(_candidates().where(_WAITING, IS_IN_FLIGHT).with_for_update(of=messages)).mappings()
    doubted = _doubt(tx, found.all())
    tx.execute(delete(in_flight))
    return doubted


def mark(tx: Connection, campaign_id: str, now: int, limit: int) -> int:
    """Make up to ``limit`` messages of a campaign unknown that waited and may have been sent; returns how many."""
    prefer_indexes(tx)
    found = tx.execute(
        _candidates()
        .where(_WAITING, messages.c.campaign_id == campaign_id, _maybe_sent(now))
        .order_by(messages.c.due_at, messages.c.id)
        .limit(limit)
        .with_for_update()
    ).mappings()
    return _doubt(tx, found.all())


def stop_intakes(tx: Connection, *, actor: str, why: str) -> tuple[list[str], int]:
    """Pause the campaigns whose rows were not all taken in, and refuse posted files that wait for their intake.

    Their rows may have been taken in and sent since. Returns the campaigns and the number of files.
    """
    halfway = select(campaigns.c.id).where(campaigns.c.status == CampaignStatus.INTAKE.value, ~IS_DIRECT)
    ids = list(tx.scalars(halfway))
    for id in ids:
        operator_log.apply(
            tx,
            update(campaigns)
            .where(campaigns.c.id == id)
            .values(status=CampaignStatus.PAUSED.value, paused_at=current_ms(), pause_why=RESTORED),
            actor=actor,
            act="pause",
            scope="campaign",
            subject=id,
            why=why,
            before={"status": CampaignStatus.INTAKE},
            after={"status": CampaignStatus.PAUSED},
        )
    refused = tx.execute(
        update(uploads)
        .where(text(LIVE_UPLOADS_SQL))
        .values(
            state="refused",
            error_code="restored",
            error=f"{RESTORED}: find out which of its rows were sent before you post it again",
            ended_at=current_ms(),
            owner=None,
            lease_until=None,
        )
    ).rowcount
    return ids, refused


def end_retries(tx: Connection, *, actor: str, why: str) -> list[str]:
    """End retries that were under way: what they had not reached may have been sent since. Returns the campaigns."""
    ended = tx.execute(
        update(campaigns)
        .where(campaigns.c.retry_until.is_not(None))
        .values(retry_until=None, retry_after=None)
        .returning(campaigns.c.id)
    ).scalars()
    ids = sorted(map(str, ended))
    operator_log.record_many(tx, ids, actor=actor, act="end retry", scope="campaign", why=why)
    return ids


def expire_plans(tx: Connection, *, actor: str, why: str) -> list[str]:
    """End plans that are open: one may have been applied since, and its campaign is not here. Returns their ids."""
    now = read_clock(tx)
    ended = tx.execute(
        update(plans)
        .where(plans.c.campaign_id.is_(None), plans.c.expires_at > now)
        .values(expires_at=now)
        .returning(plans.c.id)
    ).scalars()
    ids = sorted(map(str, ended))
    operator_log.record_many(tx, ids, actor=actor, act="expire", scope="plan", why=why)
    return ids


def _candidates() -> Any:
    return select(messages.c.id, messages.c.attempts, messages.c.sender, messages.c.expires_at)


def _doubt(tx: Connection, rows: Sequence[Mapping[Any, Any]]) -> int:
    """Make these messages unknown, each by one more attempt."""
    if not rows:
        return 0
    now = read_clock(tx)
    opened = [
        {
            "id": new_id(),
            "message_pk": row["id"],
            "n": row["attempts"] + 1,
            "owner": new_id(),
            "worker": "restored",
            "sender": row["sender"],
            # None is sent after its time to live.
            "started_at": now if row["expires_at"] is None else min(now, row["expires_at"]),
            "finished_at": now,
            "outcome": "unknown",
            "error": RESTORED,
        }
        for row in rows
    ]
    tx.execute(insert(attempts), opened)
    newest = select(attempts.c.id).where(
        attempts.c.message_pk == messages.c.id, attempts.c.n == messages.c.attempts + 1
    )
    tx.execute(
        update(messages)
        .where(among(tx, messages.c.id, [str(row["id"]) for row in rows]))
        .values(
            attempts=messages.c.attempts + 1,
            attempt_id=newest.correlate(messages).scalar_subquery(),
            status=Status.UNKNOWN.value,
            error=RESTORED,
            **ENDED_VALUES,
        )
    )
    return len(rows)
