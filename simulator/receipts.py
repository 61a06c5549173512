"""Which status callbacks follow a message, and their JSON. Pure: times and dice are arguments.

The vendor documents no payload (docs/vendor.md#receipts), so three are imitated: Meta's, YCloud's and a flat one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

from simulator.latency import draw
from simulator.settings import ReceiptSettings


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


@dataclass(frozen=True, slots=True)
class ScheduledReceipt:
    """A receipt, and how many seconds after the acceptance it is POSTed."""

    seconds: float
    receipt: Receipt


def plan_receipts(sent: Sent, settings: ReceiptSettings, dice: Random) -> list[ScheduledReceipt]:
    """All receipts of one message, by the time of their POST."""
    statuses = _statuses(sent, settings, dice)
    if dice.random() < settings.out_of_order_share:
        # Only the POSTs are reversed: each status keeps the time at which it happened.
        instants = sorted(due.seconds for due in statuses)
        statuses = [
            ScheduledReceipt(when, due.receipt)
            for when, due in zip(instants, reversed(statuses), strict=True)
        ]
    twice = [due for due in statuses if dice.random() < settings.duplicate_share]
    return sorted(statuses + twice, key=lambda due: due.seconds)


def _statuses(sent: Sent, settings: ReceiptSettings, dice: Random) -> list[ScheduledReceipt]:
    """sent, then failed; or sent, maybe delivered, maybe read; none before the previous one."""
    sent_after = draw(settings.sent, dice)
    statuses = [_due(sent, "sent", sent_after)]
    later = max(sent_after, draw(settings.delivered, dice))
    if dice.random() < settings.failed_share:
        statuses.append(_due(sent, "failed", later, settings.failed_code, settings.failed_title))
        return statuses
    if dice.random() >= settings.delivered_share:
        return statuses
    statuses.append(_due(sent, "delivered", later))
    if dice.random() < settings.read_share:
        statuses.append(_due(sent, "read", max(later, draw(settings.read, dice))))
    return statuses


def _due(
    sent: Sent, status: str, seconds: float, code: int | None = None, title: str = ""
) -> ScheduledReceipt:
    return ScheduledReceipt(seconds, Receipt(sent, status, int(sent.at_ms + seconds * 1000), code, title))


def as_json(receipt: Receipt, shape: str) -> dict[str, Any]:
    """The body of the POST."""
    match shape:
        case "meta":
            return _meta(receipt)
        case "ycloud":
            return _ycloud(receipt)
        case _:
            return _flat(receipt)


def _meta(receipt: Receipt) -> dict[str, Any]:
    status: dict[str, Any] = {
        "id": receipt.sent.message_id,
        "status": receipt.status,
        "timestamp": str(receipt.at_ms // 1000),
        "recipient_id": receipt.sent.to,
    }
    if receipt.code is not None:
        status["errors"] = [
            {
                "code": receipt.code,
                "title": receipt.title,
                "message": receipt.title,
                "error_data": {"details": receipt.title},
            }
        ]
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": receipt.sent.sender, "phone_number_id": "0"},
        "statuses": [status],
    }
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": "0", "changes": [{"value": value, "field": "messages"}]}],
    }


def _ycloud(receipt: Receipt) -> dict[str, Any]:
    created_at = (
        datetime.fromtimestamp(receipt.at_ms / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
    message: dict[str, Any] = {
        "id": receipt.sent.message_id,
        "wamid": receipt.sent.message_id,
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
    return {
        "id": f"evt_{receipt.sent.message_id[-12:]}_{receipt.status}",
        "type": "whatsapp.message.updated",
        "apiVersion": "v2",
        "createTime": created_at,
        "whatsappMessage": message,
    }


def _flat(receipt: Receipt) -> dict[str, Any]:
    return {
        "event": "message_status_update",
        "business_phone": receipt.sent.sender,
        "to": receipt.sent.to,
        "message_id": receipt.sent.message_id,
        "message_status": receipt.status,
        "error": None if receipt.code is None else {"code": receipt.code, "title": receipt.title},
        "received_at": receipt.at_ms,
    }
