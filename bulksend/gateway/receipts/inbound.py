"""Messages and taps on buttons from people."""

from __future__ import annotations

from typing import Any

from bulksend.gateway.receipts.status import Envelope
from bulksend.gateway.receipts.types import InboundMessage
from bulksend.gateway.receipts.values import (
    Fields,
    NotJson,
    first_digits,
    first_instant,
    first_text,
    id_of,
    read_text,
    text_of,
)

#: WhatsApp's longest text has 4,096 characters.
MAX_TEXT = 5_000
MAX_PAYLOAD = 1_000

_TYPES = frozenset(
    [
        "text",
        "image",
        "video",
        "audio",
        "voice",
        "document",
        "file",
        "sticker",
        "location",
        "contact",
        "contacts",
        "button",
        "interactive",
        "reaction",
        "order",
        "system",
        "unsupported",
        "quick_reply",
        "button_reply",
        "list_reply",
        "reply",
        "nfm_reply",
    ]
)
#: A part with one of these reports on a message of ours.
_OF_RECEIPTS = frozenset(
    [
        "status",
        "message_status",
        "messagestatus",
        "deliverystatus",
        "delivery_status",
        "receiptresult",
        "statuscode",
    ]
)
_IDS = ("wamid", "id", "message_id", "messageid", "msgid", "msg_id", "sessionno")
_PEOPLE = ("from", "source", "phone", "mobile", "wa_id", "phonenumber")
_SENDERS = ("to", "business_phone", "businessphone", "account")
_TIMES = ("timestamp", "sendtime", "time", "replytime", "recv_time", "received_at", "itime", "createtime")
_TEXTS = ("replycontent", "message", "content", "text", "caption", "body")
#: Where the types of message keep what was written or tapped.
_PLACES = (
    *("text", "button", "interactive", "button_reply", "list_reply", "quick_reply", "reply", "payload"),
    *("response", "content", "image", "video", "document", "reaction"),
)
_MEDIA = frozenset({"image", "video", "document", "reaction"})
_WORDS = ("body", "text", "title", "caption", "emoji", "message")
_CARRIED = ("payload", "id", "postbacktext")


def inbound_of(fields: Fields, envelope: Envelope) -> InboundMessage | None:
    """The message in these fields, or None where they are none."""
    if not _OF_RECEIPTS.isdisjoint(fields):
        return None
    person = first_digits(fields, _PEOPLE)
    id = next((found for name in _IDS if (found := id_of(fields.get(name)))), "")
    type = text_of(fields.get("type"), 40).lower()
    text, payload = _content(fields)
    if not ((type in _TYPES and (person or id)) or (person and (text or payload))):
        return None
    return InboundMessage(
        id=id,
        sender=first_digits(fields, _SENDERS) or envelope.sender,
        recipient=person,
        type=type or "text",
        text=text,
        payload=payload,
        context_ids=_context(fields),
        at=first_instant(fields, _TIMES) or envelope.at,
    )


def _content(fields: Fields) -> tuple[str, str]:
    """What was written or tapped, and what a button carries."""
    for name in _PLACES:
        place: Any = fields.get(name)
        if isinstance(place, dict):
            for inner in ("button_reply", "list_reply", "button", "text"):
                place = deeper if isinstance(deeper := place.get(inner), dict) else place
            text = first_text(place, _WORDS, MAX_TEXT)
            # The id of a medium is nothing that a button carries.
            payload = "" if name in _MEDIA else first_text(place, _CARRIED, MAX_PAYLOAD)
            if text or payload:
                return text, payload
    text = first_text(fields, _TEXTS, MAX_TEXT)
    if text.startswith("{"):
        # Alibaba: ``Message`` is JSON for all types but TEXT.
        try:
            inner = read_text(text)
        except NotJson:
            return text, ""
        if isinstance(inner, dict):
            return first_text(inner, _WORDS, MAX_TEXT), first_text(inner, _CARRIED, MAX_PAYLOAD)
    return text, text_of(fields.get("payload"), MAX_PAYLOAD)


def _context(fields: Fields) -> tuple[str, ...]:
    context = fields.get("context")
    if isinstance(context, dict):
        ids = [id_of(context.get(name)) for name in ("id", "gsid", "message_id", "messageid", "wamid")]
    else:
        ids = [id_of(fields.get(name)) for name in ("contextmessageid", "context_id", "replytomessageid")]
    return tuple(dict.fromkeys(id for id in ids if id))
