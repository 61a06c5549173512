"""Legal holds: place, list, remove."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from bulksend.errors import InvalidInput
from bulksend.ledger import campaigns, legal_holds
from bulksend.ledger.database import Database
from bulksend.ledger.legal_holds import CAMPAIGN, PERSON, LegalHold
from bulksend.messaging.masking import mask_phone
from bulksend.operations.json_shape import to_json


def place_hold(
    database: Database, *, campaign: str | None, person: str | None, actor: str, why: str
) -> dict[str, Any]:
    """Keep a campaign (by id or name) or a person (E.164 digits) from erasure and from deletion by age, on record.

    Raises InvalidInput unless one of the two is given, CampaignNotFound, WrongState.
    """
    if (campaign is None) == (person is None):
        raise InvalidInput("a legal hold is on a campaign or on a person: give one of the two")
    with database.write() as tx:
        if campaign is not None:
            scope, subject = CAMPAIGN, campaigns.find(tx, campaign).id
        else:
            scope, subject = PERSON, str(person)
        return _shown(tx, legal_holds.place(tx, scope, subject, actor=actor, why=why))[0]


def list_holds(database: Database) -> list[dict[str, Any]]:
    """All holds, oldest first; numbers masked."""
    with database.read() as tx:
        return _shown(tx, *legal_holds.every(tx))


def hold_on(tx: Connection, campaign_id: str) -> dict[str, Any] | None:
    """The hold on a campaign; None where there is none."""
    found = [hold for hold in legal_holds.every(tx) if (hold.scope, hold.subject) == (CAMPAIGN, campaign_id)]
    return _shown(tx, *found)[0] if found else None


def remove_hold(database: Database, id: str, *, actor: str, why: str) -> dict[str, Any]:
    """End a hold, on record. Raises NotFound."""
    with database.write() as tx:
        return _shown(tx, legal_holds.remove(tx, id, actor=actor, why=why))[0]


def _shown(tx: Connection, *holds: LegalHold) -> list[dict[str, Any]]:
    """Holds as the interface shows them; ``name`` is that of a campaign."""
    names = campaigns.names_of(tx, [hold.subject for hold in holds if hold.scope == CAMPAIGN])
    return [
        to_json(hold)
        | {"subject": mask_phone(hold.subject) if hold.scope == PERSON else hold.subject}
        | {"name": names.get(hold.subject)}
        for hold in holds
    ]
