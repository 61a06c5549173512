"""Signatures of webhooks by Standard Webhooks 1.0.0: ``v1,`` and the base64 of HMAC-SHA256 of ``id.timestamp.body``."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence

PREFIX = "whsec_"
SECRET_BYTES = 32


def secret_text(random: bytes) -> str:
    """The secret of these random bytes, as its receiver stores it."""
    return PREFIX + base64.b64encode(random).decode()


def signature(secret: str, id: str, timestamp: int, body: bytes) -> str:
    """One signature. ``timestamp`` is in seconds since the epoch."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = b"%s.%d.%s" % (id.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def headers(secrets: Sequence[str], id: str, timestamp: int, body: bytes) -> Mapping[str, str]:
    """The three headers. During a rotation each of the secrets signs; a receiver accepts any one."""
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signature(secret, id, timestamp, body) for secret in secrets),
    }
