"""Whether a paused campaign may go on."""

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
    why = templates.why_not(tx, campaign.kind, campaign.type, campaign.content, lock=True) or media.why_not(
        tx, campaign.sender, campaign.type, campaign.content, lock=True
    )
    if why is not None:
        raise WrongState(
            f"campaign {campaign.id} ({campaign.name}) stays paused: {why}; a resume with force goes on all the same"
        )
