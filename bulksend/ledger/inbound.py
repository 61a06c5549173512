"""Messages from people: each is kept once, with the message that it answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, or_, select

from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import insert_if_new, newest_first, rows_changed
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.ids import lowest_at, new_id
from bulksend.ledger.schema import inbound_messages, messages
from bulksend.messaging.number_forms import number_forms
from bulksend.messaging.states import SENT
from bulksend.messaging.stop_words import Keyword

#: A message answers the newest one to that person, where that is not older than this.
ANSWERS_WITHIN_MS = 7 * 86_400_000
#: Of these types, none says anything.
NOT_REPLIES = ("reaction", "system", "unsupported")


class NewInbound(NamedTuple):
    """A message as its callback gives it. ``inbound_id`` is the vendor's id, empty where it gives none."""

    inbound_id: str
    sender: str
    recipient: str
    type: str
    text: str
    payload: str
    context_ids: Sequence[str]
    at: int | None
    keyword: Keyword | None


class Inbound(NamedTuple):
    """A message as it is stored. ``body`` is sealed; open it with ``body_of``."""

    id: str
    received_at: int
    at: int
    inbound_id: str | None
    sender: str
    recipient: str
    type: str
    body: bytes
    keyword: str | None
    message_pk: str | None
    campaign_id: str | None


def store(tx: Connection, found: NewInbound, cipher: Cipher) -> bool:
    """Keep a message. Returns whether it was new."""
    id, now = new_id(), read_clock(tx)
    answered = _answered(tx, found, now)
    body = json.dumps({"text": found.text, "payload": found.payload}).encode()
    values = {
        "id": id,
        "received_at": now,
        "at": now if found.at is None else found.at,
        "inbound_id": storable(found.inbound_id, 256) or None,
        "sender": found.sender,
        "recipient": found.recipient,
        "type": storable(found.type, 40),
        "body": cipher.seal(body, id),
        "keyword": found.keyword,
        "message_pk": answered and answered[0],
        "campaign_id": answered and answered[1],
    }
    return rows_changed(tx, insert_if_new(tx, inbound_messages).values(values)) == 1


def body_of(found: Inbound, cipher: Cipher) -> dict[str, str]:
    """Its text, and what the tapped button carries. Raises CannotDecrypt when no key fits."""
    body: dict[str, str] = json.loads(cipher.unseal(found.body, found.id))
    return body


def page(
    tx: Connection,
    *,
    before: str | None = None,
    limit: int = 100,
    campaign: str | None = None,
    phone: str | None = None,
    keyword: Keyword | None = None,
    since: int | None = None,
    until: int | None = None,
) -> list[Inbound]:
    """The newest messages first, those before the id ``before``."""
    columns = inbound_messages.c
    wanted = newest_first(select(inbound_messages), columns.id, limit, before)
    if campaign is not None:
        wanted = wanted.where(columns.campaign_id == campaign)
    if phone is not None:
        wanted = wanted.where(columns.recipient.in_(number_forms(phone)))
    if keyword is not None:
        wanted = wanted.where(columns.keyword == keyword.value)
    if since is not None:
        wanted = wanted.where(columns.id >= lowest_at(since))
    if until is not None:
        wanted = wanted.where(columns.id < lowest_at(until))
    return [Inbound(**row) for row in tx.execute(wanted).mappings()]


def replies(tx: Connection, campaign_id: str) -> int:
    """How many messages answer a campaign."""
    answering = inbound_messages.c.campaign_id == campaign_id
    says = inbound_messages.c.type.not_in(NOT_REPLIES)
    return int(tx.execute(select(func.count()).where(answering, says)).scalar_one())


def _answered(tx: Connection, found: NewInbound, now: int) -> tuple[str, str] | None:
    """Id and campaign of the message that it answers: the one it names, else the newest to that person."""
    which = select(messages.c.id, messages.c.campaign_id).order_by(messages.c.id.desc()).limit(1)
    if found.context_ids:
        named = which.where(messages.c.message_id.in_(list(found.context_ids)))
        if (row := tx.execute(named).one_or_none()) is not None:
            return str(row.id), str(row.campaign_id)
    if not found.recipient:
        return None
    newest = which.where(
        messages.c.recipient.in_(number_forms(found.recipient)),
        messages.c.status.in_([status.value for status in SENT]),
        or_(messages.c.accepted_at > now - ANSWERS_WITHIN_MS, messages.c.accepted_at.is_(None)),
    )
    if found.sender:
        newest = newest.where(messages.c.sender == found.sender)
    row = tx.execute(newest).one_or_none()
    return None if row is None else (str(row.id), str(row.campaign_id))
