"""Whether a campaign that is paused, or was finished, may go on."""

from __future__ import annotations

from sqlalchemy import Connection

from bulksend.errors import WrongState
from bulksend.ledger import media, templates
from bulksend.ledger.campaigns import Campaign
from bulksend.messaging.states import CampaignStatus


def check_resume(tx: Connection, campaign: Campaign) -> None:
    """Raises WrongState when no message could succeed, by what is known of the campaign's template and files."""
    if campaign.status is not CampaignStatus.PAUSED:
        return
    why = why_not(tx, campaign)
    if why is not None:
        raise WrongState(
            f"campaign {campaign.id} ({campaign.name}) stays paused: {why}; a resume with force goes on all the same"
        )


def check_reopen(tx: Connection, campaign: Campaign, *, lock: bool) -> None:
    """Raises WrongState for a finished campaign whose failed messages could not succeed now either.

    ``lock``: what was read does not change until the end of the transaction.
    """
    if campaign.status is not CampaignStatus.FINISHED:
        return
    why = why_not(tx, campaign, lock=lock)
    if why is not None:
        raise WrongState(
            f"campaign {campaign.id} ({campaign.name}) is not retried: {why}; nothing was changed"
        )


def why_not(tx: Connection, campaign: Campaign, *, lock: bool = True) -> str | None:
    """Why the vendor would take no message of its content, by what is known; None where it would."""
    return templates.why_not(tx, campaign.kind, campaign.type, campaign.content, lock=lock) or media.why_not(
        tx, campaign.sender, campaign.type, campaign.content, lock=lock
    )
