"""A phone number, however it was written, is E.164 digits or an explained refusal (faults, section 7: 1 to 18)."""

from __future__ import annotations

import random
import re
from datetime import date
from decimal import Decimal
from enum import Enum, StrEnum
from fractions import Fraction

import phonenumbers
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from bulksend.errors import InvalidValue
from bulksend.messaging.recipient import _parse_any_case, country_of, parse_recipient, parse_sender, region_of

LONDON = "447700900123"


def refusal(value: object, default_region: str | None = None) -> InvalidValue:
    with pytest.raises(InvalidValue) as caught:
        parse_recipient(value, default_region=default_region)
    return caught.value


@pytest.mark.parametrize(
    "written",
    [
        "447700900123",
        "+447700900123",
        "00447700900123",
        "+44 7700 900123",
        "+44 (0)7700 900123",
        "(+44) 7700-900-123",
        "+44.7700.900123",
        "44/7700/900123",
        "  447700900123\t",
        "'447700900123",
        "’447700900123",
        '="447700900123"',
        "\ufeff447700900123",
        "\u202e+44\u200b7700\u00ad900123\u2069",
        "+44\u00a07700\u2009900\u2011123",
        "٤٤٧٧٠٠٩٠٠١٢٣",
        "۴۴۷۷۰۰۹۰۰۱۲۳",
        "４４７７００９００１２３",
        "＋４４ ७७०० ९००१२३",
        "447700900123.0",
        "4.47700900123E+11",
        "4,47700900123e11",
        "tel:+447700900123",
        "TEL:+44-7700-900123",
        "whatsapp:+447700900123",
        "https://wa.me/447700900123",
        "wa.me/447700900123",
        447700900123,
        447700900123.0,
    ],
)
def test_the_same_person_however_written_is_one_recipient(written: object) -> None:
    assert parse_recipient(written) == LONDON


@pytest.mark.parametrize(
    ("written", "digits"),
    [
        ("+1 202-555-0123", "12025550123"),
        ("8615000579987", "8615000579987"),
        ("447731688264", "447731688264"),
        ("+33 6 39 98 00 01", "33639980001"),
        ("+61 491 570 156", "61491570156"),
        ("+353 20 910 0123", "353209100123"),
        ("+39 06 0000 0123", "390600000123"),
    ],
)
def test_numbers_reserved_for_fiction_and_the_vendors_samples_pass(written: str, digits: str) -> None:
    assert parse_recipient(written) == digits


def test_the_1_that_mexico_dropped_after_its_code_in_2019_is_dropped() -> None:
    mobile = phonenumbers.example_number_for_type("MX", PhoneNumberType.MOBILE)
    assert mobile is not None
    digits = phonenumbers.format_number(mobile, PhoneNumberFormat.E164)[1:]
    assert parse_recipient("521" + digits[2:]) == parse_recipient("+52 1 " + digits[2:]) == digits


@pytest.mark.parametrize(
    ("written", "region", "digits"),
    [
        ("07700 900123", "GB", LONDON),
        ("07700 900123", "gb", LONDON),
        ("7700900123", "GB", LONDON),
        (7700900123, "GB", LONDON),
        (7700900123.0, "GB", LONDON),
        ("447700900123", "GB", LONDON),
        ("+447700900123", "US", LONDON),
        ("447700900123", "US", LONDON),
        ("011 44 7700 900123", "US", LONDON),
        ("(202) 555-0123", "US", "12025550123"),
        ("2025550123", "US", "12025550123"),
        ("12025550123", "US", "12025550123"),
        ("0152 28817386", "DE", "4915228817386"),
        ("4915228817386", "DE", "4915228817386"),
        ("0639980001", "FR", "33639980001"),
    ],
)
def test_a_number_without_its_country_is_read_in_the_default_region(
    written: object, region: str, digits: str
) -> None:
    assert parse_recipient(written, default_region=region) == digits


def test_ten_american_digits_without_their_country_are_not_taken_for_an_egyptian_number() -> None:
    assert (
        refusal("2025550123").why
        == "is in no range of its country, and too long or short for a mobile there; " + REMEDY
    )
    assert parse_recipient("2025550123", default_region="US") == "12025550123"


def test_a_number_that_lost_its_leading_zero_is_refused_where_it_reads_as_another_countrys_too() -> None:
    error = refusal("15228817386", "DE")
    assert error.why == (
        "can be a number of DE and, read with its country code, one of US; "
        "write it with its country code, like +44 7700 900123"
    )
    assert error.value == "1522****386"


def test_a_sender_is_read_as_it_is_listed_whatever_the_region_of_a_file() -> None:
    """8615000579987 is a Chinese number, and could be a German one."""
    assert refusal("8615000579987", "DE").why.startswith("can be a number of DE")
    assert parse_sender("8615000579987", default_region="DE") == "8615000579987"
    assert parse_sender("07700 900123", default_region="GB") == LONDON
    with pytest.raises(InvalidValue, match="too short"):
        parse_sender("12", default_region="DE")


def test_a_region_that_is_none_is_refused_by_name() -> None:
    error = refusal("07700900123", "England")
    assert (error.field, error.value) == ("default_region", "England")
    assert (
        error.why
        == "is not the ISO 3166 code of a country that has phone numbers, like GB for the United Kingdom"
    )


REMEDY = "write it with its country code, like +44 7700 900123"
SHORT = f"is too short for a phone number; emergency and short numbers have no WhatsApp; {REMEDY}"
NATIONAL = (
    f"is a national number without its country code; {REMEDY}, or name the region of such numbers "
    "(the setting BULKSEND_DEFAULT_REGION=GB, or --region GB of a command)"
)
SEVERAL = "holds more than one number; give one number a row, without a second ending or an extension"
ROUNDED = "so its last digits are lost; format the column as text and export it again"


@pytest.mark.parametrize(
    ("written", "value", "why"),
    [
        ("", "", f"is empty; {REMEDY}"),
        ("  \u200b ", "", f"is empty; {REMEDY}"),
        ("'", "", f"is empty; {REMEDY}"),
        (None, "", f"is empty; {REMEDY}"),
        ("+", "1 character", f"has no digits; {REMEDY}"),
        ("-- ()", "5 characters", f"has no digits; {REMEDY}"),
        ("David", "5 characters", f"has letters; {REMEDY}"),
        ("+1 800 FLOWERS", "*800", f"has letters; {REMEDY}"),
        ("447700900123;", "4477*****123", f"has characters that phone numbers do not have; {REMEDY}"),
        (
            "07700900123",
            "0770****123",
            NATIONAL,
        ),
        ("+44770090012345678", "4477**********678", "is too long for its country; check its digits"),
        (
            "44770090012345678901",
            "4477*************901",
            f"has 20 digits, a phone number has at most 15; {REMEDY}",
        ),
        (
            "+4930123456789012",
            "4930*********012",
            "has 16 digits, a phone number has at most 15; check its digits",
        ),
        ("+44 7700", "***700", SHORT),
        (
            "+44 7700 90012",
            "4477****012",
            "is in no range of its country, and too long or short for a mobile there; check its digits",
        ),
        ("+1 202 555 012", "1202***012", "is too short for its country; check its digits"),
        ("+1 555 0123", "*****123", "lacks its area code; check its digits"),
        ("+999 7700 900123", "9997******123", f"does not begin with a country code that exists; {REMEDY}"),
        (
            "+44 7700 900123 x12",
            "4477*****123",
            "has an extension, which WhatsApp cannot reach; remove it",
        ),
        (
            "+44 7700 900123 ext. 12",
            "4477*****123",
            "has an extension, which WhatsApp cannot reach; remove it",
        ),
        (
            "+447700900123 +447700900124",
            "4477*****************124",
            "has a + after its first digit; give one number a row, with + only in front",
        ),
        (
            "447700900123/447700900124",
            "4477*****************124",
            SEVERAL,
        ),
        ("4.477E+11", "*477", f"was rounded by a spreadsheet, {ROUNDED}"),
        ("4,477009E+11", "****009", f"was rounded by a spreadsheet, {ROUNDED}"),
        (6.28e11, "6280*****000", f"looks rounded by a spreadsheet, {ROUNDED}"),
        (628123, "***123", SHORT),
        (
            "+44 909 879 0123",
            "4490*****123",
            "is a premium-rate or service number, which gets no WhatsApp; give the person's own number",
        ),
        ("https://wa.me/447700900123?text=Hi", "4477*****123", f"has letters; {REMEDY}"),
        ("112", "***", SHORT),
        ("999", "***", SHORT),
        (["447700900123"], "", f"is a list, not a phone number; {REMEDY}"),
        ({"to": "447700900123"}, "", f"is a dict, not a phone number; {REMEDY}"),
        (b"447700900123", "", f"is a bytes, not a phone number; {REMEDY}"),
        (True, "", f"is true or false, not a phone number; {REMEDY}"),
        (float("nan"), "", "is not a whole number; format the column as text and export it again"),
        (float("inf"), "", "is not a whole number; format the column as text and export it again"),
        (447700900123.5, "", "is not a whole number; format the column as text and export it again"),
        (-447700900123, "", f"is a number too large or too small for a phone number; {REMEDY}"),
        (10**400, "", f"is a number too large or too small for a phone number; {REMEDY}"),
        ("1" * 1_000_000, "1,000,000 characters", f"is too long for a phone number; {REMEDY}"),
    ],
)
def test_a_text_that_is_not_a_phone_number_is_refused_with_the_remedy_and_masked(
    written: object, value: str, why: str
) -> None:
    error = refusal(written)
    assert (error.field, error.value, error.why) == ("to", value, why)


@pytest.mark.parametrize(
    "written",
    [
        "(478) 555-0142",
        "478-555-0142",
        "478.555.0142",
        "(478)5550142",
        "650 555 0132",
        "(650) 555-0132",
        "8 (495) 555-01-23",
        "8 495 555 01 23",
        "(44) 7700 900123",  # an area code: 44 is one of Brazil's
        "(31) 98555-0124",
        "31 98555-0124",
        "34 98555-0124",
        "65 3123 4567",
        "501 555 0132",  # Arkansas, and as long as a number of Belize
        "20 7946 0958",
        "138 0013 8000",
        "98765 43210",
        "812-3456-7890",
        "8123 4567 8901",
        "4 47700900123",
        "0161 496 0123",
        "(0)161 496 0123",
    ],
)
def test_a_number_in_the_groups_of_a_national_number_is_not_read_as_international(written: str) -> None:
    """Case 03: four American and Russian numbers went to Norway, Singapore and Vietnam."""
    assert refusal(written).why == NATIONAL


@pytest.mark.parametrize("written", ["(478) 555-01423", "(31) 98555-0124", "31 98555-0124", "812-3456-78901"])
def test_with_a_region_it_is_a_number_of_that_region_or_none(written: str) -> None:
    """Case 03, with `--region GB`: no more digits than a national number has, so they went abroad."""
    assert refusal(written, "GB").why.startswith("is too long for its country")


def test_with_a_region_the_grouping_decides_between_two_countries() -> None:
    assert parse_recipient("(501) 610-1234", default_region="US") == "15016101234"
    assert parse_recipient("501 610 1234", default_region="US") == "15016101234"
    assert parse_recipient("(31) 98555-0124", default_region="BR") == "5531985550124"
    assert parse_recipient("44 7700 900123", default_region="US") == LONDON
    assert parse_recipient("(44) 7700 900123", default_region="GB") == LONDON
    assert parse_recipient("8 (495) 555-01-23", default_region="RU") == "74955550123"


@pytest.mark.parametrize(
    ("written", "digits"),
    [
        ("44 7700 900123", LONDON),
        ("44-7700-900123", LONDON),
        ("447700 900123", LONDON),
        ("44 (0)7700 900123", LONDON),
        ("(447700900123)", LONDON),
        ("(44 7700 900123)", LONDON),
        ("1 (478) 555-0142", "14785550142"),
        ("1-202-555-0123", "12025550123"),
        ("7 (912) 345-67-89", "79123456789"),
        ("47 22 12 34 56", "4722123456"),
        ("34 612 345 678", "34612345678"),
        ("31 6 12345678", "31612345678"),
        ("65 9123 4567", "6591234567"),
        ("55 31 98555-0124", "5531985550124"),
        ("91 98765 43210", "919876543210"),
        ("86 138 0013 8000", "8613800138000"),
        ("+47 85 55 01 42", "4785550142"),
        ("+1 (478) 555-0142", "14785550142"),
        ("4785550142", "4785550142"),
    ],
)
def test_a_number_whose_country_code_stands_by_itself_needs_no_plus(written: str, digits: str) -> None:
    assert parse_recipient(written) == digits


def test_no_number_in_its_countrys_own_grouping_goes_abroad() -> None:
    """Case 03, for every country: fixed lines, mobiles, freephone numbers."""
    gone = []
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in range(3):
            number = phonenumbers.example_number_for_type(region, kind)
            if number is None:
                continue
            written = phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)
            try:
                digits = parse_recipient(written)
            except InvalidValue:
                continue
            if digits != re.sub(r"\D", "", written) or not written.isdigit():
                gone.append((region, written, digits))
    assert gone == []


@pytest.mark.parametrize(
    "written",
    [
        "+49 30 23125 000/01",
        "+49 30 23125000/-01",
        "+49 30 23125000 / 01",
        "+49 30 23125000/23125001",
        "+49 30 23125000／01",
        "+49 30 23125000-01",
        "+49 30 23125000 – 05",
        "+49 30 23125000 01",
        "+49 30 23125000.5",
        "+49 30 23125000 (01)",
        "+49 30 23125000 or 01",
        "+49 30 23125000 oder 01",
        "+49 30 23125000; 01",
        "+49 30 23125000, 01",
        "+49 30 23125000 | 01",
        "+49 30 23125000 & 01",
        "+49 30 23125000\n01",
        "+49 30 23125000\t01",
        "49 30 23125000/01",
    ],
)
def test_two_endings_are_two_numbers(written: str) -> None:
    """Case 21: the endings ran together into another person's number."""
    for region in (None, "DE"):
        assert refusal(written, region).why == SEVERAL
    assert refusal("030 23125000/01", "DE").why == SEVERAL


def test_a_slash_behind_an_area_code_is_a_mark_like_others() -> None:
    assert parse_recipient("030/23125000", default_region="DE") == "493023125000"
    assert parse_recipient("+49 (0)30/23125000") == parse_recipient("49/30/23125000") == "493023125000"
    assert parse_recipient("+49 (30) 23125000") == "493023125000"
    assert parse_recipient("+7 495 555-01-23") == "74955550123"


@pytest.mark.parametrize("mark", ["²", "①", "⑴", "㉑", "½"])
def test_a_mark_that_would_become_a_digit_is_refused(mark: str) -> None:
    assert refusal("+49 30 2312500" + mark).why == f"has characters that phone numbers do not have; {REMEDY}"


class Int64:
    """An integer of another library: numpy's int64 says what it is by ``__index__`` alone."""

    def __index__(self) -> int:
        return int(LONDON)


class Text(str):
    """Text of another library."""


class Choice(StrEnum):
    LONDON = LONDON


class OldChoice(str, Enum):  # noqa: UP042 - its str() is its name
    LONDON = LONDON


@pytest.mark.parametrize(
    "value",
    [
        Decimal(LONDON),
        Decimal(LONDON + ".00"),
        Decimal("4.47700900123E+11"),
        Int64(),
        Text(LONDON),
        Choice.LONDON,
        OldChoice.LONDON,
    ],
)
def test_a_whole_number_of_any_type_is_read_like_an_int(value: object) -> None:
    """Case 27: what databases give for NUMERIC is a Decimal."""
    assert parse_recipient(value) == LONDON
    assert parse_recipient(Decimal("7700900123"), default_region="GB") == LONDON


@pytest.mark.parametrize(
    "value",
    [Decimal(text) for text in ("447700900123.5", "NaN", "sNaN", "Infinity", "-447700900123", "1E+999999")],
)
def test_a_decimal_that_is_no_phone_number_is_refused_in_words(value: Decimal) -> None:
    assert refusal(value).why == "is not a whole number of a phone number's length; give it as text"


@pytest.mark.parametrize("value", [b"447700900123", 4477j, Fraction(1, 2), object(), date(2030, 1, 1)])
def test_what_is_neither_text_nor_a_number_is_refused_by_its_type(value: object) -> None:
    name = type(value).__name__
    article = "an" if name[0] in "aeio" else "a"
    assert refusal(value).why == f"is {article} {name}, not a phone number; {REMEDY}"


def test_emergency_and_short_numbers_are_refused_in_their_own_region_too() -> None:
    for number, region in (("999", "GB"), ("911", "US"), ("110", "DE"), ("11833", "DE"), ("112", "FR")):
        assert "too short" in refusal(number, region).why


def test_a_short_number_is_accepted_in_a_country_with_numbers_of_that_length() -> None:
    faroese = phonenumbers.example_number_for_type("FO", PhoneNumberType.MOBILE)
    assert faroese is not None
    national = str(faroese.national_number)
    assert parse_recipient(national, default_region="FO") == f"298{national}"


def test_the_error_names_the_field_it_was_asked_for() -> None:
    with pytest.raises(InvalidValue, match=r"^--sender: is empty"):
        parse_recipient("", field="--sender")


def test_no_error_ever_shows_a_whole_number() -> None:
    for written in ("+44 7700 900123 x12", "447700900123/447700900124", "0447700900123 David"):
        text = str(refusal(written))
        assert "7700900123" not in text
        assert "900123 " not in text.replace("+44 7700 900123", "")


# -- the quick way gives what libphonenumber gives ----------------------------------------------------------------

REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
TYPES = range(11)


def both(written: str, region: str | None) -> tuple[str, str]:
    """What the quick way makes of it, and what asking libphonenumber every time does."""

    def result(parse: object) -> str:
        try:
            return str(parse())  # type: ignore[operator]
        except InvalidValue as error:
            return str(error)

    return (
        result(lambda: parse_recipient(written, default_region=region)),
        result(lambda: _parse_any_case(written, region, "to")),
    )


@st.composite
def near_numbers(draw: st.DrawFn) -> tuple[str, str | None]:
    """A number of any country and type with a few digits changed, and a default region that may be its own."""
    region = draw(st.sampled_from(REGIONS))
    number = phonenumbers.example_number_for_type(region, draw(st.sampled_from(TYPES)))
    if number is None:
        number = phonenumbers.example_number(region)
    assert number is not None
    national = draw(st.booleans())
    digits = list(
        phonenumbers.national_significant_number(number)
        if national
        else phonenumbers.format_number(number, PhoneNumberFormat.E164)[1:]
    )
    for place, digit in draw(
        st.lists(st.tuples(st.integers(0, 14), st.sampled_from("0123456789")), max_size=3)
    ):
        digits[place % len(digits)] = digit
    end = draw(st.sampled_from(["", "", "", "7", "42"]))
    front = draw(st.sampled_from(["", "", "+", "00", "0", "+ (", " "]))
    home = draw(st.sampled_from([None, region, region, "GB", "US", "DE", "IT", "AR", "BR", "MX", "RU"]))
    return front + "".join(digits) + end, home


@settings(max_examples=600, deadline=None)
@given(near_numbers())
@example(("95234567", "BQ"))
@example(("24792889", "AC"))
@example(("+672107609", None))
@example(("447700900123", "DE"))
def test_the_quick_way_is_libphonenumbers_way(case: tuple[str, str | None]) -> None:
    quick, careful = both(*case)
    assert quick == careful


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet="0123456789+ -()", max_size=24) | st.from_regex(r"\+?[1-9][0-9]{6,15}", fullmatch=True),
    st.sampled_from([None, "GB", "US", "DE", "IT"]),
)
def test_the_quick_way_is_libphonenumbers_way_for_any_digits(written: str, region: str | None) -> None:
    quick, careful = both(written, region)
    assert quick == careful


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.text(max_size=80), st.integers(), st.floats(), st.binary(max_size=20), st.lists(st.none()))
)
def test_whatever_is_in_a_cell_is_digits_or_a_refusal(value: object) -> None:
    refused: InvalidValue | None = None
    digits = ""
    try:
        digits = parse_recipient(value)
    except InvalidValue as error:
        refused = error
    if refused is not None:
        assert refused.why
        assert len(refused.value) <= 40
    else:
        assert digits.isascii()
        assert digits.isdigit()
        assert 7 <= len(digits) <= 15


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 999), st.randoms(use_true_random=False))
def test_what_was_made_of_a_number_is_made_of_it_again(n: int, dice: random.Random) -> None:
    digits = f"447700900{n:03d}"
    spaced = "".join(c + dice.choice(["", " ", "\u200b", "."]) for c in digits[:-3]) + digits[-3:]
    once = parse_recipient("+" + spaced)
    assert once == digits == parse_recipient(once)


# -- countries ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipient", "region"),
    [
        ("447700900123", "GB"),
        ("12025550123", "US"),
        ("33639980001", "FR"),
        ("61491570156", "AU"),
        ("870772001234", None),
        ("999123", None),
        ("", None),
    ],
)
def test_the_country_of_a_recipient_is_told_where_its_number_tells(
    recipient: str, region: str | None
) -> None:
    assert region_of(recipient) == region


def test_the_fast_country_of_a_number_is_that_of_the_tables() -> None:
    """Twice: the second time many answers are remembered."""
    samples = [
        f"{number.country_code}{phonenumbers.national_significant_number(number)}"
        for region in sorted(phonenumbers.SUPPORTED_REGIONS)
        for kind in (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE)
        if (number := phonenumbers.example_number_for_type(region, kind)) is not None
    ]
    assert len(samples) > 400
    for number in [*samples, *samples, "447700900123", "881612345678", "1", ""]:
        assert country_of(number) == region_of(number), number
