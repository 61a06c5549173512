"""One receipt: its ids, status and instant, under all the names that vendors give them."""

from __future__ import annotations

from typing import Any, NamedTuple

from bulksend.gateway.receipts.errors import failure_in
from bulksend.gateway.receipts.types import ParsedReceipt
from bulksend.gateway.receipts.values import Fields, first_digits, first_instant, id_of


class Envelope(NamedTuple):
    """What the objects around a part say about it."""

    sender: str = ""
    at: int | None = None


#: In the order of how likely each is the MessageId of the answer to a send.
_ID_NAMES = (
    *("message_id", "messageid", "id", "wamid", "msgid", "msg_id", "gsid", "meta_message_id"),
    *("metamessageid", "whatsappmessageid", "channel_message_id", "requestid", "request_id", "sessionno"),
)
_STATUS_NAMES = (
    *("status", "message_status", "messagestatus", "receiptresult", "deliverystatus", "delivery_status"),
    *("msgstatus", "state", "eventtype", "event_type", "event"),
)
_AT_NAMES = (
    *("timestamp", "statusat", "recv_time", "receipttime", "msg_time", "updatetime", "update_time"),
    *("eventtime", "received_at", "itime", "ts", "time", "createtime"),
)
_SENDER_NAMES = ("from", "form", "business_phone", "businessphone", "sender")
_RECIPIENT_NAMES = ("recipient_id", "to", "phone", "mobile", "destination", "recipient", "wa_id")

_WORDS = {
    "sent": "sent submitted submit enqueued queued accepted pending processing sending plan target_valid deleted "
    "held_for_quality_assessment 已发送 已提交",
    "delivered": "delivered delivrd deliverd success delivery 成功 已送达",
    "read": "read seen played opened viewed displayed 已读",
    "failed": "failed fail failure undelivered undelivrd undeliv undeliverable rejected rejectd error expired blocked "
    "sent_failed send_failed delivered_failed delivery_failed target_invalid 失败",
}
_STATUSES = {word: status for status, words in _WORDS.items() for word in words.split()}
#: The vendor does not know it either.
_UNDECIDED = frozenset({"unknow", "unknown", "未知"})

UNDECIDED = "undecided"


def status_of(value: object) -> str | None:
    """sent, delivered, read, failed, or UNDECIDED; None for any other word."""
    if not isinstance(value, str) or len(value) > 60:
        return None
    status = _STATUSES.get(value)
    if status is not None:
        return status
    word = value.strip().lower().replace("-", "_").replace(" ", "_")
    return UNDECIDED if word in _UNDECIDED else _STATUSES.get(word)


def find_status(fields: Fields) -> str | None:
    """The status that these fields give, or None."""
    for name in _STATUS_NAMES:
        value = fields.get(name)
        if value is None:
            continue
        if isinstance(value, dict):
            # EngageLab: the row's ``status`` is an object with the word, the time and the error in it.
            value = value.get("message_status") or value.get("status")
        if (status := status_of(value)) is not None:
            return status
    if "gsid" in fields or "destination" in fields:
        # Gupshup: elsewhere ``type`` is the type of a message.
        return status_of(fields.get("type"))
    return None


def ids_in(fields: Fields) -> tuple[str, ...]:
    """Every id in these fields, each once."""
    found: dict[str, None] = {}
    for place in (fields, _detail(fields)):
        if place is not None:
            for name in _ID_NAMES:
                value = place.get(name)
                if value is not None and (id := id_of(value)):
                    found[id] = None
    return tuple(found)


def receipt_of(fields: Fields, status: str, ids: tuple[str, ...], envelope: Envelope) -> ParsedReceipt:
    """The receipt of fields that have a status and an id."""
    detail = _detail(fields)
    at = first_instant(detail, _AT_NAMES) if detail is not None else None
    if at is None:
        at = first_instant(fields, _AT_NAMES) or envelope.at
    sender = first_digits(fields, _SENDER_NAMES) or envelope.sender
    recipient = first_digits(fields, _RECIPIENT_NAMES)
    if status != "failed":
        return ParsedReceipt(ids, status, at, "", None, "", sender, recipient)
    code, whatsapp_code, why = failure_in(fields if detail is None else {**fields, **detail})
    return ParsedReceipt(ids, status, at, code, whatsapp_code, why, sender, recipient)


def _detail(fields: Fields) -> Fields | None:
    """The object in which EngageLab and Gupshup say more of the status."""
    inner: Any = fields.get("status") or fields.get("payload")
    if not isinstance(inner, dict):
        return None
    data = inner.get("status_data")
    return {**data, **inner} if isinstance(data, dict) else inner
