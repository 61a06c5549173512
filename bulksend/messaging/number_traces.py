"""Traces of a person's number in a text or in bytes, in any notation, to erase them and to prove that none is left."""

from __future__ import annotations

import re
from base64 import b64encode

from bulksend.messaging.masking import mask_phone
from bulksend.messaging.number_forms import number_forms

#: What people write between the digits of a number; a NUL stands there in UTF-16.
_BETWEEN = r"[\s()./\-\x00]{0,4}"
#: The last digits of a number are its own; those before them may be written 0, 00 44, +44 or not at all.
_OWN_DIGITS = 9
#: Of a number's text in base64 the first and the last characters depend on what stands beside it.
_OFFSETS = (0, 1, 2)


class NumberTraces:
    """Finds every form of a person's number.

    Also inside base64, as WhatsApp's own ids of messages (``wamid.…``) have the recipient's number in them.
    """

    def __init__(self, number: str) -> None:
        self.forms = number_forms(number)
        tails = sorted({form[-_OWN_DIGITS:] for form in self.forms})
        self._encoded = sorted({part for form in self.forms for part in _in_base64(form)})
        #: For SQL: every text with a trace matches one of these LIKE patterns, and some others do.
        self.like = tuple(f"%{'%'.join(tail)}%" for tail in tails) + tuple(f"%{p}%" for p in self._encoded)
        #: For SQL: bytes in which the number stands as digits, or in base64, contain one of these.
        self.parts = tuple(part.encode() for part in (*tails, *self._encoded))
        own = [_BETWEEN.join(tail) for tail in tails]
        whole = [_written(form) for form in self.forms]
        # No digit before or after: a longer number is another one.
        pattern = rf"(?:(?<!\d)\+?(?:{'|'.join(whole)})|\+?\d{{0,6}}(?:{'|'.join(own)}))(?!\d)"
        self._text = re.compile(f"{pattern}|{'|'.join(self._encoded)}", re.ASCII)
        self._bytes = re.compile(self._text.pattern.encode(), re.ASCII)
        self._masked = mask_phone(self.forms[0])

    def in_text(self, text: str) -> bool:
        """Whether the text has a trace."""
        return self._text.search(text) is not None

    def in_bytes(self, data: bytes) -> bool:
        """Whether the bytes have a trace. Any buffer will do."""
        return self._bytes.search(data) is not None

    def masked(self, text: str) -> str:
        """The text with the masked number in place of each trace."""
        return self._text.sub(self._masked, text)


def _written(form: str) -> str:
    return _BETWEEN.join(form)


def _in_base64(form: str) -> list[str]:
    """The characters that a number's text always has in base64, for each place at which it may begin."""
    found = []
    for offset in _OFFSETS:
        encoded = b64encode(b"\0" * offset + form.encode()).decode().rstrip("=")
        whole = (offset + len(form)) * 8 // 6
        first = -(-offset * 8 // 6)
        found.append(encoded[first:whole])
    return found
