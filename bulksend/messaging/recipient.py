"""Recipients: a phone number however it was written, as E.164 digits without ``+``.

The vendor's samples write ``447731688264``, so digits without ``+`` are read as international. Whether a number is
*assigned* is not asked: libphonenumber's tables lag behind, and numbers reserved for fiction must pass in
rehearsals. It must be of a possible length for its country, and not of a kind that cannot have WhatsApp.
"""

from __future__ import annotations

import math
import re
import unicodedata

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberType, ValidationResult

from bulksend.messaging.errors import InvalidValue
from bulksend.messaging.masking import mask_phone

_REMEDY = "write it with its country code, like +44 7700 900123"
#: Marks that copy and paste brings along: zero-width, bidi, byte-order mark, soft hyphen.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_SCIENTIFIC = re.compile(r"[+-]?\d+([.,]\d+)?[eE][+-]?\d+")
_EXTENSION = re.compile(r"(?i)(x|ext\.?|extension|#|;ext=)\s*\d+\s*$")
_ALLOWED = re.compile(r"[+\d\s().\-/·‐-―  ]*")
_NEVER_WHATSAPP = frozenset(
    {PhoneNumberType.PREMIUM_RATE, PhoneNumberType.PAGER, PhoneNumberType.VOICEMAIL, PhoneNumberType.UAN}
)
_WHY_IMPOSSIBLE = {
    ValidationResult.TOO_SHORT: "is too short for its country",
    ValidationResult.TOO_LONG: "is too long for its country",
    ValidationResult.INVALID_COUNTRY_CODE: "begins with no country code that exists",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "lacks its area code",
    ValidationResult.INVALID_LENGTH: "has a length that its country does not use",
}


def parse_recipient(value: object, *, default_region: str | None = None, field: str = "to") -> str:
    """The number's E.164 digits, without ``+``. The same person written five ways is one recipient.

    ``default_region`` (ISO 3166, e.g. ``GB``) reads numbers written without their country. Raises InvalidValue
    with the masked value, what is wrong and the remedy.
    """
    text = _as_text(value, field)
    if _EXTENSION.search(text):
        raise InvalidValue(field, _shown(text), "has an extension; WhatsApp reaches only direct numbers")
    if not _ALLOWED.fullmatch(text):
        raise InvalidValue(field, _shown(text), f"has characters that no phone number has; {_REMEDY}")
    digits = re.sub(r"\D", "", text)
    if not digits:
        raise InvalidValue(field, _shown(text), f"has no digits; {_REMEDY}")
    if len(digits) > 17:
        raise InvalidValue(field, _shown(digits), f"has {len(digits)} digits, a phone number has at most 15")
    international = text.startswith("+") or digits.startswith("00")
    candidate = "+" + (digits[2:] if not text.startswith("+") and digits.startswith("00") else digits)
    if not international and (default_region is not None or digits.startswith("0")):
        return _national(text, digits, default_region, field)
    return _checked(candidate, None, field)


def _national(text: str, digits: str, region: str | None, field: str) -> str:
    """A number without ``+``: national where it begins with 0; else international where that is possible."""
    if not digits.startswith("0"):
        try:
            return _checked("+" + digits, None, field)
        except InvalidValue:
            return _checked(text, region, field)
    if region is None:
        raise InvalidValue(
            field, _shown(digits), "is a national number without its country; " + _REMEDY + ", or say --region"
        )
    return _checked(text, region, field)


def _checked(text: str, region: str | None, field: str) -> str:
    try:
        number = phonenumbers.parse(text, region)
    except NumberParseException as error:
        why = (
            "begins with no country code that exists"
            if error.error_type == NumberParseException.INVALID_COUNTRY_CODE
            else "is no phone number"
        )
        raise InvalidValue(field, _shown(text), f"{why}; {_REMEDY}") from None
    reason = phonenumbers.is_possible_number_with_reason(number)
    if reason != ValidationResult.IS_POSSIBLE:
        raise InvalidValue(field, _shown(text), f"{_WHY_IMPOSSIBLE.get(reason, 'is no phone number')}; {_REMEDY}")
    if phonenumbers.number_type(number) in _NEVER_WHATSAPP:
        raise InvalidValue(field, _shown(text), "is a premium or service number, which cannot have WhatsApp")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:]


def _as_text(value: object, field: str) -> str:
    """The cell as text: what spreadsheets make of numbers is undone, what lost digits is refused."""
    if value is None:
        raise InvalidValue(field, "", f"is empty; {_REMEDY}")
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InvalidValue(field, "", f"is a {type(value).__name__}, not a phone number; {_REMEDY}")
    if isinstance(value, float):
        if not math.isfinite(value) or not value.is_integer() or value <= 0 or value >= 1e16:
            raise InvalidValue(field, "", "is not a whole number; format the column as text and export it again")
        return str(int(value))
    if isinstance(value, int):
        return str(value)
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", value)).strip().lstrip("'").strip()
    if not text:
        raise InvalidValue(field, "", f"is empty; {_REMEDY}")
    if _SCIENTIFIC.fullmatch(text):
        raise InvalidValue(
            field,
            _shown(text),
            "was turned into a rounded number by a spreadsheet, its digits are lost; format the column as text and "
            "export it again",
        )
    if text.endswith(".0") and text[:-2].isdigit():
        text = text[:-2]
    # Digits of every script, as libphonenumber has them too.
    return "".join(str(unicodedata.digit(c)) if c.isdigit() and not c.isascii() else c for c in text)


def _shown(text: str) -> str:
    digits = re.sub(r"\D", "", text)
    return mask_phone(digits)[:40] if digits else f"{min(len(text), 9999)} characters"


def region_of(recipient: str) -> str | None:
    """The ISO 3166 country of a recipient; None where the number does not tell."""
    try:
        number = phonenumbers.parse("+" + recipient, None)
    except NumberParseException:
        return None
    region: str | None = phonenumbers.region_code_for_number(number)
    return region or phonenumbers.region_code_for_country_code(number.country_code) or None
