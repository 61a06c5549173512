"""How long the one-time codes of a campaign took: from intake, or their due time, to their POST and their delivery."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from bulksend.ledger.bulk_parameters import statement
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import prefer_indexes
from bulksend.ledger.ids import lowest_at
from bulksend.ledger.superseding import SINCE

#: The standing campaign never ends: only its codes of this time count.
RECENT_MS = 3_600_000
#: More codes of a campaign are not looked at.
SAMPLED = 100_000
PERCENTILES = (50, 95, 99)


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
        return cls.by_rank(len(known), dict(enumerate(known, start=1)))

    @classmethod
    def by_rank(cls, count: int, waits: Mapping[int, int]) -> Latency:
        """``waits`` of ``count`` by their rank, from 1 for the shortest; None for a rank that is not there."""
        return cls(count, *(waits.get((count * percent + 99) // 100) for percent in PERCENTILES))


_WAITS = f"""
SELECT m.{{until}} - {SINCE.format(code="m")} AS wait FROM messages m
WHERE m.campaign_id = :campaign AND m.id >= :since AND m.{{until}} IS NOT NULL LIMIT :sampled
"""  # noqa: S608 - our own words
_RANKS = " OR ".join(f"r.rank = (r.n * {percent} + 99) / 100" for percent in PERCENTILES)
_PERCENTILES = f"""
SELECT r.n, r.rank, r.wait FROM (
    SELECT w.wait, row_number() OVER (ORDER BY w.wait) AS rank, count(*) OVER () AS n FROM ({{waits}}) AS w) AS r
WHERE {_RANKS}
"""  # noqa: S608 - our own words


def code_latency(tx: Connection, campaign: Campaign) -> dict[str, Latency]:
    """``posted``: until the newest POST began; ``delivered``: until the receipt says so."""
    prefer_indexes(tx)
    since = lowest_at(read_clock(tx) - RECENT_MS) if campaign.is_direct else lowest_at(0)
    parameters = {"campaign": campaign.id, "since": since, "sampled": SAMPLED}
    found: dict[str, Latency] = {}
    for name, column in (("posted", "sent_at"), ("delivered", "delivered_at")):
        waits = _WAITS.format(until=column)
        rows = tx.execute(statement(_PERCENTILES.format(waits=waits)), parameters).all()
        count = rows[0].n if rows else 0
        by_rank = {row.rank: max(0, row.wait) for row in rows}
        found[name] = Latency.by_rank(count, by_rank)
    return found
