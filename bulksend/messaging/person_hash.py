"""The keyed hash that stands for a person once the number is erased: what was asked of us outlives the number."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import blake2b

from bulksend.messaging.number_forms import canonical_number

#: The first character of each hash: no number and no ``country:XX`` begins with it.
MARK = "#"


def person_hash(key: bytes, number: str) -> str:
    """23 characters, the same for every form of a person's number; without ``key`` (32 bytes) it tells no number."""
    digest = blake2b(canonical_number(number).encode(), key=key, digest_size=16).digest()
    return MARK + urlsafe_b64encode(digest).decode().rstrip("=")
