"""Private values in an address: sealed for the session that put them there, so that Back, reload and pages work.

Only the browser has the session's token; the ledger has its hash. What stands in a history or a log opens nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12
#: The length of the sealed text tells nothing about a number.
_BLOCK = 64


def seal(text: str, session_token: str) -> str:
    """The text for the address."""
    data = text.encode()
    nonce = os.urandom(_NONCE)
    padded = data + b"\0" * (-len(data) % _BLOCK or _BLOCK)
    sealed = nonce + _cipher(session_token).encrypt(nonce, padded, None)
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def unseal(sealed: str, session_token: str) -> str | None:
    """The text; None where another session sealed it, or none did."""
    try:
        data = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
        padded = _cipher(session_token).decrypt(data[:_NONCE], data[_NONCE:], None)
        return padded.rstrip(b"\0").decode()
    except (InvalidTag, binascii.Error, ValueError):
        return None


def _cipher(session_token: str) -> AESGCM:
    return AESGCM(hmac.new(session_token.encode(), b"sealed", hashlib.sha256).digest())
