"""Text that came in as bytes of another encoding: the system hands those over as halves of surrogate pairs."""

from __future__ import annotations

import re

_HALVES = re.compile("[\ud800-\udfff]")


def replace_surrogates(text: str) -> str:
    """The text with U+FFFD for each byte that was no UTF-8; UTF-8, JSON and every database can hold it."""
    return text if text.isascii() else _HALVES.sub("\ufffd", text)
