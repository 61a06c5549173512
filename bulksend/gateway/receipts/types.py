"""What a callback can say: receipts, inbound messages, notices about templates, senders, accounts and people."""

from __future__ import annotations

from typing import NamedTuple


class ParsedReceipt(NamedTuple):
    """One status of one message."""

    ids: tuple[str, ...]
    """Every id that may be the MessageId or RequestId of the message, the likeliest first."""
    status: str
    """sent, delivered, read or failed."""
    at: int | None
    """When, by the vendor's clock, in milliseconds; None where the callback does not say."""
    code: str = ""
    """The code of a failure: ``#131049`` where it is surely one of WhatsApp's, else as it was given."""
    whatsapp_code: int | None = None
    """The number of a code that is surely one of WhatsApp's."""
    why: str = ""
    """The vendor's words about a failure, with numbers masked."""
    sender: str = ""
    recipient: str = ""


class InboundMessage(NamedTuple):
    """A message or a tap on a button from a person."""

    id: str
    sender: str
    """The business number that it was sent to, digits."""
    recipient: str
    """The person who wrote it, digits; empty where the callback names none."""
    type: str
    """text, button, image, …"""
    text: str
    """What was written, or the words of the button."""
    payload: str
    """What the button carries, as its template says."""
    context_ids: tuple[str, ...]
    """Every id that may be the MessageId of the message that it answers."""
    at: int | None


class TemplateNotice(NamedTuple):
    """A template changed. Fields that the callback does not name are empty."""

    name: str
    language: str
    status: str
    category: str
    quality: str
    reason: str
    at: int | None


class SenderNotice(NamedTuple):
    """A business number changed. Fields that the callback does not name are empty."""

    phone: str
    status: str
    quality: str
    tier: str
    name: str
    event: str
    """What the vendor calls the change."""
    at: int | None


class AccountNotice(NamedTuple):
    """The vendor says something about the account."""

    event: str
    phone: str
    """The business number that it concerns; empty: all of them."""
    tier: str
    detail: str
    at: int | None


class PreferenceNotice(NamedTuple):
    """A person stops or resumes marketing messages by a switch of WhatsApp."""

    recipient: str
    sender: str
    stops: bool
    at: int | None


class OtherNotice(NamedTuple):
    """A callback that is understood and changes nothing here."""

    kind: str


Notice = TemplateNotice | SenderNotice | AccountNotice | PreferenceNotice | OtherNotice


class Unreadable(NamedTuple):
    """A part of a callback that could not be read. ``n`` counts the parts from 1; ``why`` is not private."""

    n: int
    why: str


class Parsed(NamedTuple):
    """Everything that one body says."""

    receipts: list[ParsedReceipt]
    inbound: list[InboundMessage]
    notices: list[Notice]
    unreadable: list[Unreadable]
