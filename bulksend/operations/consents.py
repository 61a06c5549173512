"""Consents: who agreed to get messages, where and when, as proof."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection

from bulksend.ledger import consents
from bulksend.ledger.consents import KeptConsent
from bulksend.ledger.database import Database
from bulksend.messaging import mask_digits, mask_phone
from bulksend.messaging.units import format_instant
from bulksend.operations.json_shape import Page

#: The columns of a report. Those of the rows of a campaign have the same names.
COLUMNS = ("to", "consent_source", "consent_at", "recorded_at", "campaign_id", "suppressed")


def list_consents(
    database: Database, *, after: str = "", limit: int = 100, subject: str | None = None
) -> Page:
    """Consents by person, or those of one person; ``after`` is the ``next`` of the page before."""
    with database.read() as tx:
        found = consents.page(tx, after=after, limit=limit, subject=subject)
    is_full = subject is None and len({consent.subject for consent in found}) == limit
    return Page([shown(consent) for consent in found], found[-1].subject if is_full else None)


def masked(item: Mapping[str, Any]) -> dict[str, Any]:
    """One of a list for a reader who sees no numbers."""
    return {
        **item,
        "to": mask_phone(str(item["to"])),
        "consent_source": mask_digits(str(item["consent_source"])),
    }


def report(tx: Connection, *, subject: str | None = None) -> Iterator[dict[str, Any]]:
    """Every consent on record, or those of one person, with COLUMNS; memory stays flat."""
    found = consents.every(tx) if subject is None else consents.page(tx, subject=subject)
    yield from map(shown, found)


def shown(consent: KeptConsent) -> dict[str, Any]:
    """The interface's shape of a consent; ``to`` is the hash of a person who was forgotten."""
    return {
        "to": consent.subject,
        "consent_source": consent.source,
        "consent_at": format_instant(consent.at),
        "recorded_at": format_instant(consent.recorded_at),
        "campaign_id": consent.campaign_id,
        "suppressed": consent.suppressed,
    }
