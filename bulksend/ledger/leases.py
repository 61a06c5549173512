"""Leases of workers, by the database's clock. A lease is the fencing token: only it may move the messages it holds.

A worker whose lease lapsed (it was stopped, or cut off from the database) must take a new one and forget its messages,
which another worker may hold now.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Text, cast, exists, insert, select, update

from bulksend.ledger import in_flight
from bulksend.ledger.bulk_parameters import IDS, bound, named, statement, table
from bulksend.ledger.clock import current_ms, read_clock
from bulksend.ledger.database import among
from bulksend.ledger.endings import WORKER_LOST
from bulksend.ledger.ids import new_id
from bulksend.ledger.in_flight import OpenAttempt
from bulksend.ledger.release import Release, end_claimed, release
from bulksend.ledger.schema import campaigns, messages, workers
from bulksend.ledger.settle import Settlement, settle
from bulksend.messaging.outcome import Evidence, NotSent, Unknown
from bulksend.messaging.states import CampaignStatus, Kind, OnUnknown, Status

_LOST_BEFORE = "its worker was lost before the POST began"
_NOT_SEEN = Evidence(bytes_sent=None, reply_began=None)
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


def alive(tx: Connection) -> list[str]:
    """The names of the workers whose lease runs."""
    return list(
        tx.execute(
            select(workers.c.name).where(workers.c.lease_until > current_ms(), workers.c.ended_at.is_(None))
        ).scalars()
    )


def any_lapsed(tx: Connection) -> bool:
    """Whether there may be something to rescue or to close. Only reads, and so delays no writer."""
    lapsed = select(workers.c.id).where(workers.c.lease_until <= current_ms(), workers.c.ended_at.is_(None))
    return tx.execute(select(exists(lapsed))).scalar_one() in (True, 1) or bool(_lapsed_owners(tx))


def _lapsed_owners(tx: Connection) -> list[str]:
    """The lapsed leases that hold messages."""
    lapsed = among(tx, workers.c.id, in_flight.owners(tx)), workers.c.lease_until <= current_ms()
    return [str(id) for id in tx.execute(select(workers.c.id).where(*lapsed)).scalars()]


def rescue(tx: Connection, *, resend_wait_ms: int) -> Rescued:
    """Take from lapsed leases what they hold: ``claimed`` goes back, ``sending`` becomes ``unknown``.

    Any number of rescues may run at once. A message of a campaign with ``on_unknown: resend`` is queued again, once,
    after ``resend_wait_ms``; an OTP never is.
    """
    done = Rescued([], [], [])
    for lease in _lapsed_owners(tx):
        # No strike: a lease also lapses when its worker cannot reach the ledger.
        done.given_back.extend(_release_claimed(tx, lease))
        done.unknown.extend(_mark_unknown(tx, in_flight.open_under(tx, lease), resend_wait_ms))
    return done


def reap(
    tx: Connection, lease: str, *, rendering: str | None, begun: Iterable[str] | None, resend_wait_ms: int
) -> Rescued:
    """End the lease of a worker that stops or is dead, and return its messages by the flight record of a dead one.

    Of the open attempts only those in ``begun`` may have been sent (None: all of them). The messages of the others go
    back to the queue. Where the lease lapsed before, and a rescue took them for unknown, their attempts are cleared.
    Of the claimed messages only the one that it was ``rendering`` gets a strike.
    """
    is_its_end = tx.execute(
        update(workers)
        .where(workers.c.id == lease, workers.c.lease_until > current_ms())
        .values(lease_until=current_ms(), ended_at=current_ms())
    ).rowcount
    struck, quarantined = _strike(tx, lease, rendering) if rendering else ([], [])
    left, unsent = in_flight.open_under(tx, lease), []
    if begun is not None:
        known = set(begun)
        unsent = [each for each in left if each.attempt_id not in known]
        left = [each for each in left if each.attempt_id in known]
    given_back = [each.message for each in unsent]
    settle(tx, [_unsent(each, each.attempt_id, "") for each in unsent])
    if begun is not None and not is_its_end:
        given_back += _clear_unsent(tx, lease, known)
    rest = _release_claimed(tx, lease)
    return Rescued([*struck, *given_back, *rest], _mark_unknown(tx, left, resend_wait_ms), quarantined)


def _release_claimed(tx: Connection, lease: str) -> list[str]:
    ids = in_flight.claimed_under(tx, lease)
    release(tx, [Release(id, 0, None, None) for id in ids], lease=lease)
    return ids


def _unsent(of: OpenAttempt | Row[Any], attempt_id: str, error: str) -> Settlement:
    """Its worker died before its POST: it waits again."""
    return Settlement(
        of.message, attempt_id, NotSent(_LOST_BEFORE), Evidence(), None,
        Status.RETRY, of.due_at + 1, of.tries, of.waits, error=error,
    )  # fmt: skip


#: An attempt that is open when a lease lapses began so near to it: its POST had not begun, and the lease is over soon
#: after its worker's death. One that waited longer, as without a limiter, stays unknown.
_NEAR_MS = 600_000
#: Attempts have no index of leases: they are found by sender and time.
_LOST = """
SELECT CAST(a.message_pk AS text), CAST(a.id AS text)
FROM workers w CROSS JOIN {senders} CROSS JOIN attempts a
WHERE w.id = :lease AND a.sender = p.phone AND a.started_at BETWEEN w.lease_until - :near AND w.lease_until + :near
  AND a.owner = :lease AND a.outcome = 'unknown' AND a.error = :lost
"""
_PHONES = {"phone": "text"}
_MOVED = """
SELECT CAST(m.id AS text) AS message, m.due_at, m.tries, m.waits, m.payload IS NULL AS is_wiped,
    CASE WHEN m.status = 'unknown' THEN CAST(m.attempt_id AS text) END AS unknown_by
FROM {named}
"""


def _clear_unsent(tx: Connection, lease: str, begun: Collection[str]) -> list[str]:
    """Settle as not sent what a rescue took for unknown; returns the ids of the messages that wait by it.

    A code was wiped then, so it fails. A message that waits to be sent again does so for as long as the rescue said.
    """
    senders = [(phone,) for phone in in_flight.senders_of_attempts(tx)]
    sql = statement(_LOST.format(senders=table(tx, _PHONES)))
    of = {"lease": lease, "near": _NEAR_MS, "lost": WORKER_LOST}
    lost = [tuple(row) for row in tx.execute(sql, bound(tx, _PHONES, senders) | of)]
    unsent = {message: attempt for message, attempt in lost if attempt not in begun}
    moved = statement(_MOVED.format(named=named(tx)))
    rows = tx.execute(moved, bound(tx, IDS, [(id,) for id in unsent])).all()
    settle(tx, [_unsent(row, unsent[row.message], _LOST_BEFORE) for row in rows])
    return [row.message for row in rows if row.unknown_by == unsent[row.message] and not row.is_wiped]


_QUARANTINED = "quarantined: worker after worker died while rendering it; look at their logs first"


def _strike(tx: Connection, lease: str, id: str) -> tuple[list[str], list[str]]:
    """Return one claimed message with a strike, or end it at its last one."""
    if id not in in_flight.claimed_under(tx, lease):
        return [], []
    struck = update(messages).where(messages.c.id == id, in_flight.waits(messages.c))
    counted = struck.values(strikes=messages.c.strikes + 1).returning(messages.c.strikes)
    if (tx.execute(counted).scalar() or 0) >= MAX_STRIKES:
        end_claimed(tx, [(id, _QUARANTINED)], Status.FAILED, lease)
        return [], [id]
    release(tx, [Release(id, 0, None, None)], lease=lease)
    return [id], []


def _mark_unknown(tx: Connection, left: Sequence[OpenAttempt], resend_wait_ms: int) -> list[str]:
    """What a lost worker may have sent is unknown; where its campaign says so, it is sent once more."""
    if not left:
        return []
    resends = set(
        tx.execute(
            select(cast(campaigns.c.id, Text)).where(
                campaigns.c.on_unknown == OnUnknown.RESEND.value,
                campaigns.c.status != CampaignStatus.CANCELLED.value,
                among(tx, campaigns.c.id, sorted({each.campaign_id for each in left})),
            )
        ).scalars()
    )
    again = read_clock(tx) + resend_wait_ms
    settle(tx, [_unknown(each, again if each.campaign_id in resends else None) for each in left])
    return [each.message for each in left]


def _unknown(each: OpenAttempt, again: int | None) -> Settlement:
    resend = (
        again is not None
        and each.kind != Kind.OTP
        and each.tries == 0
        and (each.expires_at is None or each.expires_at > again)
    )
    return Settlement(
        each.message, each.attempt_id, Unknown(WORKER_LOST), _NOT_SEEN, None,
        Status.RETRY if resend else Status.UNKNOWN, again if resend else None, each.tries + resend, each.waits,
        error="its worker was lost while it was being sent",
    )  # fmt: skip


def close_ended(tx: Connection) -> int:
    """Mark lapsed leases as ended, for display; a lapsed lease is over either way. Returns how many."""
    return tx.execute(
        update(workers)
        .where(workers.c.lease_until <= current_ms(), workers.c.ended_at.is_(None))
        .values(ended_at=current_ms())
    ).rowcount
