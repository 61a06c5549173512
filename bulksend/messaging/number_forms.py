"""The forms of one person's number, in countries that changed their numbers and left both forms in use.

A person who opts out under one form must not be reached under another, so duplicates, suppressions, the pair rate, the
quota and every search by number use ``canonical_number``. A message is sent to the form that was given.
"""

from __future__ import annotations

import re

#: By the first two digits: the pattern of a number, its newer and its older form.
_RULES = {
    "55": (re.compile(r"55(\d\d)9?([6-9]\d{7})", re.ASCII), r"55\g<1>9\2", r"55\1\2"),
    "54": (re.compile(r"549?([1-8]\d{9})", re.ASCII), r"549\1", r"54\1"),
    "52": (re.compile(r"521?(\d{10})", re.ASCII), r"52\1", r"521\1"),
    "97": (re.compile(r"97[02](5[69]\d{7})", re.ASCII), r"970\1", r"972\1"),
}


def canonical_number(number: str) -> str:
    """The form that stands for all forms of a person's number. All are E.164 digits without ``+``.

    - Brazil put a 9 in front of its mobiles of eight digits, which began with 6 to 9, from 2012 to 2016 (Anatel,
      resolution 553/2010). WhatsApp keeps older accounts under the eight digits. Fixed lines begin with 2 to 5 and
      are left as they are; so is a mobile whose nine digits go on with 2 to 5: without its 9 it is a fixed line.
    - Argentina writes a 9 after the country code of mobiles when they are called from abroad, a 15 after the area
      code at home, and neither in WhatsApp's older accounts (ITU-T E.164, communication of 2012). A block of numbers
      belongs to mobiles or to fixed lines, never to both. libphonenumber reads the 15.
    - Mexico had a 1 after the country code of mobiles until August 2019 (IFT, plan of 2018); WhatsApp keeps it.
    - Mobiles of Jawwal (59) and Ooredoo (56) answer to Palestine's code 970 and to Israel's 972, whose plan leaves
      both ranges to them.

    Omitted, because only one form is in use or can be parsed: Ivory Coast (2021), Benin (2024), Colombia's fixed lines
    (2021), Vietnam (2018): libphonenumber refuses the older lengths. Italy's 0 is part of the number: with and
    without it are two lines.
    """
    return number_forms(number)[0] if number[:2] in _RULES else number


def number_forms(number: str) -> tuple[str, ...]:
    """Every form of a person's number, ``canonical_number`` first. The ledger may have any of them."""
    rule = _RULES.get(number[:2])
    if rule is not None:
        pattern, newer, older = rule
        if found := pattern.fullmatch(number):
            return found.expand(newer), found.expand(older)
    return (number,)


def is_same_person(one: str, other: str) -> bool:
    """Whether two numbers are forms of one person's number."""
    return one == other or canonical_number(one) == canonical_number(other)
