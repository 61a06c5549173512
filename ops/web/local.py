"""Addresses that a form or a link brings."""

from __future__ import annotations

import re

_LOCAL = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,1000}")


def local_path(wanted: str) -> str:
    """The path where it is one of this address, else ``/``: no link of ours leads elsewhere."""
    return wanted if _LOCAL.fullmatch(wanted) else "/"
