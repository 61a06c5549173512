"""How many messages of a campaign are in each status, without reading the messages.

Triggers on ``messages`` (migration 0005) keep ``campaign_counts`` in the transaction of each change. On PostgreSQL each
connection counts in its own rows, its part, so that no transaction waits for another's commit. The count is the sum of
all parts; the relay merges them from time to time. What is in flight is counted as waiting, by its own row; ``of`` and
``by_kind`` show it as claimed or sending. The part DELETED has the messages whose rows were deleted by their age, so
that a campaign keeps its totals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import Connection, ScalarSelect, Select, Subquery, func, select, union_all

from bulksend.ledger import in_flight
from bulksend.ledger.bulk_parameters import statement
from bulksend.ledger.database import among, dialect_insert
from bulksend.ledger.schema import campaign_counts, campaigns
from bulksend.messaging.states import Status

#: The part of messages whose rows were deleted by their age.
DELETED = -1


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one campaign: messages by status, without the statuses that none is in, and the number of attempts.

    An attempt that is open counts.
    """

    statuses: dict[str, int] = field(default_factory=dict)
    attempts: int = 0


def _counted(tx: Connection) -> Subquery:
    """The counts, and what the messages in flight change in them: one that waits by its row is claimed or sending."""
    c = campaign_counts.c
    kept = select(c.campaign_id, c.status, c.messages, c.attempts)
    return union_all(kept, *in_flight.changes(tx)).subquery()


def of(tx: Connection, ids: Iterable[str]) -> dict[str, Counts]:
    """The counts of each of these campaigns."""
    wanted = list(ids)
    c = _counted(tx).c
    rows = tx.execute(
        select(c.campaign_id, c.status, func.sum(c.messages), func.sum(c.attempts))
        .where(among(tx, c.campaign_id, wanted))
        .group_by(c.campaign_id, c.status)
        .order_by(c.status)
    ).all()
    statuses: dict[str, dict[str, int]] = {id: {} for id in wanted}
    opened = dict.fromkeys(wanted, 0)
    for id, status, count, posts in rows:
        if count:
            statuses[str(id)][status] = int(count)
        opened[str(id)] += int(posts)
    return {id: Counts(statuses[id], opened[id]) for id in wanted}


def keep_deleted(tx: Connection, rows: Iterable[tuple[str, str, int]]) -> None:
    """Count messages whose rows were deleted: campaign, status and attempts of each."""
    gone: Counter[tuple[str, str]] = Counter()
    posts: Counter[tuple[str, str]] = Counter()
    for campaign, status, opened in rows:
        gone[campaign, status] += 1
        posts[campaign, status] += opened
    if not gone:
        return
    new = dialect_insert(tx, campaign_counts)
    added = {name: campaign_counts.c[name] + new.excluded[name] for name in ("messages", "attempts")}
    tx.execute(
        new.on_conflict_do_update(index_elements=["campaign_id", "status", "part"], set_=added),
        [
            {
                "campaign_id": campaign,
                "status": status,
                "part": DELETED,
                "messages": count,
                "attempts": posts[campaign, status],
            }
            for (campaign, status), count in sorted(gone.items())
        ],
    )


def deleted(tx: Connection, campaign_id: str) -> int:
    """How many messages of a campaign were deleted by their age."""
    gone = select(func.coalesce(func.sum(campaign_counts.c.messages), 0)).where(
        campaign_counts.c.campaign_id == campaign_id, campaign_counts.c.part == DELETED
    )
    return int(tx.execute(gone).scalar_one())


def by_kind(tx: Connection) -> dict[tuple[str, str], int]:
    """How many messages of each kind are in each status."""
    c = _counted(tx).c
    rows = tx.execute(
        select(campaigns.c.kind, c.status, func.sum(c.messages))
        .join(campaigns, campaigns.c.id == c.campaign_id)
        .group_by(campaigns.c.kind, c.status)
    )
    return {(kind, status): int(count) for kind, status, count in rows}


def statuses_held(status: str | None = None) -> Select[tuple[str, str]]:
    """The campaigns and the statuses, or this one, that they have messages in."""
    of = campaign_counts.c
    held = (
        select(of.campaign_id, of.status)
        .group_by(of.campaign_id, of.status)
        .having(func.sum(of.messages) > 0)
    )
    return held if status is None else held.where(of.status == status)


def messages_in(statuses: Iterable[Status]) -> ScalarSelect[int]:
    """SQL: how many messages the campaign of the outer statement has in these statuses.

    A subquery and not a join, so that only the few rows of the campaign are read, whatever the database's statistics
    say.
    """
    return (
        select(func.coalesce(func.sum(campaign_counts.c.messages), 0))
        .where(
            campaign_counts.c.campaign_id == campaigns.c.id,
            campaign_counts.c.status.in_([status.value for status in statuses]),
        )
        .correlate(campaigns)
        .scalar_subquery()
    )


_MERGE_PARTS = """
WITH gone AS (
    DELETE FROM campaign_counts WHERE (campaign_id, status, part) IN (
        SELECT campaign_id, status, part FROM campaign_counts WHERE part > 0 FOR UPDATE SKIP LOCKED)
    RETURNING campaign_id, status, messages, attempts)
INSERT INTO campaign_counts AS c (campaign_id, status, part, messages, attempts)
SELECT campaign_id, status, 0, sum(messages), sum(attempts) FROM gone GROUP BY campaign_id, status
ORDER BY campaign_id, status
ON CONFLICT (campaign_id, status, part) DO UPDATE
    SET messages = c.messages + excluded.messages, attempts = c.attempts + excluded.attempts
"""


def merge_parts(tx: Connection) -> None:
    """Merge the parts of each campaign and status into one, except those that an open transaction counts in.

    A connection that writes to its part waits for this transaction, so it must be short.
    """
    if tx.dialect.name == "postgresql":
        tx.execute(statement(_MERGE_PARTS))
