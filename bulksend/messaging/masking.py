"""Mask phone numbers outside the ledger: ``4477*****264``."""

from __future__ import annotations

import re

from bulksend.messaging.sentences import Sentence

_DIGITS = re.compile(r"\d{7,}")


def mask_phone(phone: str) -> str:
    """Keep the first four and last three digits; shorter numbers keep only their last three."""
    if len(phone) < 10:
        return "*" * max(0, len(phone) - 3) + phone[-3:] if len(phone) > 3 else "*" * len(phone)
    return phone[:4] + "*" * (len(phone) - 7) + phone[-3:]


def mask_digits(text: str) -> str:
    """Mask every run of seven digits or more in free text, such as a vendor's error message.

    A sentence stays one.
    """
    if isinstance(text, Sentence):
        return text.changed(mask_digits)
    return _DIGITS.sub(lambda found: mask_phone(found.group()), text)


def mask_key(key: str, phone: str) -> str:
    """Mask the number in the key of a message to ``phone``, in any notation: +44 7700 900123, order-7700900123."""
    digits = "".join(c for c in key if c.isdecimal())
    return mask_phone(digits) if phone[-7:] in digits else mask_digits(key)
