"""Walks through the body of a callback and reads each part by its shape.

The vendor documents no payload (docs/vendor.md#receipts), so the parts are told by what they hold, in any wrapper: an
id with a status is a receipt, a text with the number of a person is an inbound message. A part that cannot be read does
not concern its neighbours.
"""

from __future__ import annotations

import re

from bulksend.gateway.receipts.inbound import inbound_of
from bulksend.gateway.receipts.notices import change_notices, event_notice, is_notice, notice_of
from bulksend.gateway.receipts.status import UNDECIDED, Envelope, find_status, ids_in, receipt_of
from bulksend.gateway.receipts.types import OtherNotice, Parsed, Unreadable
from bulksend.gateway.receipts.values import Fields, NotJson, digits_of, first_instant, read_json, read_text

#: Parts of one body: 3 MB hold fewer receipts than that.
MAX_PARTS = 150_000
#: How many parts that cannot be read are told one by one.
MAX_UNREADABLE = 100
_MAX_DEPTH = 40

#: Names of fields that hold parts.
_WRAPPERS = frozenset(
    [
        "data",
        "rows",
        "statuses",
        "messages",
        "entry",
        "changes",
        "value",
        "whatsappmessage",
        "whatsappinboundmessage",
        "whatsapptemplate",
        "whatsappphonenumber",
        "whatsappbusinessaccount",
        "payload",
        "items",
        "results",
        "list",
        "records",
        "events",
        "body",
        "message",
    ]
)
#: Of these, the ones that may hold JSON as text.
_TEXT_WRAPPERS = frozenset({"data", "rows", "statuses", "body"})
_ENVELOPE_AT = ("timestamp", "createtime", "time")
_TYPE_NAMES = ("type", "eventtype", "event")
#: Types of callbacks about something else than a status: ``whatsapp.…`` of YCloud, ``…-event`` of Gupshup.
_EVENT_TYPE = re.compile(
    r"(whatsapp|contact|sms|email|voice|unsubscribe|flow)\.[a-z_.]{2,60}|[a-z-]{2,60}-event"
)
_PLAIN_KEY = re.compile(r"[a-z_]{1,30}")


def parse(body: bytes) -> Parsed:
    """Everything that the body of one callback says. Never raises for anything that a vendor may send."""
    reader = _Reader()
    try:
        document = read_json(body)
    except NotJson as error:
        reader.cannot_read(str(error))
    else:
        reader.read(document, Envelope(), _MAX_DEPTH)
    return reader.parsed


class _Reader:
    """Collects the parts of one body."""

    def __init__(self) -> None:
        self.parsed = Parsed([], [], [], [])
        self._parts = 0

    def read(self, node: object, envelope: Envelope, depth: int) -> None:
        """Read a node and all that it holds."""
        if isinstance(node, dict):
            self._parts += 1
            if self._parts > MAX_PARTS or depth <= 0:
                self.cannot_read("it has too many parts" if depth > 0 else "it is nested too deep")
            else:
                self._read_object(node, envelope, depth)
        elif isinstance(node, list):
            for each in node:
                if self._parts > MAX_PARTS:
                    break
                self.read(each, envelope, depth - 1)
        elif isinstance(node, str) and node[:1] in ("{", "["):
            self._read_text(node, envelope, depth)
        else:
            self._parts += 1
            self.cannot_read("it is no object")

    def _read_text(self, text: str, envelope: Envelope, depth: int) -> None:
        """JSON in a string."""
        try:
            inner = read_text(text)
        except NotJson as error:
            self.cannot_read(str(error))
        else:
            self.read(inner, envelope, depth - 1)

    def _read_object(self, node: Fields, envelope: Envelope, depth: int) -> None:
        field, value = node.get("field"), node.get("value")
        if (
            isinstance(field, str)
            and isinstance(value, dict)
            and field != "messages"
            and "statuses" not in value
        ):
            self.parsed.notices.extend(change_notices(field, value, envelope))
            return
        inner = [each for name, each in node.items() if name in _WRAPPERS and _may_hold_parts(name, each)]
        if not inner:
            if not self._read_part(node, envelope):
                self.cannot_read("" if self._is_full else _unknown(node))
            return
        found, unreadable = self._found(), len(self.parsed.unreadable)
        around = _around(node, envelope)
        for each in inner:
            self.read(each, around, depth - 1)
        if self._found() == found and self._read_part(node, envelope):
            # What looked like a wrapper was a detail of the part itself.
            del self.parsed.unreadable[unreadable:]

    def _read_part(self, node: Fields, envelope: Envelope) -> bool:
        """Read an object as a receipt, a message or a notice; returns whether it is one."""
        parsed = self.parsed
        if is_notice(node):
            parsed.notices.append(notice_of(node, envelope))
            return True
        status = find_status(node)
        if status is not None and status != UNDECIDED:
            ids = ids_in(node)
            if ids:
                parsed.receipts.append(receipt_of(node, status, ids, envelope))
                return True
        message = inbound_of(node, envelope)
        if message is not None:
            parsed.inbound.append(message)
            return True
        if status == UNDECIDED:
            parsed.notices.append(OtherNotice("undecided"))
            return True
        kind = next((kind for name in _TYPE_NAMES if (kind := _event_type(node.get(name)))), None)
        if kind is not None:
            parsed.notices.append(event_notice(kind, node, envelope))
        return kind is not None

    @property
    def _is_full(self) -> bool:
        return len(self.parsed.unreadable) >= MAX_UNREADABLE

    def _found(self) -> int:
        return len(self.parsed.receipts) + len(self.parsed.inbound) + len(self.parsed.notices)

    def cannot_read(self, why: str) -> None:
        unreadable = self.parsed.unreadable
        if len(unreadable) < MAX_UNREADABLE:
            unreadable.append(Unreadable(max(1, self._parts), why))
        elif len(unreadable) == MAX_UNREADABLE:
            unreadable.append(Unreadable(self._parts, "this part and later ones cannot be read"))


def _may_hold_parts(name: str, value: object) -> bool:
    if isinstance(value, str):
        return name in _TEXT_WRAPPERS and value[:1] in ("{", "[")
    return isinstance(value, dict | list)


def _around(node: Fields, envelope: Envelope) -> Envelope:
    """The envelope of the parts in this object."""
    metadata = node.get("metadata")
    sender = (
        metadata.get("display_phone_number") if isinstance(metadata, dict) else node.get("business_phone")
    )
    at = first_instant(node, _ENVELOPE_AT)
    if sender is None and at is None:
        return envelope
    return Envelope(digits_of(sender) or envelope.sender, at or envelope.at)


def _event_type(value: object) -> str | None:
    if isinstance(value, str) and _EVENT_TYPE.fullmatch(value):
        return value
    return None


def _unknown(node: Fields) -> str:
    """What an object that cannot be read looks like, without its values and without names that may be private."""
    if (told := find_status(node)) is not None:
        return f"a receipt with the status {told} has no id"
    names = [name for name in list(node)[:40] if _PLAIN_KEY.fullmatch(name)][:12]
    status = next(
        (text for name in ("status", "message_status", "event", "type") if (text := _word(node.get(name)))),
        "",
    )
    return (
        "no receipt, message or notice is known with "
        + (f"the fields {', '.join(names)}" if names else "its fields")
        + (f" and the status {status}" if status else "")
    )


def _word(value: object) -> str:
    return value if isinstance(value, str) and _PLAIN_KEY.fullmatch(value.lower()) else ""
