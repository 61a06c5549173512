"""Keys that sort by time: UUIDv7 (RFC 9562)."""

from __future__ import annotations

import uuid_utils


def new_id() -> str:
    """A UUIDv7 as hyphenated text; later ones of one process sort after earlier ones."""
    return str(uuid_utils.uuid7())
