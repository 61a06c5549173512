"""Lone surrogates in text. Python writes them for bytes of arguments and file names that are not UTF-8."""

from __future__ import annotations

import re

_HALVES = re.compile("[\ud800-\udfff]")


def replace_surrogates(text: str) -> str:
    """The text with U+FFFD for each lone surrogate, so that UTF-8, JSON and every database can hold it."""
    return text if text.isascii() else _HALVES.sub("\ufffd", text)
