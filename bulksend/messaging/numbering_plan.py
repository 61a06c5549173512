"""The numbering plans of all countries, from the tables of libphonenumber, for a fast check of common numbers.

libphonenumber takes about 125 us to parse and check a number, and a file has millions. Most numbers are international,
of a possible length, without a trunk prefix, and in no range of service numbers: their digits stay unchanged. The
functions here answer only where that is certain; ``test_recipient.py`` compares them with libphonenumber.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumberDesc, PhoneNumberType

#: Digits of the longest emergency and short numbers. Other numbers as short as these must be valid.
SHORT_LENGTH = 6

_CODES = frozenset(str(code) for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
_NEVER = re.compile(r"(?!)")
#: A format of numbers that begin with certain digits: ``(9)(11)(\d{4})(\d{4})``.
_LITERAL = re.compile(r"\(\[?\d")
#: The trunk prefix of most countries.
_ZERO = re.compile("0")


@dataclass(frozen=True, slots=True)
class NumberingPlan:
    """What the fast check needs of a country code. Patterns match the number after the code."""

    possible: frozenset[int]
    """Possible lengths."""
    mobile: frozenset[int]
    """Possible lengths of a mobile: with one of these, the range may be unknown to the tables."""
    trunk: re.Pattern[str]
    """A prefix that libphonenumber removes or replaces."""
    service: re.Pattern[str]
    """Ranges that can be refused: premium rate, pager, voicemail."""


def is_certainly_e164(digits: str) -> bool:
    """Whether ``digits``, read internationally, are certainly a possible ordinary number that stays unchanged."""
    if not 8 <= len(digits) <= 15:
        return False
    front = _leading_plan(digits[:3])
    if front is None:
        return False
    length, numbering = front
    rest = digits[length:]
    return (
        len(rest) in numbering.mobile
        and len(rest) > SHORT_LENGTH
        and rest[0] != "0"
        and (numbering.trunk is _ZERO or not _has_prefix(numbering.trunk, rest))
        and numbering.service.fullmatch(rest) is None
    )


def is_longer_than_national(digits: str, region: str) -> bool:
    """Whether ``digits`` are too long for any national number of ``region``: they begin with a country code."""
    home = _national_plan(region)
    return home is not None and len(digits) > home.longest and not _has_prefix(home.prefix, digits)


def certain_national_number(digits: str, region: str) -> str | None:
    """``digits`` after the code of ``region``, when they are certainly a national number; else None."""
    home = _national_plan(region)
    if (
        home is None
        or digits.startswith(home.code)
        or _has_prefix(home.prefix, digits)
        or not is_certainly_e164(home.code + digits)
        or not _is_certainly_not_international(digits)
    ):
        return None
    return home.code + digits


def has_trunk_zero(region: str) -> bool:
    """Whether national numbers of ``region`` begin with a 0 that is not dialled from abroad."""
    home = _national_plan(region)
    return home is not None and home.leading_zero


def is_grouped_as_national(digits: str, runs: Sequence[str]) -> bool:
    """Whether a country writes ``digits`` in these groups as a national number, without its leading 0."""
    lengths = tuple(map(len, runs))
    return any(
        _grouping(table, digits) == lengths
        and _matches(table.general_desc, digits)
        and phonenumbers.is_valid_number_for_region(
            phonenumbers.PhoneNumber(country_code=table.country_code, national_number=int(digits)), region
        )
        for region, table in _countries_grouping(lengths)
    )


def is_national_mobile(digits: str) -> bool:
    """Whether ``digits`` are a national mobile number of any country, without its leading 0."""
    return any(_matches(table.mobile, digits) for _, table in _countries(len(digits)))


def country_code_of(region: str) -> str:
    """The country code of a region that has one: ``44`` of ``GB``."""
    return str(phonenumbers.country_code_for_region(region))


def _is_certainly_not_international(digits: str) -> bool:
    """Whether ``digits``, read internationally, certainly have no possible length."""
    code = leading_country_code(digits)
    if code is None:
        return True
    numbering = _numbering_plan(code)
    rest = digits[len(code) :]
    return (
        bool(rest)
        and rest[0] != "0"
        and len(rest) not in numbering.possible
        and not _has_prefix(numbering.trunk, rest)
    )


@cache
def _countries(length: int) -> tuple[tuple[str, PhoneMetadata], ...]:
    """The countries whose national numbers can have that many digits, with their tables."""
    tables = [
        (region, PhoneMetadata.metadata_for_region(region))
        for region in sorted(phonenumbers.SUPPORTED_REGIONS)
    ]
    return tuple(
        (region, table)
        for region, table in tables
        if table is not None and length in _possible_lengths(table)
    )


@cache
def _countries_grouping(lengths: tuple[int, ...]) -> tuple[tuple[str, PhoneMetadata], ...]:
    """The countries that may write a national number in groups of these lengths."""
    digits = "2" * sum(lengths)
    return tuple(
        (region, table)
        for region, table in _countries(len(digits))
        if any(
            _LITERAL.search(form.pattern or "") or _groups(form.pattern, digits) == lengths
            for form in table.number_format
        )
    )


def _grouping(table: PhoneMetadata, digits: str) -> tuple[int, ...] | None:
    """The lengths of the groups in which a country writes a national number."""
    for form in table.number_format:
        leading = form.leading_digits_pattern
        if not leading or _compiled(leading[-1]).match(digits):
            lengths = _groups(form.pattern, digits)
            if lengths is not None:
                return lengths
    return None


def _groups(pattern: str | None, digits: str) -> tuple[int, ...] | None:
    found = _compiled(pattern or "").fullmatch(digits)
    return None if found is None else tuple(map(len, found.groups()))


def _matches(kind: PhoneNumberDesc | None, digits: str) -> bool:
    pattern = None if kind is None else kind.national_number_pattern
    return pattern is not None and _compiled(pattern).fullmatch(digits) is not None


_compiled = cache(re.compile)


@cache
def _leading_plan(digits: str) -> tuple[int, NumberingPlan] | None:
    """The length of the country code at the beginning of these three digits, and its plan."""
    code = leading_country_code(digits)
    return None if code is None else (len(code), _numbering_plan(code))


def leading_country_code(digits: str) -> str | None:
    """The country code at the beginning of the digits; None when there is none."""
    for length in (1, 2, 3):
        if digits[:length] in _CODES:
            return digits[:length]
    return None


def _has_prefix(prefix: re.Pattern[str], digits: str) -> bool:
    found = prefix.match(digits)
    return found is not None and found.end() > 0


@cache
def _numbering_plan(code: str) -> NumberingPlan:
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
        return NumberingPlan(frozenset(), frozenset(), _NEVER, _NEVER)
    return NumberingPlan(
        _possible_lengths(main),
        _mobile_lengths(number) & _possible_lengths(main),
        _trunk(main.national_prefix_for_parsing),
        re.compile("|".join(f"(?:{pattern})" for pattern in service)) if service else _NEVER,
    )


def _trunk(pattern: str | None) -> re.Pattern[str]:
    return _NEVER if not pattern else _ZERO if pattern == _ZERO.pattern else re.compile(pattern)


@dataclass(frozen=True, slots=True)
class _NationalPlan:
    code: str
    longest: int
    """Digits of the longest national number."""
    prefix: re.Pattern[str]
    """The prefix of a national number, or of an international call from there."""
    leading_zero: bool


@cache
def _national_plan(region: str) -> _NationalPlan | None:
    table = PhoneMetadata.metadata_for_region(region.upper(), None)
    if table is None:
        return None
    code = str(table.country_code)
    # Lengths follow the table of the code's main region, trunk prefixes the region's own.
    main = _numbering_plan(code)
    prefixes = [p for p in (table.national_prefix_for_parsing, table.international_prefix) if p]
    return _NationalPlan(
        code,
        max(_possible_lengths(table) | main.possible),
        re.compile("|".join(f"(?:{p})" for p in prefixes)) if prefixes else _NEVER,
        table.national_prefix == "0",
    )


def _possible_lengths(table: PhoneMetadata) -> frozenset[int]:
    """The possible lengths of a national number with its area code."""
    general = table.general_desc
    if general is None:
        return frozenset()
    return frozenset(general.possible_length) - frozenset(general.possible_length_local_only)


def _mobile_lengths(code: int) -> frozenset[int]:
    """The possible lengths of a mobile's national number, found by asking with every length."""
    return frozenset(
        length
        for length in range(SHORT_LENGTH + 1, 16)
        if phonenumbers.is_possible_number_for_type(
            phonenumbers.PhoneNumber(country_code=code, national_number=int("2" * length)),
            PhoneNumberType.MOBILE,
        )
    )
