"""How long the one-time codes of a campaign took: from intake, or their due time, to their POST and their delivery."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection

from bulksend.ledger import code_readings
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.clock import read_clock

#: The standing campaign never ends: only its codes of this time count.
RECENT_MS = 3_600_000
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
        if not known:
            return cls(0)
        return cls(len(known), *(known[(len(known) * percent + 99) // 100 - 1] for percent in PERCENTILES))


def code_latency(tx: Connection, campaign: Campaign) -> dict[str, Latency]:
    """``posted``: until the newest POST began; ``delivered``: until the receipt says so.

    Of the newest CODES_SEEN codes in each status: in most campaigns of all.
    """
    since = read_clock(tx) - RECENT_MS if campaign.is_direct else 0
    waited = code_readings.waited(tx, [campaign.id], since)
    return {
        "posted": Latency.of(each.to_post_ms for each in waited),
        "delivered": Latency.of(each.to_delivery_ms for each in waited),
    }
