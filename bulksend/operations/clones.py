"""Clone a campaign: its content and options for other rows, or for those of its people who surely got nothing."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection

from bulksend.errors import WrongState
from bulksend.ledger import campaigns
from bulksend.ledger.campaigns import Campaign
from bulksend.messaging.states import CampaignStatus, Kind


def clone_options(tx: Connection, id_or_name: str) -> dict[str, Any]:
    """Sender, kind, type, content and options of a campaign, by the names and values of a request that sends one.

    Its name, key and due time are its own. Raises CampaignNotFound, WrongState for the campaign of single sends.
    """
    campaign = campaigns.find(tx, id_or_name)
    if campaign.is_direct:
        raise WrongState(
            f"{_named(campaign)} has single sends, each with a content of its own; it has no clone"
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
    }
    return {name: value for name, value in given.items() if value is not None}


def check_rest(tx: Connection, id_or_name: str) -> Campaign:
    """The campaign whose rest is to be sent. Raises CampaignNotFound, WrongState where it has none."""
    campaign = campaigns.find(tx, id_or_name)
    if campaign.status is not CampaignStatus.CANCELLED:
        raise WrongState(
            f"{_named(campaign)} is {campaign.status.value}: only a cancelled campaign leaves a rest. `bulksend "
            f"campaigns retry {campaign.id}` queues its failed messages again; `bulksend export {campaign.id} "
            "--audience undelivered -o FILE.jsonl` has the people for another message"
        )
    if campaign.kind is Kind.OTP:
        raise WrongState(f"{_named(campaign)} is of one-time codes, which are wiped; send new codes")
    return campaign


def _named(campaign: Campaign) -> str:
    return f"campaign {campaign.id} ({campaign.name})"
