"""The vendor's address and how its certificate is checked, for the transport and for the other calls."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal

import httpx

Verify = Literal[True] | str | Path
"""True for the usual certificate authorities, or a PEM file of authorities. Never off."""


def read_address(url: str) -> httpx.URL:
    """Raises ValueError for anything but ``http(s)://HOST[:PORT]/PATH``."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as wrong:
        raise ValueError(f"not a URL: {wrong}") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host or parsed.userinfo or parsed.fragment:
        raise ValueError("the vendor's address must be http(s)://HOST[:PORT]/PATH without user or fragment")
    return parsed


def tls_context(verify: Verify) -> ssl.SSLContext:
    """Raises OSError for a PEM file that cannot be read."""
    if verify is True:
        return httpx.create_ssl_context(verify=True, trust_env=False)
    return ssl.create_default_context(cafile=verify)
