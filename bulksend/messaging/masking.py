"""Mask phone numbers outside the ledger: ``4477*****264``."""

from __future__ import annotations

import re

from bulksend.messaging.sentences import Sentence

#: A UUID, with or without dashes, is no number: each seventh has seven digits in a row. Its end has a letter, so that
#: ``20261201-0900-0001-0002-447700900123`` is none.
_UUID = r"(?<![0-9A-Za-z])[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}(?=[0-9]{0,11}[a-fA-F])[0-9a-fA-F]{12}(?![0-9A-Za-z])"
_DIGITS = re.compile(rf"{_UUID}|(\d{{7,}})")


def mask_phone(phone: str) -> str:
    """Keep the first four and last three digits; shorter numbers keep only their last three."""
    if len(phone) < 10:
        return "*" * max(0, len(phone) - 3) + phone[-3:] if len(phone) > 3 else "*" * len(phone)
    return phone[:4] + "*" * (len(phone) - 7) + phone[-3:]


def mask_digits(text: str) -> str:
    """Mask every run of seven digits or more in free text, such as a vendor's error message, but of a UUID.

    A sentence stays one.
    """
    if isinstance(text, Sentence):
        return text.changed(mask_digits)
    return _DIGITS.sub(lambda found: mask_phone(found[1]) if found[1] else found[0], text)


def mask_key(key: str, phone: str) -> str:
    """Mask the number in the key of a message to ``phone``, in any notation: +44 7700 900123, order-7700900123."""
    digits = "".join(c for c in key if c.isdecimal())
    return mask_phone(digits) if phone[-7:] in digits else mask_digits(key)
