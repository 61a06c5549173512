"""Keys that sort by time: UUIDv7 (RFC 9562)."""

from __future__ import annotations

import re
import uuid

import uuid_utils

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
#: The most by which the time in an id of ``new_ids`` may differ from the ledger's clock, ms.
NEAR_MS = 500

#: No id is lower.
LOWEST = str(uuid.UUID(int=0))


def new_id() -> str:
    """A UUIDv7 as hyphenated text; later ones of one process sort after earlier ones."""
    return str(uuid_utils.uuid7())


def new_ids(count: int, now_ms: int) -> list[str]:
    """``count`` ids in ascending order. Their times are within NEAR_MS of the ledger's ``now_ms``."""
    made = [new_id() for _ in range(count)]
    if not made:
        return []
    off = now_ms - instant_of(made[-1])
    if abs(off) <= NEAR_MS:
        return made
    return [str(uuid.UUID(int=uuid.UUID(id).int + (off << 80))) for id in made]


def is_id(text: str) -> bool:
    """Whether the text has the form of an id. Python knows further forms of a UUID, which the databases refuse."""
    return _ID.fullmatch(text) is not None


def instant_of(id: str) -> int:
    """The time in a UUIDv7, ms since the epoch by the clock of its maker (RFC 9562)."""
    return int(id[:8] + id[9:13], 16)


def lowest_at(instant_ms: int) -> str:
    """The lowest id made at that instant."""
    within = min(max(instant_ms, 0), 2**48 - 1)
    return str(uuid.UUID(int=within << 80))
