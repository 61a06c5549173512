"""Turns an order into the body and headers of one POST (docs/vendor.md#request). Pure but for ``new_nonce``."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from bulksend import __version__
from bulksend.errors import InvalidValue
from bulksend.gateway.signature import canonical, sign
from bulksend.messaging.json_encoding import encode_json_string, make_json_encoder
from bulksend.messaging.masking import mask_phone
from bulksend.messaging.states import Kind, MessageType

_compact = make_json_encoder(separators=(",", ":"))
USER_AGENT = f"bulksend/{__version__}"


@dataclass(frozen=True, slots=True, repr=False)
class SendOrder:
    """One message in the vendor's form: numbers are digits without ``+``, ``content`` is JSON text."""

    sender: str
    to: str
    type: MessageType
    content: str
    kind: Kind = Kind.OTP
    """Not sent to the vendor. The default is the kind whose answers are read most strictly."""

    def __repr__(self) -> str:
        return (
            f"SendOrder(sender={mask_phone(self.sender)!r}, to={mask_phone(self.to)!r}, "
            f"type={str(self.type)!r}, content=<{len(self.content)} characters>)"
        )


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """The vendor's account. Raises InvalidValue for a value that the vendor can never accept.

    ``action`` is ``SendMessage`` (the vendor's documentation) or ``SendWhatsappMessage`` (its SDKs). ``account_id`` may
    be None: the SDKs send none.
    """

    access_key_id: str
    access_key_secret: str
    account_id: int | None = None
    action: str = "SendMessage"
    extra: str = ""
    """A flat JSON object that is merged into each request; empty for none."""

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


#: Nonces made in advance: a system call for each one would let other threads run. A child process makes its own.
_NONCES: list[str] = []
_NONCE_BYTES, _NONCES_AT_ONCE = 10, 500
os.register_at_fork(after_in_child=_NONCES.clear)


def new_nonce() -> str:
    """20 random characters; the vendor's SDKs send 10 to 36 (docs/vendor.md#request)."""
    while True:
        try:
            return _NONCES.pop()
        except IndexError:
            made = os.urandom(_NONCE_BYTES * _NONCES_AT_ONCE).hex()
            length = 2 * _NONCE_BYTES
            _NONCES.extend(made[at : at + length] for at in range(0, len(made), length))


def build_request(
    order: SendOrder, credentials: Credentials, *, now_seconds: int, nonce: str
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a SendMessage POST.

    Call it again for each attempt: the vendor refuses a timestamp more than five minutes off, and may refuse a nonce
    that it has seen. Raises UnicodeEncodeError for text with lone surrogates.
    """
    body, signature = _form(credentials, order.sender, order.type).filled(order.to, order.content)
    return body, _headers(credentials, signature, now_seconds, nonce)


#: Placeholders for what differs from message to message. They are random, so no other text equals them.
_TO, _CONTENT = (f"<{what} {os.urandom(8).hex()}>" for what in ("to", "content"))


class _Form:
    """The parts of a SendMessage that all messages of one sender and type share, encoded and hashed once."""

    def __init__(self, credentials: Credentials, sender: str, type: MessageType) -> None:
        fields = {"BusinessPhone": sender, "To": _TO, "Type": str(type), "Content": _CONTENT}
        body = _body_of(credentials.action, fields, credentials)
        before, rest = _compact(body).split(f'"{_TO}"')
        middle, after = rest.split(f'"{_CONTENT}"')
        self._written = before, middle, after
        before, rest = canonical(body).split(_CONTENT)
        middle, after = rest.split(_TO)
        self._signed = middle, after + credentials.access_key_secret
        self._hash = hashlib.sha1(before.encode(), usedforsecurity=False)

    def filled(self, to: str, content: str) -> tuple[bytes, str]:
        """The body and its signature. Raises UnicodeEncodeError for text with lone surrogates."""
        before, middle, after = self._written
        body = f"{before}{encode_json_string(to)}{middle}{encode_json_string(content)}{after}"
        middle, after = self._signed
        hashed = self._hash.copy()
        hashed.update(f"{content}{middle}{to}{after}".encode())
        return body.encode(), hashed.hexdigest()


_form = lru_cache(maxsize=1000)(_Form)


def build_call(
    action: str, fields: Mapping[str, object], credentials: Credentials, *, now_seconds: int, nonce: str
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of any action. Raises ValueError for fields that cannot be signed, such as null."""
    body = _body_of(action, fields, credentials)
    signature = sign(body, credentials.access_key_secret)
    return _compact(body).encode(), _headers(credentials, signature, now_seconds, nonce)


def _body_of(action: str, fields: Mapping[str, object], credentials: Credentials) -> dict[str, object]:
    body: dict[str, object] = {"Action": action}
    if credentials.account_id is not None:
        body["AccountId"] = credentials.account_id
    if credentials.extra:
        body.update(json.loads(credentials.extra))
    body.update(fields)
    return body


def _headers(credentials: Credentials, signature: str, now_seconds: int, nonce: str) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "X-Access-Key-Id": credentials.access_key_id,
        "X-Signature": signature,
        "X-Timestamp": str(now_seconds),
        "X-Nonce": nonce,
    }


def _fits_a_header(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text
