"""Secrets as text: a prefix that says what it is, an id that may be shown, 32 random bytes, a checksum.

The prefix and the checksum let a scanner of code and logs recognise a leaked key, and a typing error be told from an
unknown key without a look into the ledger.
"""

from __future__ import annotations

import zlib

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY, _CHECK = 43, 6
#: Length of the random bytes, and of those that make the id.
SECRET_BYTES, ID_BYTES = 32, 6


def base62(data: bytes, length: int) -> str:
    """The bytes as a number in base 62, padded to ``length``."""
    number, digits = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 62)
        digits = _DIGITS[digit] + digits
    return digits.rjust(length, "0")


def compose(prefix: str, id: str, secret: bytes) -> str:
    """``<prefix>_<id>_<43 characters><6 characters of checksum>``."""
    body = f"{prefix}_{id}_{base62(secret, _BODY)}"
    return body + _checksum(body)


def id_of(text: str, prefix: str) -> str | None:
    """The id in a composed text; None where the text is not one, or has a typing error."""
    parts = text.split("_")
    if len(parts) != 3 or parts[0] != prefix or len(parts[2]) != _BODY + _CHECK or not text.isascii():
        return None
    return parts[1] if text[-_CHECK:] == _checksum(text[:-_CHECK]) else None


def _checksum(body: str) -> str:
    return base62(zlib.crc32(body.encode()).to_bytes(4, "big"), _CHECK)
