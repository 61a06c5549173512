"""Events for programs that follow what happens: by pages, in the order of their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from bulksend.errors import AccessDenied, InvalidValue
from bulksend.ledger import campaigns, event_numbers, events
from bulksend.ledger.database import Database
from bulksend.ledger.events import Event
from bulksend.messaging.units import format_instant
from bulksend.operations.access import Principal

#: The types of events that a filter may name.
TYPES = events.TYPES


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events a reader wants, and whether with phone numbers. Empty ``types``: all; None: of any campaign."""

    types: frozenset[str] = frozenset()
    campaign_id: str | None = None
    numbers: bool = False

    def takes(self, event: Event) -> bool:
        """Whether the reader wants this event."""
        if self.types and event.type not in self.types:
            return False
        return self.campaign_id is None or event.data.get("campaign_id") == self.campaign_id


def wanted(
    tx: Connection,
    *,
    types: Sequence[str] = (),
    campaign: str | None = None,
    numbers: bool = False,
    after: int | None = None,
    after_field: str = "after",
) -> Wanted:
    """What a reader asks for; ``campaign`` is an id or a name, ``after`` the number of the last event that it has,
    given as ``after_field``.

    Raises InvalidValue at an unknown type, CampaignNotFound, and EventsGone and InvalidValue as
    ``event_numbers.check_after``.
    """
    if after is not None:
        event_numbers.check_after(tx, after, after_field)
    for type in types:
        if type not in TYPES:
            raise InvalidValue("types", type[:40], f"is not one of {', '.join(TYPES)}")
    id = None if campaign is None else campaigns.find(tx, campaign).id
    return Wanted(frozenset(types), id, numbers)


def check_numbers(principal: Principal) -> None:
    """Raises AccessDenied when phone numbers are not shown to it."""
    if not principal.sees_numbers:
        raise AccessDenied(f"{principal.name} has the role {principal.role}, to which numbers are masked")


def newest(database: Database) -> int:
    """The number of the newest event that is committed. Raises LedgerUnreachable."""
    event_numbers.number_all(database)
    with database.read() as tx:
        return event_numbers.newest(tx)


def page(database: Database, wanted: Wanted, *, after: int | None, limit: int) -> dict[str, Any]:
    """A page of events after a number, from the oldest kept one by default.

    ``next`` is what the next page starts after, None where there is none now; ``last`` is where to go on later.
    Raises EventsGone, InvalidValue as ``event_numbers.check_after``.
    """
    event_numbers.number_all(database)
    with database.read() as tx:
        if after is None:
            after = event_numbers.oldest(tx) - 1
        event_numbers.check_after(tx, after)
        found = events.page(
            tx,
            after,
            limit,
            types=wanted.types,
            campaign_id=wanted.campaign_id,
            numbers=wanted.numbers,
        )
    return {
        "items": [as_json(event) for event in found.events],
        "next": str(found.upto) if found.more else None,
        "last": str(found.upto),
    }


def as_json(event: Event) -> dict[str, Any]:
    """The event's JSON shape. Its id is its number."""
    return {
        "id": str(event.seq),
        "type": event.type,
        "at": format_instant(event.at),
        "data": event.data,
    }
