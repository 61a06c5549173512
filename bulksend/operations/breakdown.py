"""The breakdown of a campaign: what became of its rows, where and when, and why messages failed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, TypedDict

from sqlalchemy import Connection

from bulksend.errors import WrongState
from bulksend.ledger import breakdown as counted
from bulksend.ledger import campaigns, counters, inbound
from bulksend.ledger.breakdown import Reached
from bulksend.ledger.clock import read_clock
from bulksend.messaging.units import format_instant
from bulksend.operations.campaign_pages import failures


class Breakdown(TypedDict):
    """The answer of ``campaigns breakdown``."""

    campaign_id: str
    name: str
    status: str
    at: str
    timezone: str | None
    """The campaign's, for display; null: the installation's."""
    funnel: dict[str, int]
    """Rows, and how many of them came how far; ``refused`` and ``duplicates`` are rows without a message."""
    statuses: dict[str, int]
    countries: list[dict[str, Any]]
    """The largest first; ``country`` is null where the number does not show it."""
    hours: list[dict[str, Any]]
    """Hours without anything are left out."""
    failures: list[dict[str, Any]]
    failures_of: dict[str, int]
    """How many messages of each status the failures are of: the newest ones."""


def break_down(tx: Connection, id_or_name: str) -> Breakdown:
    """Count it; reads every message twice. Raises CampaignNotFound, WrongState for the campaign of single sends."""
    campaign = campaigns.find(tx, id_or_name)
    if campaign.is_direct:
        raise WrongState(
            f"campaign {campaign.id} ({campaign.name}) has all single {campaign.kind} sends of programs, without an "
            "end; `bulksend stats` counts them by hour and country"
        )
    countries = counted.by_country(tx, campaign.id)
    total = sum(countries.values(), Reached())
    why = failures(tx, campaign.id)
    return {
        "campaign_id": campaign.id,
        "name": campaign.name,
        "status": campaign.status.value,
        "at": format_instant(read_clock(tx)),
        "timezone": campaign.timezone,
        "funnel": {
            "rows": campaign.rows_read,
            "refused": campaign.refused,
            "duplicates": campaign.duplicates,
            **asdict(total),
            "replies": inbound.replies(tx, campaign.id),
        },
        "statuses": counters.of(tx, [campaign.id])[campaign.id].statuses,
        "countries": [
            {"country": country or None, **asdict(reached)}
            for country, reached in sorted(countries.items(), key=lambda each: (-each[1].messages, each[0]))
        ],
        "hours": [
            {**asdict(each), "hour": format_instant(each.hour)} for each in counted.by_hour(tx, campaign.id)
        ],
        "failures": why["items"],
        "failures_of": why["sampled"],
    }
