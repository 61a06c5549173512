"""From an order to the bytes and headers of one POST. Pure: the time and the nonce are handed in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from bulksend import __version__
from bulksend.gateway.signature import sign
from bulksend.messaging.errors import InvalidValue
from bulksend.messaging.json_text import json_writer
from bulksend.messaging.masking import mask_phone
from bulksend.messaging.states import MessageType

_compact = json_writer(separators=(",", ":"))
USER_AGENT = f"bulksend/{__version__}"


@dataclass(frozen=True, slots=True, repr=False)
class SendOrder:
    """One message as the vendor wants it: numbers are digits without ``+``, ``content`` is JSON text."""

    sender: str
    to: str
    type: MessageType
    content: str

    def __repr__(self) -> str:
        return (
            f"SendOrder(sender={mask_phone(self.sender)!r}, to={mask_phone(self.to)!r}, "
            f"type={str(self.type)!r}, content=<{len(self.content)} characters>)"
        )


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """The account that pays. Raises InvalidValue for a value that could never be accepted.

    ``action`` is ``SendMessage`` (the vendor's page) or ``SendWhatsappMessage`` (all of its SDKs); which of
    them a live account takes is not documented. ``account_id`` may be None: the SDKs send none.
    """

    access_key_id: str
    access_key_secret: str
    account_id: int | None = None
    action: str = "SendMessage"

    def __post_init__(self) -> None:
        if not _fits_a_header(self.access_key_id):
            raise InvalidValue("USPEEDO_ACCESSKEY_ID", "", "must be printable ASCII without spaces")
        if not self.access_key_secret or not self.access_key_secret.isprintable():
            raise InvalidValue(
                "USPEEDO_ACCESSKEY_SECRET", "", "must not be empty nor hold control characters"
            )
        if not self.action.isascii() or not self.action.isalnum():
            raise InvalidValue(
                "USPEEDO_ACTION", self.action[:40], "must be SendMessage or SendWhatsappMessage"
            )

    def __repr__(self) -> str:
        return f"Credentials(<hidden>, account_id={self.account_id}, action={self.action!r})"


def new_nonce() -> str:
    """20 random characters; the vendor's SDKs send 10 to 36 and name 32 as the longest (reference 1.1)."""
    return os.urandom(10).hex()


def build_request(
    order: SendOrder, credentials: Credentials, *, now_seconds: int, nonce: str
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a SendMessage POST.

    Call it anew for every attempt: the vendor refuses a timestamp more than five minutes off, and may
    refuse a nonce it has seen. Raises UnicodeEncodeError for text with lone surrogates.
    """
    fields = {
        "BusinessPhone": order.sender,
        "To": order.to,
        "Type": str(order.type),
        "Content": order.content,
    }
    return build_call(credentials.action, fields, credentials, now_seconds=now_seconds, nonce=nonce)


def build_call(
    action: str, fields: Mapping[str, object], credentials: Credentials, *, now_seconds: int, nonce: str
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of any action. Raises ValueError for fields that cannot be signed, such as null."""
    body: dict[str, object] = {"Action": action}
    if credentials.account_id is not None:
        body["AccountId"] = credentials.account_id
    body.update(fields)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "X-Access-Key-Id": credentials.access_key_id,
        "X-Signature": sign(body, credentials.access_key_secret),
        "X-Timestamp": str(now_seconds),
        "X-Nonce": nonce,
    }
    return _compact(body).encode(), headers


def _fits_a_header(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text
