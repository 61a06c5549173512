"""Parse a phone number in any notation to E.164 digits without ``+``.

Digits without ``+`` are international, as in the vendor's samples (``447731688264``). A number must have 7 to 15 digits
and a length that is possible for its country, or for a mobile there when the tables do not know its range; it must not
be of a type that cannot have WhatsApp. It need not be assigned: the tables of libphonenumber lag behind, and numbers
reserved for fiction (+44 7700 900123) are needed for rehearsals. An ambiguous number is refused, because a guess can
send to a stranger.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberType, ValidationResult

from bulksend.errors import InvalidValue
from bulksend.messaging.column_names import INVISIBLE
from bulksend.messaging.digit_groups import has_second_ending, has_several_numbers, is_written_nationally
from bulksend.messaging.masking import mask_phone
from bulksend.messaging.numbering_plan import (
    SHORT_LENGTH,
    certain_national_number,
    country_code_of,
    has_trunk_zero,
    is_certainly_e164,
    is_longer_than_national,
    leading_country_code,
)
from bulksend.messaging.value_checks import as_integer, describe_length, describe_type

#: E.164: at most 15 digits with the country code. The shortest numbers in use have 7 (Niue, Saint Helena).
MOST_DIGITS = 15
FEWEST_DIGITS = 7
#: Longer text is not a phone number.
MOST_CHARACTERS = 64

_REMEDY = "write it with its country code, like +44 7700 900123"
_CHECK = "check its digits"
_HAS_ODD = "has characters that phone numbers do not have"
_NATIONAL = (
    f"is a national number without its country code; {_REMEDY}, or name the region of such numbers "
    "(the setting BULKSEND_DEFAULT_REGION=GB, or --region GB of a command)"
)
_SEVERAL = "holds more than one number; give one number a row, without a second ending or an extension"
_SHORT = f"is too short for a phone number; emergency and short numbers have no WhatsApp; {_REMEDY}"
_AS_TEXT = "format the column as text and export it again"
_SCIENTIFIC = re.compile(r"[+-]?(\d+)(?:[.,](\d+))?[eE]\+?(\d{1,3})", re.ASCII)
_WHOLE_FLOAT = re.compile(r"(\+?\d+)[.,]0+", re.ASCII)
#: How links to a number begin (RFC 3966, WhatsApp's "click to chat"), and how other vendors write a WhatsApp number.
_LINK = re.compile(r"(?:tel:|whatsapp:|(?P<chat>(?:https?://)?wa\.me/))(?=[+(]*\d)", re.IGNORECASE)
_EXTENSION = re.compile(r"(.*\d.*?)(?:x|ext\.?|extn\.?|extension|#|;ext=)[\s.:=]*\d+\s*", re.IGNORECASE)
_ALLOWED = re.compile(r"[+\d\s().\-/·‐-―−]*")
#: Premium rate, because of its price; the others cannot have WhatsApp.
_REFUSED_TYPES = frozenset({PhoneNumberType.PREMIUM_RATE, PhoneNumberType.PAGER, PhoneNumberType.VOICEMAIL})
_NO_SUCH_CODE = "does not begin with a country code that exists"
_WHY_IMPOSSIBLE = {
    ValidationResult.TOO_SHORT: "is too short for its country",
    ValidationResult.TOO_LONG: "is too long for its country",
    ValidationResult.INVALID_COUNTRY_CODE: _NO_SUCH_CODE,
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "lacks its area code",
    ValidationResult.INVALID_LENGTH: "has a length that its country does not use",
}
#: Mexico removed the 1 after its country code in 2019; many address books still have it.
_OLD_MEXICAN = re.compile(r"\+521(\d{10})", re.ASCII)


def parse_recipient(value: object, *, default_region: str | None = None, field: str = "to") -> str:
    """The number's E.164 digits without ``+``, the same for every notation of a number.

    ``default_region`` (ISO 3166, e.g. ``GB``) is the country of national numbers. Raises InvalidValue, with the masked
    value, when the text is not certainly one phone number that can have WhatsApp.
    """
    if type(value) is int or type(value) is float:
        value = _as_text(value, field)
    if type(value) is str and len(value) <= MOST_CHARACTERS:
        plain = _read_common_case(value, default_region)
        if plain is not None:
            return plain
    return _parse_any_case(value, default_region, field)


def parse_sender(value: object, *, default_region: str | None = None, field: str = "sender") -> str:
    """As ``parse_recipient``; what is no certain number of the region is read as international.

    Senders are listed by their digits, and a region is of the numbers in a file: 8615000579987 is a Chinese number
    also where it could be a German one.
    """
    try:
        return parse_recipient(value, default_region=default_region, field=field)
    except InvalidValue as error:
        if default_region is None:
            raise
        try:
            return parse_recipient(value, field=field)
        except InvalidValue:
            raise error from None


def without_link(text: str) -> str:
    """``tel:+44…``, ``whatsapp:+44…`` and ``https://wa.me/44…`` as the number in it; any other text as it is."""
    found = _LINK.match(text)
    if found is None:
        return text
    number = text[found.end() :]
    return "+" + number.removeprefix("+") if found["chat"] else number


def region_of(recipient: str) -> str | None:
    """The ISO 3166 country of a recipient; None when the number does not show it, such as a satellite phone's.

    A number that is not assigned belongs to the country of its code.
    """
    try:
        number = phonenumbers.parse("+" + recipient, None)
    except NumberParseException:
        return None
    code = number.country_code
    if code is None:
        return None
    region = phonenumbers.region_code_for_number(number) or phonenumbers.region_code_for_country_code(code)
    return region if region in phonenumbers.SUPPORTED_REGIONS else None


#: How many digits show the country of a valid number where countries share a code: +44 7624 is the Isle of Man.
_COUNTRY_DIGITS = {"1": 4, "7": 3, "44": 7, "39": 7, "47": 4, "358": 6}
_OTHER_COUNTRY_DIGITS = 9
#: Other codes that countries share; the first nine digits of their numbers show the country.
LONG_FRONTS = tuple(
    str(code)
    for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items()
    if len(regions) > 1 and str(code) not in _COUNTRY_DIGITS
)
_countries: dict[str, str | None] = {}
_MOST_COUNTRIES = 100_000


def country_of(recipient: str) -> str | None:
    """``region_of``, fast enough for millions: a country code of one country, or digits that were seen before."""
    code = leading_country_code(recipient)
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(code or 0), ())
    if len(regions) == 1:
        return regions[0] if regions[0] in phonenumbers.SUPPORTED_REGIONS else None
    front = recipient[: _COUNTRY_DIGITS.get(code or "", _OTHER_COUNTRY_DIGITS)]
    # Of a number that is not valid, its neighbours.
    for known in (front, recipient[:-2]):
        if known in _countries:
            return _countries[known]
    region = region_of(recipient)
    is_valid = region is not None and phonenumbers.is_valid_number_for_region(
        phonenumbers.parse("+" + recipient, None), region
    )
    if len(_countries) >= _MOST_COUNTRIES:
        _countries.clear()
    _countries[front if is_valid else recipient[:-2]] = region
    return region


# -- the usual case, without libphonenumber ------------------------------------------------------------------------


def _read_common_case(text: str, default_region: str | None) -> str | None:
    """The digits when ``_parse_any_case`` certainly gives the same; else None."""
    if not text.isascii():
        return None
    digits, has_plus = text, False
    if not digits.isdigit():
        written = digits.strip()
        digits = written.replace(" ", "")
        if not digits.removeprefix("+").isdigit():
            digits = digits.replace("-", "").replace("(", "").replace(")", "")
        if not digits.removeprefix("+").isdigit() or has_second_ending(written):
            return None
        has_plus = digits.startswith("+")
        digits = digits.removeprefix("+")
        if not (has_plus or digits.startswith("00")) and is_written_nationally(written):
            return None if default_region is None else certain_national_number(digits, default_region)
    if digits.startswith("00"):
        digits = digits[2:]
        has_plus = True
    if has_plus or default_region is None or is_longer_than_national(digits, default_region):
        return digits if is_certainly_e164(digits) else None
    return certain_national_number(digits, default_region)


# -- every other case ----------------------------------------------------------------------------------------------


def _parse_any_case(value: object, default_region: str | None, field: str) -> str:
    """As ``parse_recipient``, by libphonenumber, which is slower; says what is wrong."""
    text = _as_text(value, field)
    _check_characters(text, field)
    digits = re.sub(r"\D", "", text)
    if len(digits) < (FEWEST_DIGITS if default_region is None else 4):
        raise _refusal(field, text, _SHORT)
    if len(digits) > MOST_DIGITS + 2:
        raise _refusal(
            field, text, f"has {len(digits)} digits, a phone number has at most {MOST_DIGITS}; {_REMEDY}"
        )
    international = "+" in text
    if digits.startswith("00"):
        digits = digits[2:]
        international = True
    if international:
        reading = _read("+" + digits, None, _CHECK)
    elif default_region is not None:
        region = checked_region(default_region)
        # In the groups of a national number, it can only be a number of the region.
        reading = (
            _read(digits, region) if is_written_nationally(text) else _read_with_region(digits, region, field)
        )
    elif digits.startswith("0") or is_written_nationally(text):
        raise _refusal(field, text, _NATIONAL)
    else:
        reading = _read("+" + digits, None)
    return _accepted(reading, text, field)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One way to read a text: the digits, the number by libphonenumber, and why it is impossible, if it is."""

    digits: str
    number: phonenumbers.PhoneNumber | None
    why: str = ""
    """What is wrong and what to do."""

    @property
    def is_valid(self) -> bool:
        return self.number is not None and phonenumbers.is_valid_number(self.number)


def _read(text: str, region: str | None, remedy: str = _REMEDY) -> _Reading:
    if found := _OLD_MEXICAN.fullmatch(text):
        text = "+52" + found[1]
    try:
        number = phonenumbers.parse(text, region)
    except NumberParseException as error:
        unknown = error.error_type == NumberParseException.INVALID_COUNTRY_CODE
        return _Reading("", None, f"{_NO_SUCH_CODE if unknown else 'is not a phone number'}; {_REMEDY}")
    digits = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:]
    reason = phonenumbers.is_possible_number_with_reason(number)
    if reason != ValidationResult.IS_POSSIBLE:
        return _Reading(digits, number, f"{_WHY_IMPOSSIBLE.get(reason, 'is not a phone number')}; {remedy}")
    if len(digits) > MOST_DIGITS:
        return _Reading(
            digits, number, f"has {len(digits)} digits, a phone number has at most {MOST_DIGITS}; {remedy}"
        )
    if not phonenumbers.is_valid_number(number):
        # In some countries (DE) a number of three digits is possible, such as 115.
        if len(digits) < FEWEST_DIGITS or len(digits) - len(str(number.country_code)) <= SHORT_LENGTH:
            return _Reading(digits, number, _SHORT)
        if not phonenumbers.is_possible_number_for_type(number, PhoneNumberType.MOBILE):
            return _Reading(
                digits,
                number,
                f"is in no range of its country, and too long or short for a mobile there; {remedy}",
            )
    return _Reading(digits, number)


def _read_with_region(digits: str, region: str, field: str) -> _Reading:
    """Read digits without ``+`` as a national number of ``region``, or as international with country code.

    Where national numbers have no leading 0 (US, ES, IT), a valid national number is one. Where they have it (GB, DE),
    digits without it are international; but a spreadsheet may have removed the 0 (15123456789 is a German mobile, and a
    number in Texas), so a number with two readings is refused.
    """
    national = _read(digits, region)
    if digits.startswith("0") or (not has_trunk_zero(region) and not national.why and national.is_valid):
        return national
    abroad = _read("+" + digits, None)
    if abroad.why or national.digits == abroad.digits:
        return national
    if national.why or not national.is_valid:
        return abroad
    if digits.startswith(country_code_of(region)) and abroad.is_valid:
        return abroad
    raise _refusal(
        field,
        digits,
        f"can be a number of {region} and, read with its country code, one of {_country(abroad)}; {_REMEDY}",
    )


def _country(reading: _Reading) -> str:
    return region_of(reading.digits) or "another country"


def _accepted(reading: _Reading, text: str, field: str) -> str:
    if reading.why or reading.number is None:
        raise _refusal(field, text, reading.why)
    if phonenumbers.number_type(reading.number) in _REFUSED_TYPES:
        raise _refusal(
            field,
            text,
            "is a premium-rate or service number, which gets no WhatsApp; give the person's own number",
        )
    return reading.digits


def checked_region(region: str, field: str = "default_region") -> str:
    """The ISO 3166 code of a country that has phone numbers, in capitals. Raises InvalidValue for another text."""
    if region.upper() not in phonenumbers.SUPPORTED_REGIONS:
        raise InvalidValue(
            field,
            region[:40],
            "is not the ISO 3166 code of a country that has phone numbers, like GB for the United Kingdom",
        )
    return region.upper()


# -- from cell to text ---------------------------------------------------------------------------------------------


def _as_text(value: object, field: str) -> str:
    """The cell as text. Changes by a spreadsheet are undone; a number that lost digits is refused."""
    if value is None:
        raise InvalidValue(field, "", f"is empty; {_REMEDY}")
    if isinstance(value, str):
        return _from_text(value, field)
    if isinstance(value, float):
        return _from_float(value, field)
    if isinstance(value, Decimal):
        return _from_decimal(value, field)
    whole = as_integer(value)
    if whole is None:
        raise InvalidValue(field, "", f"is {describe_type(value)}, not a phone number; {_REMEDY}")
    if not 0 < whole < 10**18:
        raise InvalidValue(field, "", f"is a number too large or too small for a phone number; {_REMEDY}")
    return str(whole)


def _from_float(value: float, field: str) -> str:
    if not math.isfinite(value) or not value.is_integer() or not 0 < value < 1e16:
        raise InvalidValue(field, "", f"is not a whole number; {_AS_TEXT}")
    digits = str(int(value))
    if digits.endswith("000000"):
        raise _refusal(
            field, digits, f"looks rounded by a spreadsheet, so its last digits are lost; {_AS_TEXT}"
        )
    return digits


def _from_decimal(value: Decimal, field: str) -> str:
    """A whole Decimal, as of a NUMERIC column. Its size is checked first: int(1E+999999) fills the memory."""
    if not value.is_finite() or not 0 <= value.adjusted() < 18 or value < 0 or value != int(value):
        raise InvalidValue(field, "", "is not a whole number of a phone number's length; give it as text")
    return str(int(value))


def _from_text(value: str, field: str) -> str:
    if len(value) > MOST_CHARACTERS and len(value.strip()) > MOST_CHARACTERS:
        raise InvalidValue(field, describe_length(value), f"is too long for a phone number; {_REMEDY}")
    if not value.isascii() and any(c.isnumeric() and not c.isdecimal() for c in value):
        # Normalization would make digits of footnote marks such as ² and ①.
        raise _refusal(field, value, f"{_HAS_ODD}; {_REMEDY}")
    text = unicodedata.normalize("NFKC", INVISIBLE.sub("", value)).strip()
    if text.startswith('="') and text.endswith('"'):  # in CSV files it stops Excel from changing a number
        text = text[2:-1]
    text = without_link(text.lstrip("'’").strip())
    if not text:
        raise InvalidValue(field, "", f"is empty; {_REMEDY}")
    if not text.isascii():
        # Decimal digits of every script: Arabic-Indic, Devanagari, Bengali ...
        text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)
    if found := _SCIENTIFIC.fullmatch(text):
        return _from_scientific(found, field)
    if found := _WHOLE_FLOAT.fullmatch(text):
        return found[1]
    return text


def _from_scientific(found: re.Match[str], field: str) -> str:
    """``4.47700900123E+11`` still has all its digits; ``4.477E+11`` has lost some."""
    digits = found[1] + (found[2] or "")
    if len(digits) - len(found[1]) != int(found[3]):
        raise _refusal(
            field,
            digits,
            f"was rounded by a spreadsheet, so its last digits are lost; {_AS_TEXT}",
        )
    return digits


def _check_characters(text: str, field: str) -> None:
    if found := _EXTENSION.fullmatch(text):
        raise _refusal(field, found[1], "has an extension, which WhatsApp cannot reach; remove it")
    if has_several_numbers(text):
        raise _refusal(field, text, _SEVERAL)
    if not _ALLOWED.fullmatch(text):
        letters = any(c.isalpha() for c in text)
        what = "has letters" if letters else _HAS_ODD
        raise _refusal(field, text, f"{what}; {_REMEDY}")
    if not any(c.isdigit() for c in text):
        raise _refusal(field, text, f"has no digits; {_REMEDY}")
    if re.search(r"\d[^+]*\+", text):
        raise _refusal(
            field, text, "has a + after its first digit; give one number a row, with + only in front"
        )


def _refusal(field: str, text: str, why: str) -> InvalidValue:
    """An InvalidValue with the masked number, or with the length of a text without digits."""
    digits = re.sub(r"\D", "", text)
    if digits:
        return InvalidValue(field, mask_phone(digits)[:40], why)
    return InvalidValue(field, describe_length(text), why)
