"""What the marks between a number's digits say: that it is a national number, or that it is more than one number.

Digits are the same in ``(478) 555-0142`` and ``+47 85 55 01 42``, but only the second one is Norwegian. The marks
tell: a country code stands by itself in front, ``44 7700 900123``. Bare digits have no marks and are not judged here.
"""

from __future__ import annotations

import re

from bulksend.messaging.numbering_plan import is_grouped_as_national, is_national_mobile, leading_country_code

#: An area code and its trunk prefix have at most this many digits.
_AREA = 6
#: What stands behind an area code has at least this many digits; fewer are a second ending or an extension.
_SUBSCRIBER = 5
#: National numbers are shorter than this, but for a few countries' mobiles.
_LONGER_THAN_NATIONAL = 12
#: A whole number, then the last digits of another one: ``23125000-01``, ``23125000 01``.
_ENDING = re.compile(r"(?:\d{6}\s*[-‐-―−]\s*|\d{7}[\s.]+)\d{1,2}\D*$")
_BETWEEN = re.compile(
    r"\d\D*(?:[;,|&\\\n\r\t\v\f\x1c-\x1e\x85\u2028\u2029]|\b(?:or|and|oder|und|ou|et|o|y|e)\b)\D*\d",
    re.IGNORECASE,
)
_RUN = re.compile(r"\d+", re.ASCII)


def has_several_numbers(text: str) -> bool:
    """Whether ``text`` holds a second number, or a second ending of its number: ``030 23125000/01``."""
    return (
        has_second_ending(text)
        or _BETWEEN.search(text) is not None
        or any(not _is_area(text[:at], text[at:]) for at, mark in enumerate(text) if mark == "/")
    )


def has_second_ending(text: str) -> bool:
    """As ``has_several_numbers``, for text that has no other marks than blanks, dashes and brackets."""
    return (not text[-3:].isdigit() and _ENDING.search(text) is not None) or (
        "(" in text and any(not _is_followed(text, at) for at, mark in enumerate(text) if mark == "(")
    )


def is_written_nationally(text: str) -> bool:
    """Whether ``text``, which has no ``+`` or ``00`` in front, is written as a national number or may be one."""
    runs = _RUN.findall(text)
    if len(runs) < 2:
        return False
    digits = "".join(runs)
    if digits[0] == "0" or (text[0] == "(" and _count(text.partition(")")[2])):
        return True
    code = leading_country_code(digits)
    if code is None:
        return False
    if runs[0] == code:
        return is_grouped_as_national(digits, runs)
    return len(runs[0]) < len(code) or len(digits) < _LONGER_THAN_NATIONAL or is_national_mobile(digits)


def _is_area(front: str, rest: str) -> bool:
    """Whether a slash between the two stands behind an area code."""
    ahead, behind = _count(front), _count(rest)
    if not ahead or not behind:
        return True
    digits = "".join(_RUN.findall(front))
    if "+" in front or digits.startswith("00"):
        digits = digits.removeprefix("00")
        ahead = len(digits) - len(leading_country_code(digits) or "")
    return ahead <= _AREA and behind >= _SUBSCRIBER


def _is_followed(text: str, at: int) -> bool:
    """Whether the bracket that opens at ``at`` is in front of a number, or has no digits."""
    inside, _, behind = text[at:].partition(")")
    return not _count(text[:at]) or not _count(inside) or _count(behind) >= _SUBSCRIBER


def _count(text: str) -> int:
    return sum(map(len, _RUN.findall(text)))
