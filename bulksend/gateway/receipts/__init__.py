"""Callbacks: what the vendor POSTs about messages, people, templates and senders. Pure. Import from here."""

from bulksend.gateway.receipts.errors import whatsapp_code_of
from bulksend.gateway.receipts.reading import parse
from bulksend.gateway.receipts.types import (
    AccountNotice,
    InboundMessage,
    Notice,
    OtherNotice,
    Parsed,
    ParsedReceipt,
    PreferenceNotice,
    SenderNotice,
    TemplateNotice,
    Unreadable,
)

__all__ = [
    "AccountNotice",
    "InboundMessage",
    "Notice",
    "OtherNotice",
    "Parsed",
    "ParsedReceipt",
    "PreferenceNotice",
    "SenderNotice",
    "TemplateNotice",
    "Unreadable",
    "parse",
    "whatsapp_code_of",
]
