"""What has changed since the last look: for pages that show the newest state without asking for all of it."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from bulksend.ledger import changes
from bulksend.ledger.clock import read_clock
from bulksend.messaging.units import format_instant

#: A campaign that has ended is told under this topic for a last time.
CAMPAIGN = "campaign:"


def look(tx: Connection) -> tuple[dict[str, str], str]:
    """The fingerprint of each topic now, and the ledger's time."""
    return changes.fingerprints(tx), format_instant(read_clock(tx))


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> frozenset[str]:
    """The topics of which something has changed between two looks. They name no person and no number."""
    return frozenset(topic for topic in before.keys() | now.keys() if before.get(topic) != now.get(topic))
