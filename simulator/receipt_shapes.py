"""The JSON of callbacks in the shapes of several vendors. Pure.

Ours documents none (docs/vendor.md#receipts), so each shape that a receiver should know is imitated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Sent:
    """A sent message. ``at_ms`` is unix milliseconds."""

    message_id: str
    to: str
    sender: str
    at_ms: float


@dataclass(frozen=True, slots=True)
class Receipt:
    """One status of one message. ``at_ms`` is when it happened, which may be long before its POST."""

    sent: Sent
    status: str
    at_ms: int
    code: int | None = None
    title: str = ""
    by_alias: bool = False
    """The MessageId stands under the shape's second name, and an id of the vendor's own under its first."""

    @property
    def ids(self) -> tuple[str, str]:
        """The ids under the first and under the second name."""
        if not self.by_alias:
            return self.sent.message_id, self.sent.message_id
        own = hashlib.sha256(self.sent.message_id.encode()).hexdigest()[:24]
        return own, self.sent.message_id


@dataclass(frozen=True, slots=True)
class Inbound:
    """A text of a person, or a tap on a button, where it has a payload."""

    id: str
    person: str
    sender: str
    at_ms: int
    text: str
    payload: str = ""
    context_id: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """How one vendor writes receipts and inbound messages."""

    receipts: Callable[[Sequence[Receipt]], Any]
    inbound: Callable[[Inbound], Any]
    batches: bool = True
    """Whether a body may hold several receipts."""


def as_json(receipts: Sequence[Receipt], shape: str) -> Any:
    """The body of the POST of these receipts: one, unless the shape allows several."""
    return SHAPES[shape].receipts(receipts)


def _iso(at_ms: int) -> str:
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _errors(receipt: Receipt) -> list[dict[str, Any]]:
    if receipt.code is None:
        return []
    details = {"details": receipt.title}
    return [{"code": receipt.code, "title": receipt.title, "message": receipt.title, "error_data": details}]


# -- Meta, and those that are like it -------------------------------------------------------------------------------


def _meta_value(field: str, sender: str, **value: Any) -> dict[str, Any]:
    metadata = {"display_phone_number": sender, "phone_number_id": "0"}
    return {"field": field, "value": {"messaging_product": "whatsapp", "metadata": metadata, **value}}


def _meta_body(changes: Sequence[Mapping[str, Any]], **entry: Any) -> dict[str, Any]:
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": "0", **entry, "changes": list(changes)}],
    }


def _meta(receipts: Sequence[Receipt]) -> Any:
    by_sender: dict[str, list[dict[str, Any]]] = {}
    for receipt in receipts:
        by_sender.setdefault(receipt.sent.sender, []).append(_meta_status(receipt))
    return _meta_body(
        [_meta_value("messages", sender, statuses=found) for sender, found in by_sender.items()]
    )


def _meta_status(receipt: Receipt) -> dict[str, Any]:
    status: dict[str, Any] = {
        "id": receipt.sent.message_id,
        "status": receipt.status,
        "timestamp": str(receipt.at_ms // 1000),
        "recipient_id": receipt.sent.to,
    }
    return status | ({"errors": errors} if (errors := _errors(receipt)) else {})


def _meta_message(message: Inbound) -> dict[str, Any]:
    content: dict[str, Any] = {"type": "text", "text": {"body": message.text}}
    if message.payload:
        content = {"type": "button", "button": {"payload": message.payload, "text": message.text}}
    if message.context_id:
        content["context"] = {"from": message.sender, "id": message.context_id}
    at = str(message.at_ms // 1000)
    return {"from": message.person, "id": message.id, "timestamp": at, **content}


def _meta_inbound(message: Inbound) -> Any:
    contacts = [{"profile": {"name": "A Person"}, "wa_id": message.person}]
    value = _meta_value("messages", message.sender, contacts=contacts, messages=[_meta_message(message)])
    return _meta_body([value])


def _nxcloud(receipts: Sequence[Receipt]) -> Any:
    statuses = []
    for receipt in receipts:
        own, message_id = receipt.ids
        names = {"id": own, "meta_message_id": message_id} if receipt.by_alias else {"id": message_id}
        more = {"errors": _errors(receipt), "costs": [], "timestamp": receipt.at_ms // 1000}
        statuses.append(_meta_status(receipt) | names | more)
    sender = receipts[0].sent.sender
    return {"business_phone": sender, "messaging_product": "whatsapp", "statuses": statuses}


def _nxcloud_inbound(message: Inbound) -> Any:
    return {
        "business_phone": message.sender,
        "messaging_product": "whatsapp",
        "messages": [_meta_message(message)],
    }


# -- the others -----------------------------------------------------------------------------------------------------


def _ycloud(receipts: Sequence[Receipt]) -> Any:
    (receipt,) = receipts
    own, message_id = receipt.ids
    message: dict[str, Any] = {
        "id": own,
        "wamid": message_id,
        "from": "+" + receipt.sent.sender,
        "to": "+" + receipt.sent.to,
        "status": receipt.status,
        "type": "template",
    }
    if receipt.code is not None:
        message |= {
            "errorCode": str(receipt.code),
            "errorMessage": receipt.title,
            "whatsappApiError": {"code": str(receipt.code), "message": receipt.title},
        }
    event_id = f"{receipt.sent.message_id[-12:]}_{receipt.status}"
    return _ycloud_event("whatsapp.message.updated", event_id, receipt.at_ms, whatsappMessage=message)


def _ycloud_event(type: str, id: str, at_ms: int, **content: Any) -> dict[str, Any]:
    return {"id": f"evt_{id}", "type": type, "apiVersion": "v2", "createTime": _iso(at_ms), **content}


def _ycloud_inbound(message: Inbound) -> Any:
    content = _meta_message(message)
    del content["timestamp"]
    content |= {"wamid": message.id, "sendTime": _iso(message.at_ms)}
    content |= {"from": "+" + message.person, "to": "+" + message.sender}
    return _ycloud_event(
        "whatsapp.inbound_message.received", message.id[-12:], message.at_ms, whatsappInboundMessage=content
    )


def _flat(receipts: Sequence[Receipt]) -> Any:
    (receipt,) = receipts
    own, message_id = receipt.ids
    return {
        "event": "message_status_update",
        "business_phone": receipt.sent.sender,
        "to": receipt.sent.to,
        "message_id": own,
        "message_status": receipt.status,
        "error": None if receipt.code is None else {"code": receipt.code, "title": receipt.title},
        "received_at": receipt.at_ms,
        **({"meta_message_id": message_id} if receipt.by_alias else {}),
    }


def _flat_inbound(message: Inbound) -> Any:
    return {
        "event": "message_received",
        "business_phone": message.sender,
        "from": message.person,
        "message_id": message.id,
        "type": "button" if message.payload else "text",
        "text": message.text,
        "payload": message.payload,
        "context_id": message.context_id,
        "received_at": message.at_ms,
    }


def _alibaba(receipts: Sequence[Receipt]) -> Any:
    return [_alibaba_status(receipt) for receipt in receipts]


def _alibaba_status(receipt: Receipt) -> dict[str, Any]:
    own, message_id = receipt.ids
    status: dict[str, Any] = {
        "MessageId": own,
        "To": receipt.sent.to,
        "From": receipt.sent.sender,
        "Status": receipt.status.capitalize(),
        "StatusDescription": receipt.title or receipt.status,
        "Timestamp": str(receipt.at_ms),
    }
    if receipt.by_alias:
        status["Wamid"] = message_id
    if receipt.code is not None:
        status |= {"Error": str(receipt.code), "ErrorDescription": receipt.title}
    return status


def _alibaba_inbound(message: Inbound) -> Any:
    content: dict[str, Any] = {"Type": "TEXT", "Message": message.text}
    if message.payload:
        tap = json.dumps({"text": message.text, "payload": message.payload})
        content = {"Type": "BUTTON", "Message": tap}
    if message.context_id:
        content["ContextMessageId"] = message.context_id
    names = {"MessageId": message.id, "From": message.person, "To": message.sender}
    return [{**names, **content, "Timestamp": message.at_ms, "Name": "A Person"}]


def _engagelab(receipts: Sequence[Receipt]) -> Any:
    rows = [_engagelab_row(receipt) for receipt in receipts]
    return {"total": len(rows), "rows": rows}


def _engagelab_row(receipt: Receipt) -> dict[str, Any]:
    own, message_id = receipt.ids
    at = receipt.at_ms // 1000
    data = {"msg_time": at} | ({"channel_message_id": message_id} if receipt.by_alias else {})
    status = {
        "message_status": "sent_failed" if receipt.status == "failed" else receipt.status,
        "status_data": data,
        "error_code": receipt.code or 0,
        "error_detail": {"message": receipt.title},
    }
    row = _engagelab_names(own, receipt.sent.sender, receipt.sent.to, at)
    return row | {"custom_args": {}, "status": status}


def _engagelab_names(id: str, source: str, target: str, at: int) -> dict[str, Any]:
    names = {"message_id": id, "from": "+" + source, "to": "+" + target}
    return names | {"server": "whatsapp", "channel": "whatsapp", "itime": at}


def _engagelab_inbound(message: Inbound) -> Any:
    response: dict[str, Any] = {"event": "received", "text": {"body": message.text}}
    if message.payload:
        response = {"event": "received", "button": {"text": message.text, "payload": message.payload}}
    row = _engagelab_names(message.id, message.person, message.sender, message.at_ms // 1000)
    if message.context_id:
        row["context"] = {"id": message.context_id}
    return {"total": 1, "rows": [row | {"response": response}]}


def _gupshup_event(type: str, at_ms: int, payload: dict[str, Any]) -> dict[str, Any]:
    return {"app": "Simulated", "timestamp": at_ms, "version": 2, "type": type, "payload": payload}


def _gupshup(receipts: Sequence[Receipt]) -> Any:
    (receipt,) = receipts
    # Here the id of the answer to the send is the second one: ``id`` is WhatsApp's.
    own, message_id = receipt.ids
    detail: dict[str, Any] = {"ts": receipt.at_ms // 1000}
    if receipt.code is not None:
        detail = {"code": receipt.code, "reason": receipt.title}
    payload = {"id": own, "gsId": message_id, "type": receipt.status, "destination": receipt.sent.to}
    return _gupshup_event("message-event", receipt.at_ms, payload | {"payload": detail})


def _gupshup_inbound(message: Inbound) -> Any:
    type, content = "text", {"text": message.text}
    if message.payload:
        type, content = "button_reply", {"title": message.text, "id": message.payload}
    payload: dict[str, Any] = {"id": message.id, "source": message.person, "type": type, "payload": content}
    payload["sender"] = {"phone": message.person, "name": "A Person"}
    if message.context_id:
        payload["context"] = {"id": message.context_id, "gsId": message.context_id}
    return _gupshup_event("message", message.at_ms, payload)


#: UCloud knows no reading.
_UCLOUD_WORDS = {"sent": "Sent", "delivered": "Success", "read": "Read", "failed": "Fail"}


def _ucloud(receipts: Sequence[Receipt]) -> Any:
    data = []
    for receipt in receipts:
        own, message_id = receipt.ids
        data.append(
            {
                "SessionNo": own,
                "Phone": "+" + receipt.sent.to,
                "CostCount": 1,
                "ReceiptTime": receipt.at_ms // 1000,
                "ReceiptResult": _UCLOUD_WORDS[receipt.status],
                "ReceiptCode": "" if receipt.code is None else f"(#{receipt.code})",
                "ReceiptDesc": receipt.title,
                "UserId": "",
                **({"MessageId": message_id} if receipt.by_alias else {}),
            }
        )
    return {"MsgType": 2, "Data": data}


def _ucloud_inbound(message: Inbound) -> Any:
    names = {"SessionNo": message.id, "Phone": "+" + message.person, "ExtCode": message.sender}
    return {
        "MsgType": 0,
        "Data": [{**names, "ReplyContent": message.text, "ReplyTime": message.at_ms // 1000}],
    }


def _byteplus(receipts: Sequence[Receipt]) -> Any:
    words = {"sent": "submit", "failed": "rejected"}
    return [
        {
            "account": "simulated",
            "mobile": receipt.sent.to,
            "message_id": receipt.sent.message_id,
            "recv_time": receipt.at_ms,
            "status": words.get(receipt.status, receipt.status),
            "status_code": "" if receipt.code is None else str(receipt.code),
            "description": receipt.title,
            "ext": "",
            "iso_code": "",
        }
        for receipt in receipts
    ]


SHAPES: Mapping[str, Shape] = {
    "meta": Shape(_meta, _meta_inbound),
    "ycloud": Shape(_ycloud, _ycloud_inbound, batches=False),
    "flat": Shape(_flat, _flat_inbound, batches=False),
    "alibaba": Shape(_alibaba, _alibaba_inbound),
    "engagelab": Shape(_engagelab, _engagelab_inbound),
    "nxcloud": Shape(_nxcloud, _nxcloud_inbound),
    "gupshup": Shape(_gupshup, _gupshup_inbound, batches=False),
    "ucloud": Shape(_ucloud, _ucloud_inbound),
    "byteplus": Shape(_byteplus, _meta_inbound),
}


# -- notices, in Meta's shape ---------------------------------------------------------------------------------------


def meta_change(field: str, value: Mapping[str, Any], at_ms: int) -> Any:
    """The body of one of Meta's changes that is no message, such as ``message_template_status_update``."""
    return _meta_body([{"field": field, "value": dict(value)}], time=at_ms // 1000)
