"""Legal holds: what a campaign or a person left in the ledger is neither erased nor deleted while one stands."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from bulksend.errors import NotFound, WrongState
from bulksend.ledger import operator_log
from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.clock import read_clock
from bulksend.ledger.ids import is_id, new_id
from bulksend.ledger.person_keys import make_person_key
from bulksend.ledger.schema import legal_holds
from bulksend.messaging.number_forms import canonical_number, number_forms
from bulksend.messaging.person_hash import person_hash

CAMPAIGN, PERSON = "campaign", "person"


@dataclass(frozen=True, slots=True)
class LegalHold:
    """``subject``: a campaign's id, or a person's canonical number."""

    id: str
    scope: str
    subject: str
    why: str
    placed_by: str
    placed_at: int


@dataclass(frozen=True, slots=True)
class Held:
    """What is under a legal hold."""

    campaigns: frozenset[str]
    numbers: frozenset[str]
    """Every form of the persons' numbers."""


def place(tx: Connection, scope: str, subject: str, *, actor: str, why: str) -> LegalHold:
    """Place a hold, on record. Raises WrongState where there is one on the same subject."""
    subject = canonical_number(subject) if scope == PERSON else subject
    for hold in every(tx):
        if (hold.scope, hold.subject) == (scope, subject):
            raise WrongState(
                f"this {scope} is under legal hold {hold.id} already; `bulksend holds remove {hold.id}` ends it"
            )
    hold = LegalHold(new_id(), scope, subject, storable(why, 500), storable(str(actor), 100), read_clock(tx))
    tx.execute(insert(legal_holds).values({name: getattr(hold, name) for name in LegalHold.__slots__}))
    _record(tx, hold, actor=actor, act="place legal hold", why=why)
    return hold


def remove(tx: Connection, id: str, *, actor: str, why: str) -> LegalHold:
    """End a hold, on record. Raises NotFound."""
    found = next((hold for hold in every(tx) if is_id(id) and hold.id == id.lower()), None)
    if found is None:
        raise NotFound("there is no legal hold with this id; `bulksend holds list` shows them")
    tx.execute(delete(legal_holds).where(legal_holds.c.id == found.id))
    _record(tx, found, actor=actor, act="remove legal hold", why=why)
    return found


def every(tx: Connection) -> list[LegalHold]:
    """All holds, oldest first. They are few."""
    rows = tx.execute(select(legal_holds).order_by(legal_holds.c.id)).mappings()
    return [LegalHold(**{**row, "id": str(row["id"])}) for row in rows]


def held(tx: Connection) -> Held:
    """What is under a legal hold now."""
    holds = every(tx)
    return Held(
        frozenset(hold.subject for hold in holds if hold.scope == CAMPAIGN),
        frozenset(form for hold in holds if hold.scope == PERSON for form in number_forms(hold.subject)),
    )


def on_person(tx: Connection, number: str, campaign_ids: Collection[str]) -> LegalHold | None:
    """The first hold on a person or on one of these campaigns; None where there is none."""
    subjects = {(PERSON, canonical_number(number)), *((CAMPAIGN, id) for id in campaign_ids)}
    return next((hold for hold in every(tx) if (hold.scope, hold.subject) in subjects), None)


def _record(tx: Connection, hold: LegalHold, *, actor: str, act: str, why: str) -> None:
    """The operator log gets no number: the person's hash."""
    subject = person_hash(make_person_key(tx), hold.subject) if hold.scope == PERSON else hold.subject
    operator_log.record(tx, actor=actor, act=act, scope=hold.scope, subject=subject, why=why)
