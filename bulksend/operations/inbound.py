"""Messages from people: which came, from whom, and what they answer."""

from __future__ import annotations

from typing import Any

from bulksend.ledger import inbound
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import CannotDecrypt, Cipher
from bulksend.ledger.inbound import Inbound
from bulksend.messaging.masking import mask_phone
from bulksend.messaging.stop_words import Keyword
from bulksend.messaging.units import parse_choice
from bulksend.operations.json_shape import Page, to_json
from bulksend.operations.messages import Filter


def list_inbound(
    database: Database,
    cipher: Cipher,
    filter: Filter,
    *,
    keyword: str | None = None,
    limit: int = 100,
    before: str | None = None,
    full: bool,
) -> Page:
    """The newest messages first, those before the id ``before``; ``full`` with numbers and texts.

    Of the filter its campaign, phone, since and until count. Raises InvalidValue, CampaignNotFound.
    """
    wanted = None if keyword is None else parse_choice(Keyword, keyword, field="keyword")
    with database.read() as tx:
        query = filter.query(tx)
        found = inbound.page(
            tx,
            before=before,
            limit=limit,
            campaign=query.campaign_id,
            phone=query.phone,
            keyword=wanted,
            since=query.since,
            until=query.until,
        )
    items = [_shown(each, cipher, full=full) for each in found]
    return Page(items, items[-1]["id"] if len(items) == limit else None)


def _shown(found: Inbound, cipher: Cipher, *, full: bool) -> dict[str, Any]:
    text = payload = why = None
    if full:
        try:
            body = inbound.body_of(found, cipher)
            text, payload = body["text"], body["payload"]
        except CannotDecrypt as error:
            why = str(error)
    shown = {
        "id": str(found.id),
        "received_at": found.received_at,
        "at": found.at,
        "inbound_id": found.inbound_id,
        "from": found.recipient if full else mask_phone(found.recipient),
        "sender": found.sender,
        "type": found.type,
        "keyword": found.keyword,
        "answers": None if found.message_pk is None else str(found.message_pk),
        "campaign_id": None if found.campaign_id is None else str(found.campaign_id),
        "text": text,
        "payload": payload,
        "text_why": why if full else "only the role sender and above sees texts",
    }
    return to_json(shown)
