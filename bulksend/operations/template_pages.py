"""Pages of templates: a list by status, one with its history and the campaigns that use it, the newest changes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from bulksend.ledger import operator_log, templates
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.database import Database
from bulksend.messaging.masking import mask_digits
from bulksend.messaging.states import CampaignStatus
from bulksend.messaging.template_fit import KnownTemplate
from bulksend.operations.campaigns import summaries
from bulksend.operations.json_shape import to_json
from bulksend.operations.templates import show_template

#: The most open campaigns that are shown of a template, as many that have ended, and changes of all templates.
MOST_USERS, MOST_CHANGES = 50, 20
_FIELDS = ("at", "actor", "act", "subject", "why", "before", "after")


def template_now(database: Database, name: str) -> dict[str, Any]:
    """``show_template``, with the campaigns that use it, newest first, and those that it holds. Raises NotFound."""
    shown = show_template(database, name)
    with database.read() as tx:
        found = templates.users_of(tx, name, limit=MOST_USERS)
        rows = [
            {**summary, "language": language, "held_by": _held_by(tx, campaign, name, language)}
            for (campaign, language), summary in zip(
                found, summaries(tx, [campaign for campaign, _ in found]), strict=True
            )
        ]
    return {**shown, "campaigns": rows, "held": [row for row in rows if row["held_by"]]}


def recent_changes(tx: Connection) -> list[dict[str, Any]]:
    """The newest changes of templates among the newest acts, newest first."""
    found = operator_log.recent(tx, MOST_CHANGES, scope="template")
    return [to_json({name: getattr(act, name) for name in _FIELDS}) for act in found]


def _held_by(tx: Connection, campaign: Campaign, name: str, language: str) -> str | None:
    """Why the template holds a campaign; None where it does not."""
    if campaign.ended_at is not None:
        return None
    if campaign.status is CampaignStatus.PAUSED and KnownTemplate(name, language).title in (
        campaign.pause_why or ""
    ):
        return mask_digits(campaign.pause_why or "")
    return templates.why_not(tx, campaign.kind, campaign.type, campaign.content)
