"""One-time codes of late: what they waited for, those that wait, those that were accepted and not delivered.

Each reads a bounded number of rows by an index, whatever the size of the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, func, literal, select, text

from bulksend.ledger.bulk_parameters import statement
from bulksend.ledger.campaigns import IS_DIRECT, Campaign
from bulksend.ledger.clock import read_clock
from bulksend.ledger.code_backlog import with_a_worker
from bulksend.ledger.database import newest_first, prefer_indexes
from bulksend.ledger.ids import lowest_at
from bulksend.ledger.in_flight import IS_IN_FLIGHT
from bulksend.ledger.schema import WAITING_CODES_SQL, campaigns, messages
from bulksend.ledger.superseding import SINCE
from bulksend.messaging.states import Kind, Status

#: The campaigns of codes that are looked at: the standing ones and the newest others.
CAMPAIGNS_SEEN = 10
#: Of each of them and each status this many of the newest codes.
CODES_SEEN = 1_000
#: The codes that wait are looked at up to this number, and as many of those that a worker has.
WAITING_SEEN = 5_000
#: The standing campaign never ends: for its latency only its codes of this time count.
RECENT_MS = 3_600_000
_PERCENTILES = (50, 95, 99)
_POSTED = (Status.ACCEPTED, Status.DELIVERED, Status.READ, Status.FAILED, Status.UNKNOWN)
_WAITS = f"""
SELECT m.sender, m.sent_at, m.sent_at - {SINCE.format(code="m")} AS to_post_ms,
    m.delivered_at - {SINCE.format(code="m")} AS to_delivery_ms
FROM messages m
WHERE m.campaign_id = :campaign AND m.status = :status AND m.id >= :since AND m.sent_at IS NOT NULL
ORDER BY m.id DESC LIMIT :seen
"""  # noqa: S608 - our own words


@dataclass(frozen=True, slots=True)
class Latency:
    """Of ``count`` codes: half took at most ``p50_ms``, 95 and 99 % at most the others. None where there are none."""

    count: int
    p50_ms: int | None = None
    p95_ms: int | None = None
    p99_ms: int | None = None

    @classmethod
    def of(cls, waits: Iterable[int | None]) -> Latency:
        """Of these waits in milliseconds; None counts for nothing."""
        known = sorted(each for each in waits if each is not None)
        if not known:
            return cls(0)
        return cls(len(known), *(known[(len(known) * percent + 99) // 100 - 1] for percent in _PERCENTILES))


class Waited(NamedTuple):
    """A code that was POSTed at ``sent_at``: how long that took, and its delivery, None where no receipt says so."""

    sender: str
    sent_at: int
    to_post_ms: int
    to_delivery_ms: int | None


class WaitingCode(NamedTuple):
    """A code that waits for its POST. ``permitted``: its slot is near."""

    id: str
    sender: str
    campaign_id: str
    due_at: int
    expires_at: int | None
    gate: str | None
    permitted: bool = False


class Undelivered(NamedTuple):
    """A code that the vendor accepted, and whose delivery no receipt has reported."""

    id: str
    sender: str
    campaign_id: str
    accepted_at: int


def campaign_ids(tx: Connection) -> list[str]:
    """The campaigns of codes that are looked at."""
    is_code = campaigns.c.kind == Kind.OTP.value
    standing = select(campaigns.c.id).where(is_code, IS_DIRECT)
    others = select(campaigns.c.id).where(is_code, ~IS_DIRECT)
    newest = newest_first(others, campaigns.c.id, CAMPAIGNS_SEEN)
    return [str(id) for query in (standing, newest) for id in tx.execute(query).scalars()]


def waited(tx: Connection, ids: list[str], since_ms: int) -> list[Waited]:
    """The newest codes of these campaigns that were taken in since then and POSTed."""
    prefer_indexes(tx)
    found: list[Waited] = []
    for campaign in ids:
        for status in _POSTED:
            values = {
                "campaign": campaign,
                "status": status.value,
                "since": lowest_at(since_ms),
                "seen": CODES_SEEN,
            }
            for sender, sent_at, to_post, to_delivery in tx.execute(statement(_WAITS), values):
                delivery = None if to_delivery is None else max(0, to_delivery)
                found.append(Waited(sender, sent_at, max(0, to_post), delivery))
    return found


def latency(tx: Connection, campaign: Campaign) -> dict[str, Latency]:
    """``posted``: until the newest POST began; ``delivered``: until the receipt says so.

    Of the newest CODES_SEEN codes in each status: in most campaigns of all.
    """
    since = read_clock(tx) - RECENT_MS if campaign.is_direct else 0
    codes = waited(tx, [campaign.id], since)
    return {
        "posted": Latency.of(each.to_post_ms for each in codes),
        "delivered": Latency.of(each.to_delivery_ms for each in codes),
    }


def count_expired(tx: Connection, ids: list[str], since_ms: int) -> int:
    """How many of the newest codes of these campaigns have expired since then."""
    prefer_indexes(tx)
    count = 0
    for campaign in ids:
        newest = (
            select(messages.c.ended_at)
            .where(messages.c.campaign_id == campaign, messages.c.status == Status.EXPIRED.value)
            .order_by(messages.c.id.desc())
            .limit(CODES_SEEN)
            .subquery()
        )
        count += tx.scalar(select(func.count()).where(newest.c.ended_at >= since_ms)) or 0
    return count


def waiting(tx: Connection) -> list[WaitingCode]:
    """The codes that wait, oldest first, and those that a worker has: WAITING_SEEN of both at most."""
    prefer_indexes(tx)
    names = ("id", "sender", "campaign_id", "due_at", "expires_at", "gate")
    columns = [messages.c[name] for name in names]
    queued = (
        select(*columns, literal(False))
        .where(text(WAITING_CODES_SQL), ~IS_IN_FLIGHT)
        .order_by(messages.c.id)
        .limit(WAITING_SEEN)
    )
    claimed = with_a_worker(tx, names, read_clock(tx)).limit(WAITING_SEEN)
    return [
        WaitingCode(str(id), sender, str(campaign), *rest)
        for part in (claimed, queued)
        for id, sender, campaign, *rest in tx.execute(part)
    ]


def undelivered(tx: Connection, ids: list[str], since_ms: int, until_ms: int) -> list[Undelivered]:
    """Codes accepted between these instants and not delivered, newest first, CODES_SEEN of each campaign at most."""
    prefer_indexes(tx)
    found: list[Undelivered] = []
    for campaign in ids:
        query = (
            select(messages.c.id, messages.c.sender, messages.c.campaign_id, messages.c.accepted_at)
            .where(messages.c.campaign_id == campaign, messages.c.status == Status.ACCEPTED.value)
            .where(messages.c.id >= lowest_at(since_ms))
            .order_by(messages.c.id.desc())
            .limit(CODES_SEEN)
        )
        found += [
            Undelivered(str(id), sender, str(campaign_id), at)
            for id, sender, campaign_id, at in tx.execute(query)
            if at is not None and at <= until_ms
        ]
    return sorted(found, reverse=True)
