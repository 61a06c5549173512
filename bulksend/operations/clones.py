"""Clone a campaign: its content and options for other rows, or for those whom it surely did not reach."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection

from bulksend.errors import WrongState
from bulksend.ledger import campaigns
from bulksend.ledger.campaigns import Campaign
from bulksend.messaging.exclusions import Exclusions
from bulksend.messaging.failure_share import format_max_failed
from bulksend.messaging.local_time import parse_local_time
from bulksend.messaging.states import CampaignStatus, Kind


def clone_options(tx: Connection, id_or_name: str) -> dict[str, Any]:
    """Sender, kind, type, content and options of a campaign, by the names and values of a request that sends one.

    Not its name, key and due time: those of a clone are its own. Of a local time the day is left out. Raises
    CampaignNotFound, WrongState for the campaign of single sends.
    """
    campaign = campaigns.find(tx, id_or_name)
    if campaign.is_direct:
        raise WrongState(
            f"campaign {_named(campaign)} has single sends, each with a content of its own; it has no clone"
        )
    given = {
        "sender": campaign.sender,
        "kind": campaign.kind.value,
        "type": campaign.type,
        "content": json.loads(campaign.content),
        "ttl_seconds": None if campaign.ttl_ms is None else campaign.ttl_ms / 1000,
        "rate": None if campaign.rate is None else f"{campaign.rate:.9f}",
        "on_unknown": campaign.on_unknown.value,
        "timezone": campaign.timezone,
        "local_time": _time_of_day(campaign),
        "canary": campaign.canary,
        "max_failed": None if campaign.max_failed is None else format_max_failed(campaign.max_failed),
        "weight": campaign.weight,
        **{name: value for name, value in Exclusions.from_json(campaign.exclusions).shown().items() if value},
    }
    return {name: value for name, value in given.items() if value is not None}


def _time_of_day(campaign: Campaign) -> str | None:
    """Without its day, which has passed for the rows to come."""
    return None if campaign.local_time is None else f"{parse_local_time(campaign.local_time).clock:%H:%M}"


def check_rest(tx: Connection, id_or_name: str) -> Campaign:
    """The campaign whose rest is to be sent. Raises CampaignNotFound, WrongState where it has none."""
    campaign = campaigns.find(tx, id_or_name)
    if campaign.status is not CampaignStatus.CANCELLED:
        raise WrongState(
            f"campaign {_named(campaign)} is {campaign.status.value}: only a cancelled campaign leaves a rest. "
            f"`bulksend campaigns retry {campaign.id}` queues its failed messages again; `bulksend export "
            f"{campaign.id} --audience undelivered -o FILE.jsonl` has the people for another message"
        )
    if campaign.kind is Kind.OTP:
        raise WrongState(f"campaign {_named(campaign)} is of one-time codes, which are wiped; send new codes")
    return campaign


def _named(campaign: Campaign) -> str:
    return f"{campaign.id} ({campaign.name})"
