"""The groups of a number's digits show that it is a national number, or more than one number.

``(478) 555-0142`` and ``+47 85 55 01 42`` have the same digits, but only the second one is Norwegian: a country code is
a group of its own, ``44 7700 900123``. Digits without marks between them have no groups and are not judged here.
"""

from __future__ import annotations

import re

from bulksend.messaging.numbering_plan import is_grouped_as_national, is_national_mobile, leading_country_code

#: An area code and its trunk prefix have at most this many digits.
_AREA = 6
#: A subscriber number has at least this many digits; fewer are a second ending or an extension.
_SUBSCRIBER = 5
#: National numbers are shorter, except the mobiles of a few countries.
_LONGER_THAN_NATIONAL = 12
#: A whole number and the last digits of another one: ``23125000-01``, ``23125000 01``.
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
    """As ``has_several_numbers``, for text with no marks except blanks, dashes and brackets."""
    return (not text[-3:].isdigit() and _ENDING.search(text) is not None) or (
        "(" in text and any(not _is_followed(text, at) for at, mark in enumerate(text) if mark == "(")
    )


def is_written_nationally(text: str) -> bool:
    """Whether ``text``, which does not begin with ``+`` or ``00``, is or may be written as a national number."""
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
    """Whether a slash between the two follows an area code."""
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
