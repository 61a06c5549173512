"""Mask phone numbers outside the ledger: ``4477*****264``."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"\d{7,}")


def mask_phone(phone: str) -> str:
    """Keep the first four and last three digits; shorter numbers keep only their last three."""
    if len(phone) < 10:
        return "*" * max(0, len(phone) - 3) + phone[-3:] if len(phone) > 3 else "*" * len(phone)
    return phone[:4] + "*" * (len(phone) - 7) + phone[-3:]


def mask_digits(text: str) -> str:
    """Mask every run of seven digits or more in free text, such as a vendor's error message."""
    return _DIGITS.sub(lambda found: mask_phone(found.group()), text)
