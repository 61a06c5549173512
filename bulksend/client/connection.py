"""Where the API is, and how a call becomes an HTTP request."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from bulksend import __version__
from bulksend.client.calls import Call


@dataclass(frozen=True, slots=True)
class Address:
    """The API's address and a key. Raises ValueError when one is missing or the address is none."""

    url: str
    key: str

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                "the address of the API is missing; set BULKSEND_URL, e.g. http://127.0.0.1:8080"
            )
        if not self.key.startswith("bsk_"):
            raise ValueError(
                "the key of the API is missing; set BULKSEND_API_KEY; `bulksend keys add` makes one"
            )

    @classmethod
    def from_env(cls) -> Address:
        """From BULKSEND_URL and BULKSEND_API_KEY. Raises ValueError."""
        return cls(os.environ.get("BULKSEND_URL", "").rstrip("/"), os.environ.get("BULKSEND_API_KEY", ""))

    @property
    def headers(self) -> dict[str, str]:
        """Of every request."""
        return {"Authorization": f"Bearer {self.key}", "User-Agent": f"bulksend-client/{__version__}"}


def request_of(made: Call[Any], files: ExitStack, timeout_s: float) -> dict[str, Any]:
    """The arguments of httpx for one try; ``files`` closes what it opens. Raises OSError for a missing file."""
    made_of: dict[str, Any] = {
        "method": made.method,
        "url": made.path,
        "params": dict(made.params),
        "headers": {} if made.key is None else {"Idempotency-Key": made.key},
        "timeout": timeout_s + made.waits_s,
    }
    if made.file is not None:
        opened = files.enter_context(made.file.open("rb"))
        options = (None, json.dumps(made.body), "application/json")
        made_of["files"] = {"campaign": options, "file": (made.file.name, opened)}
    elif made.body is not None:
        made_of["json"] = made.body
    return made_of
