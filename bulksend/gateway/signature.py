"""The vendor's signature: lower-case hex SHA-1 over the body's canonical text and the secret.

The vendor's rule (docs/vendor.md#signature): plain SHA-1 and not HMAC, no separators, no URL encoding. Timestamp, nonce
and key id are not signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal

#: Deeper bodies are refused, so that none can exhaust the stack. SendMessage needs one level.
MAX_DEPTH = 64


def sign(body: Mapping[str, object], secret: str) -> str:
    """``hex(sha1(utf8(canonical(body) + secret)))``.

    Raises ValueError for a body that cannot be signed: null, NaN, infinity, lone surrogates (UnicodeEncodeError), a
    type that is not JSON, more than MAX_DEPTH levels.
    """
    text = canonical(body) + secret
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def canonical(value: object) -> str:
    """The text that is signed for a decoded JSON value. Raises ValueError as :func:`sign` does."""
    parts: list[str] = []
    _write(value, parts, MAX_DEPTH)
    return "".join(parts)


def _write(value: object, parts: list[str], depth: int) -> None:
    match value:
        case str():
            parts.append(value)
        case bool():  # before int: a bool is an int to Python
            parts.append("true" if value else "false")
        case int():
            parts.append(str(value))
        case float():
            parts.append(_float_text(value))
        # dict by name: a test for Mapping costs as much as all the rest.
        case dict() | Mapping() | list() | tuple() if depth == 0:
            raise ValueError(f"a body of more than {MAX_DEPTH} levels cannot be signed")
        case dict() | Mapping():
            # Order of code points is the order of UTF-8 bytes, which the vendor sorts by.
            for key in sorted(value):
                item = value[key]
                parts.append(key)
                if type(item) is str:  # most are: saves a call
                    parts.append(item)
                else:
                    _write(item, parts, depth - 1)
        case list() | tuple():
            for item in value:
                _write(item, parts, depth - 1)
        case None:
            # The vendor's own SDKs disagree on null (Go: nothing, Python: "None"), so it is never sent.
            raise ValueError("null cannot be signed; leave the field out")
        case _:
            raise ValueError(f"a {type(value).__name__} cannot be signed")


def _float_text(value: float) -> str:
    """The shortest digits without an exponent, as Go's ``FormatFloat(v, 'f', -1, 64)``; 42.0 is 42."""
    if value - value != 0:  # NaN and the infinities
        raise ValueError("NaN and infinity cannot be signed")
    return format(Decimal(repr(value)), "f").removesuffix(".0")
