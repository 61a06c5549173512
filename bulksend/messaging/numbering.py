"""Which numbers need no libphonenumber: its own tables, asked beforehand, one country code at a time.

Parsing and judging a number takes libphonenumber about 125 us, and a file has millions. Most numbers are written
internationally, with a possible length, a first digit that cannot be a trunk prefix, and in no range that holds
service numbers; of those the answer is known to be "these digits, unchanged". Everything here only ever answers
"surely so" or "ask". ``test_recipient.py`` holds both ways against each other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import phonenumbers
from phonenumbers import PhoneMetadata

_CODES = frozenset(str(code) for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
_NOTHING = re.compile(r"(?!)")


@dataclass(frozen=True, slots=True)
class Numbering:
    """What must be known of a country code. Patterns are matched against the number after the code."""

    lengths: frozenset[int]
    trunk: re.Pattern[str]
    """What libphonenumber may take off or replace in front."""
    service: re.Pattern[str]
    """Ranges of any kind that may be refused: premium rate, pager, voicemail."""


def is_surely_plain(digits: str) -> bool:
    """Whether ``digits``, read internationally, are surely a possible number of an ordinary kind, and stay as is."""
    if not 8 <= len(digits) <= 15:
        return False
    code = digits[:1]
    if code not in _CODES:
        code = digits[:2]
        if code not in _CODES:
            code = digits[:3]
            if code not in _CODES:
                return False
    numbering = _numbering(code)
    rest = digits[len(code) :]
    return (
        len(rest) in numbering.lengths
        and rest[0] != "0"
        and not _takes_off(numbering.trunk, rest)
        and numbering.service.fullmatch(rest) is None
    )


def is_too_long_at_home(digits: str, region: str) -> bool:
    """Whether ``digits`` are surely no national number of ``region``, so that only their country code is left."""
    home = _home(region)
    return home is not None and len(digits) > home.longest and not _takes_off(home.prefix, digits)


def _takes_off(prefix: re.Pattern[str], digits: str) -> bool:
    found = prefix.match(digits)
    return found is not None and found.end() > 0


@lru_cache(maxsize=None)
def _numbering(code: str) -> Numbering:
    number = int(code)
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[number]
    tables = [PhoneMetadata.metadata_for_region_or_calling_code(number, region) for region in regions]
    main = tables[0]
    service = [
        kind.national_number_pattern
        for table in tables
        if table is not None
        for kind in (table.premium_rate, table.pager, table.voicemail)
        if kind is not None and kind.national_number_pattern
    ]
    if main is None:
        return Numbering(frozenset(), _NOTHING, _NOTHING)
    possible = set(main.general_desc.possible_length) - set(main.general_desc.possible_length_local_only)
    return Numbering(
        frozenset(possible),
        re.compile(main.national_prefix_for_parsing) if main.national_prefix_for_parsing else _NOTHING,
        re.compile("|".join(f"(?:{pattern})" for pattern in service)) if service else _NOTHING,
    )


@dataclass(frozen=True, slots=True)
class _Home:
    longest: int
    prefix: re.Pattern[str]
    """What may stand in front of a national number, or leads abroad from there."""


@lru_cache(maxsize=None)
def _home(region: str) -> _Home | None:
    table = PhoneMetadata.metadata_for_region(region.upper(), None)
    if table is None:
        return None
    prefixes = [p for p in (table.national_prefix_for_parsing, table.international_prefix) if p]
    return _Home(
        max(table.general_desc.possible_length),
        re.compile("|".join(f"(?:{p})" for p in prefixes)) if prefixes else _NOTHING,
    )
