"""Leases of workers, by the database's clock. A lease is the fencing token: only it may move the messages it holds.

A worker whose lease lapsed (it was stopped, or cut off from the database) must take a new one and forget its messages,
which another worker may hold now.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, exists, insert, literal, or_, select, text, update

from bulksend.ledger.bulk_parameters import IDS, bound, statement, table
from bulksend.ledger.clock import current_ms, now_sql, read_clock
from bulksend.ledger.database import among
from bulksend.ledger.endings import (
    ENDED,
    WIPED_PAYLOAD,
    WORKER_LOST,
    apply_evidence,
    ending_error,
    ending_status,
)
from bulksend.ledger.ids import new_id
from bulksend.ledger.schema import HELD_SQL, UNKNOWN_SQL, attempts, campaigns, messages, workers
from bulksend.ledger.settle import Settlement, settle
from bulksend.messaging.outcome import Evidence, NotSent
from bulksend.messaging.states import CampaignStatus, Kind, OnUnknown, Status

_LOST_BEFORE = "its worker was lost before the POST began"
MAX_STRIKES = 3
"""A message fails when this many workers died while rendering it, by their flight records."""


@dataclass(frozen=True, slots=True)
class Rescued:
    """Ids of the messages that a rescue moved."""

    given_back: list[str]
    unknown: list[str]
    quarantined: list[str]


def take(tx: Connection, name: str, lease_ms: int) -> tuple[str, int]:
    """A new lease for the worker of that name (host and pid). Returns its id and the database's clock."""
    id, now = new_id(), read_clock(tx)
    tx.execute(insert(workers).values(id=id, name=name[:100], started_at=now, lease_until=now + lease_ms))
    return id, now


def renew(tx: Connection, lease: str, lease_ms: int) -> int | None:
    """Extend a lease. Returns the database's clock, or None when the lease has lapsed."""
    now = read_clock(tx)
    kept = tx.execute(
        update(workers)
        .where(workers.c.id == lease, workers.c.lease_until > now, workers.c.ended_at.is_(None))
        .values(lease_until=now + lease_ms)
    ).rowcount
    return now if kept == 1 else None


def end(tx: Connection, lease: str) -> None:
    """End the lease of a worker that stops; a rescue returns what it still holds."""
    tx.execute(
        update(workers).where(workers.c.id == lease).values(lease_until=current_ms(), ended_at=current_ms())
    )


def alive(tx: Connection) -> list[str]:
    """The names of the workers whose lease runs."""
    return list(
        tx.execute(
            select(workers.c.name).where(workers.c.lease_until > current_ms(), workers.c.ended_at.is_(None))
        ).scalars()
    )


#: Not null where the lease holds a message. A subquery and not a join, so that it is one lookup in the index of held
#: messages with any statistics; in the words of that partial index.
_HOLDS = (
    select(literal(1))
    .select_from(messages)
    .where(messages.c.owner == workers.c.id, text(f"messages.{HELD_SQL}"))
    .limit(1)
    .correlate(workers)
    .scalar_subquery()
)


def any_lapsed(tx: Connection) -> bool:
    """Whether there may be something to rescue or to close. Only reads, and so delays no writer."""
    lapsed = select(workers.c.id).where(
        workers.c.lease_until <= current_ms(), or_(workers.c.ended_at.is_(None), _HOLDS.is_not(None))
    )
    return tx.execute(select(exists(lapsed))).scalar_one() in (True, 1)


def rescue(tx: Connection, *, resend_wait_ms: int) -> Rescued:
    """Take from lapsed leases what they hold: ``claimed`` goes back, ``sending`` becomes ``unknown``.

    Any number of rescues may run at once. A message of a campaign with ``on_unknown: resend`` is queued again, once,
    after ``resend_wait_ms``; an OTP never is.
    """
    lapsed = tx.execute(
        select(workers.c.id).where(workers.c.lease_until <= current_ms(), _HOLDS.is_not(None))
    ).scalars()
    done = Rescued([], [], [])
    for lease in lapsed.all():
        # No strike: a lease also lapses when its worker cannot reach the ledger.
        done.given_back.extend(_release_claimed(tx, lease))
        done.unknown.extend(_mark_unknown(tx, lease, resend_wait_ms))
    return done


def reap(
    tx: Connection, lease: str, *, rendering: str | None, begun: Iterable[str] | None, resend_wait_ms: int
) -> Rescued:
    """End the lease of a dead worker, and return its messages by its flight record.

    Of the open attempts only those in ``begun`` may have been sent (None: all of them). The messages of the others go
    back to the queue, also where a rescue made them unknown before. Of the claimed messages only the one that it was
    ``rendering`` gets a strike.
    """
    tx.execute(
        update(workers)
        .where(workers.c.id == lease, workers.c.ended_at.is_(None))
        .values(lease_until=current_ms(), ended_at=current_ms())
    )
    struck, quarantined = _strike(tx, lease, rendering) if rendering else ([], [])
    unsent: list[str] = []
    if begun is not None:
        known = list(begun)
        unsent = [*_release_unsent(tx, lease, known), *_clear_unsent(tx, lease, known)]
    rest = _release_claimed(tx, lease)
    return Rescued([*struck, *unsent, *rest], _mark_unknown(tx, lease, resend_wait_ms), quarantined)


# The relay knows a job by its message's due time. A later one makes a new job, which need not wait until the earlier
# one counts as lost.
_NEW_JOB = "due_at = due_at + 1"


def _release_claimed(tx: Connection, lease: str) -> list[str]:
    sql = f"""UPDATE messages SET owner = NULL, gate = NULL, gate_until = NULL, {_NEW_JOB},
              status = CASE WHEN attempts > 0 THEN 'retry' ELSE 'queued' END
              WHERE owner = :lease AND status = 'claimed' AND {HELD_SQL} RETURNING id"""  # noqa: S608
    return [str(id) for id in tx.execute(statement(sql), {"lease": lease}).scalars()]


def _release_unsent(tx: Connection, lease: str, begun: Iterable[str]) -> list[str]:
    """Return the messages whose POST had not begun, and close their attempts as not sent."""
    sql = f"""UPDATE messages SET status = 'retry', owner = NULL, gate = NULL, gate_until = NULL, {_NEW_JOB}
              WHERE owner = :lease AND status = 'sending' AND {HELD_SQL}
                AND attempt_id NOT IN (SELECT p.id FROM {table(tx, IDS)}) RETURNING id, attempt_id"""  # noqa: S608
    rows = tx.execute(statement(sql), bound(tx, IDS, [(id,) for id in begun]) | {"lease": lease}).all()
    tx.execute(
        update(attempts)
        .where(among(tx, attempts.c.id, [str(row.attempt_id) for row in rows]), attempts.c.outcome.is_(None))
        .values(
            outcome="not_sent",
            finished_at=current_ms(),
            bytes_sent=False,
            reply_began=False,
            error=_LOST_BEFORE,
        )
    )
    ids = [str(row.id) for row in rows]
    # The answer of an earlier attempt may have come while this one was open.
    apply_evidence(tx, ids)
    return ids


def _clear_unsent(tx: Connection, lease: str, begun: Iterable[str]) -> list[str]:
    """The same for messages that a rescue made unknown before. A code was wiped then, so it fails."""
    # Found among the unknown messages, since attempts have no index of leases.
    sql = f"""SELECT CAST(m.id AS text) AS id, CAST(a.id AS text) AS attempt, m.due_at, m.tries, m.waits,
                m.payload IS NULL AS wiped
              FROM messages m JOIN attempts a ON a.id = m.attempt_id
              WHERE m.{UNKNOWN_SQL} AND a.outcome = 'unknown' AND a.owner = :lease AND a.error = :lost
                AND a.id NOT IN (SELECT p.id FROM {table(tx, IDS)})"""  # noqa: S608 - our own words
    named = {"lease": lease, "lost": WORKER_LOST}
    rows = tx.execute(statement(sql), bound(tx, IDS, [(id,) for id in begun]) | named).all()
    why = _LOST_BEFORE
    settle(
        tx,
        [
            Settlement(
                row.id, row.attempt, NotSent(why), Evidence(), None, Status.RETRY, row.due_at + 1,
                row.tries, row.waits, why,
            )
            for row in rows
        ],
    )  # fmt: skip
    return [row.id for row in rows if not row.wiped]


_QUARANTINED = "'quarantined: worker after worker died while rendering it; look at their logs first'"


def _strike(tx: Connection, lease: str, id: str) -> tuple[list[str], list[str]]:
    """Return one message with a strike, or end it at its last one."""
    now = now_sql(tx)
    one = ":id" if tx.dialect.name == "sqlite" else "CAST(:id AS uuid)"
    rows = tx.execute(
        statement(
            f"""UPDATE messages SET owner = NULL, strikes = strikes + 1, gate = NULL, gate_until = NULL, {_NEW_JOB},
                status = CASE WHEN strikes + 1 >= :max THEN {ending_status("'failed'")}
                         WHEN attempts > 0 THEN 'retry' ELSE 'queued' END,
                error = CASE WHEN strikes + 1 >= :max THEN {ending_error(_QUARANTINED)} ELSE error END,
                payload = CASE WHEN strikes + 1 >= :max THEN {WIPED_PAYLOAD} ELSE payload END,
                ended_at = CASE WHEN strikes + 1 >= :max THEN {now} ELSE NULL END
                WHERE owner = :lease AND status = 'claimed' AND {HELD_SQL} AND id = {one} RETURNING id, ended_at"""  # noqa: S608
        ),
        {"lease": lease, "max": MAX_STRIKES, "id": id},
    ).all()
    ended = [str(row.id) for row in rows if row.ended_at is not None]
    return [str(row.id) for row in rows if row.ended_at is None], ended


def _mark_unknown(tx: Connection, lease: str, resend_wait_ms: int) -> list[str]:
    now = now_sql(tx)
    rows = tx.execute(
        statement(
            f"""UPDATE messages SET status = 'unknown', error = 'its worker was lost while it was being sent',
                {ENDED.format(now=now)}
                WHERE owner = :lease AND status = 'sending' AND {HELD_SQL} RETURNING id, attempt_id"""  # noqa: S608
        ),
        {"lease": lease},
    ).all()
    if not rows:
        return []
    ids = [str(row.id) for row in rows]
    for start in range(0, len(rows), 500):
        part = [str(row.attempt_id) for row in rows[start : start + 500]]
        tx.execute(
            update(attempts)
            .where(attempts.c.id.in_(part), attempts.c.outcome.is_(None))
            .values(outcome="unknown", finished_at=current_ms(), error=WORKER_LOST)
        )
        resend = select(campaigns.c.id).where(
            campaigns.c.on_unknown == OnUnknown.RESEND.value,
            campaigns.c.status != CampaignStatus.CANCELLED.value,
        )
        tx.execute(
            update(messages)
            .where(
                messages.c.id.in_(ids[start : start + 500]),
                messages.c.kind != Kind.OTP.value,
                messages.c.tries == 0,
                or_(messages.c.expires_at.is_(None), messages.c.expires_at > current_ms() + resend_wait_ms),
                messages.c.campaign_id.in_(resend),
            )
            .values(
                status=Status.RETRY.value,
                tries=messages.c.tries + 1,
                due_at=current_ms() + resend_wait_ms,
                ended_at=None,
            )
        )
    apply_evidence(tx, ids)
    return ids


def close_ended(tx: Connection) -> int:
    """Mark lapsed leases as ended, for display; a lapsed lease is over either way. Returns how many."""
    return tx.execute(
        update(workers)
        .where(workers.c.lease_until <= current_ms(), workers.c.ended_at.is_(None))
        .values(ended_at=current_ms())
    ).rowcount
