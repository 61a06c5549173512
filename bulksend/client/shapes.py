"""What calls send, with the names of the API (docs/http.md). Instants are datetimes with a zone, or ISO 8601 text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Required, TypedDict

Instant = datetime | str


class Message(TypedDict, total=False):
    """A message. ``key``: two sends with it are one message; ``wait_seconds``: answer when it has ended, 30 at most."""

    to: Required[str]
    sender: Required[str]
    kind: Required[str]
    type: Required[str]
    content: Required[Mapping[str, Any]]
    variables: Mapping[str, Any]
    ttl_seconds: float
    send_at: Instant
    local_time: str
    timezone: str
    key: str
    purpose: str
    wait_seconds: float


class CloneOptions(TypedDict, total=False):
    """What a clone of a campaign may have of its own: the options of ``bulksend send``."""

    name: str
    key: str
    send_at: Instant
    local_time: str
    ttl_seconds: float
    rate: float | str
    on_unknown: str
    cap: str
    exclude: Sequence[str]
    only: Sequence[str]
    require_consent: bool
    timezone: str
    region: str
    map: Mapping[str, str]
    encoding: str
    sheet: str
    again: bool
    into: str
    canary: str
    max_failed: str
    weight: int
    dry_run: bool


class Campaign(CloneOptions, total=False):
    """A campaign: what is sent, and its options."""

    sender: Required[str]
    kind: Required[str]
    type: Required[str]
    content: Required[Mapping[str, Any]]
    media: str


class CampaignChanges(TypedDict, total=False):
    """What may change while a campaign runs."""

    rate: float | str
    send_at: Instant
    name: str
    max_failed: str
    weight: int


class MessageFilters(TypedDict, total=False):
    """Which messages."""

    campaign: str
    phone: str
    message_id: str
    request_id: str
    status: str
    since: Instant
    until: Instant


class EventFilters(TypedDict, total=False):
    """Which events: types separated by commas, of one campaign. ``numbers``: with phone numbers in full."""

    types: str
    campaign: str
    numbers: bool


def as_json(value: object) -> Any:
    """The value as JSON holds it. Raises ValueError for a datetime without a zone."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()}: a time needs a zone, e.g. datetime.now(UTC)")
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): as_json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    return value
