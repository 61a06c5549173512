"""The progress of campaigns by the minute, kept from the counts: its cost does not depend on the number of messages.

The relay's maintenance looks every few seconds, so the row of a minute has the counts at its end. A minute without a
change has no row, and the counts of the row before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, delete, func, or_, select, tuple_

from bulksend.ledger import counters
from bulksend.ledger.campaigns import IS_DIRECT, IS_LIVE
from bulksend.ledger.clock import current_ms, read_clock
from bulksend.ledger.database import among, dialect_insert, first, rows_changed
from bulksend.ledger.ids import lowest_at
from bulksend.ledger.schema import campaign_minutes, campaigns

MINUTE_MS = 60_000
#: Receipts of a campaign that has ended change its counts for this long.
WATCHED_MS = 3 * 86_400_000
#: A minute is kept for this long.
KEPT_MS = 400 * 86_400_000
#: At least so long after the last attempt the receipts of it are seen.
_AFTERWARDS_MS = 10 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class Minute:
    """The counts at the end of a minute that begins at ``minute``."""

    minute: int
    statuses: dict[str, int]
    attempts: int


def keep(tx: Connection) -> int:
    """Keep the counts of every campaign whose counts changed; returns how many."""
    watched = select(campaigns.c.id).where(
        or_(IS_LIVE, campaigns.c.ended_at > current_ms() - WATCHED_MS), ~IS_DIRECT
    )
    ids = [str(id) for id in tx.execute(watched).scalars()]
    if not ids:
        return 0
    last = _newest_of(tx, ids)
    minute = read_clock(tx) // MINUTE_MS * MINUTE_MS
    changed = [
        {
            "campaign_id": id,
            "minute": minute,
            "statuses": json.dumps(counts.statuses, sort_keys=True),
            "attempts": counts.attempts,
        }
        for id, counts in counters.of(tx, ids).items()
        if counts.statuses and (id not in last or last[id].statuses != counts.statuses)
    ]
    if changed:
        insert = dialect_insert(tx, campaign_minutes)
        new = {"statuses": insert.excluded.statuses, "attempts": insert.excluded.attempts}
        tx.execute(insert.on_conflict_do_update(index_elements=["campaign_id", "minute"], set_=new), changed)
    return len(changed)


def of(tx: Connection, campaign_id: str, *, after: int | None = None, limit: int) -> list[Minute]:
    """The minutes of a campaign in which something changed, oldest first; only those after ``after``."""
    query = select(campaign_minutes).where(campaign_minutes.c.campaign_id == campaign_id)
    if after is not None:
        query = query.where(campaign_minutes.c.minute > after)
    return _minutes(tx, query.order_by(campaign_minutes.c.minute).limit(limit))


def condensed(tx: Connection, campaign_id: str, points: int) -> tuple[int, list[Minute]]:
    """The time in which it sent, cut into at most ``points`` parts: their length in ms, and the newest minute of each.

    A part without a change has none. It begins with the first minute that has an attempt, and ends a while after the
    last one, so that receipts of days do not press the sending into a corner. Reads the keys of all its minutes.
    """
    c = campaign_minutes.c
    mine = c.campaign_id == campaign_id
    span = select(func.min(c.minute), func.max(c.minute), func.max(c.attempts)).where(mine, c.attempts > 0)
    first, last, attempts = tx.execute(span).one()
    if first is None:
        return MINUTE_MS, []
    sent_until = tx.execute(select(func.min(c.minute)).where(mine, c.attempts == attempts)).scalar_one()
    last = min(last, sent_until + max(_AFTERWARDS_MS, (sent_until - first) // 10))
    minutes = (last - first) // MINUTE_MS + 1
    step = -(-minutes // points) * MINUTE_MS
    within = mine & c.minute.between(first, last)
    newest = select(func.max(c.minute)).where(within).group_by((c.minute - first) // step)
    return step, _minutes(tx, select(campaign_minutes).where(mine, c.minute.in_(newest)).order_by(c.minute))


def before(tx: Connection, campaign_id: str, minute: int) -> Minute | None:
    """The newest kept minute up to ``minute``; None where there is none."""
    c = campaign_minutes.c
    kept = select(campaign_minutes).where(c.campaign_id == campaign_id, c.minute <= minute)
    return first(tx, kept.order_by(c.minute.desc()).limit(1), _made)


def delete_old(tx: Connection, limit: int = 2000) -> int:
    """Delete minutes that are older than KEPT_MS, those of the oldest campaign first; returns how many."""
    cutoff = read_clock(tx) - KEPT_MS
    key = campaign_minutes.c.campaign_id, campaign_minutes.c.minute
    # An old minute has a campaign that is older still, and ids sort by time.
    old = select(*key).where(key[0] < lowest_at(cutoff), key[1] < cutoff).order_by(*key).limit(limit)
    return rows_changed(tx, delete(campaign_minutes).where(tuple_(*key).in_(old)))


def _newest_of(tx: Connection, ids: Sequence[str]) -> dict[str, Minute]:
    c = campaign_minutes.c
    newest = select(c.campaign_id, func.max(c.minute)).where(among(tx, c.campaign_id, ids))
    key = tuple_(c.campaign_id, c.minute)
    rows = tx.execute(select(campaign_minutes).where(key.in_(newest.group_by(c.campaign_id)))).mappings()
    return {row["campaign_id"]: _made(**row) for row in rows}


def _minutes(tx: Connection, query: Select[Any]) -> list[Minute]:
    return [_made(**row) for row in tx.execute(query).mappings()]


def _made(campaign_id: str, minute: int, statuses: str, attempts: int) -> Minute:
    return Minute(minute, json.loads(statuses), attempts)
