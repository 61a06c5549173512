"""The JSON shape of ledger rows: ISO 8601 times, ``to`` for the recipient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bulksend.messaging.units import format_instant

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

#: Fields that hold milliseconds since the epoch in the ledger.
INSTANTS = frozenset(
    {
        *("due_at", "expires_at", "queued_at", "sent_at", "accepted_at", "delivered_at", "read_at"),
        *("started_at", "finished_at", "received_at", "at", "created_at", "ended_at", "intake_done_at"),
        *("paused_at", "added_at", "until", "earliest"),
    }
)
_NAMES = {"recipient": "to"}


def to_json(row: Mapping[Any, Any] | DataclassInstance) -> dict[str, Any]:
    """A ledger row, or a record made of one, as the interface shows it."""
    fields = row if isinstance(row, Mapping) else asdict(row)
    return {_NAMES.get(name, name): _shown(name, value) for name, value in fields.items()}


def _shown(name: str, value: object) -> object:
    return format_instant(value) if name in INSTANTS and isinstance(value, int) else value
