"""Each request has an id: its ``X-Request-Id``, or a new one. Logs and problems name it, and the answer returns it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bulksend.ledger.ids import new_id

HEADER = b"x-request-id"
#: What is accepted of a caller: short, and safe in a log line and a header.
_SAFE = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id of a request with these headers."""
    for name, value in headers:
        if name == HEADER:
            return value.decode("ascii") if _SAFE.fullmatch(value) else new_id()
    return new_id()
