"""Which numbers are one person (case 04)."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneNumberFormat

from bulksend.messaging import parse_recipient
from bulksend.messaging.number_forms import canonical_number, is_same_person, number_forms

#: Numbers of the countries that have two forms, of any digits and of about the right length.
numbers = st.builds(
    str.__add__,
    st.sampled_from(
        ["52", "521", "54", "549", "55", "5531", "55319", "970", "972", "9705", "97259", "44", "1", "225"]
    ),
    st.text(alphabet="0123456789", min_size=4, max_size=11),
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("+55 31 98555-0124", "+55 31 8555-0124"),
        ("+55 11 96555-0124", "+55 11 6555-0124"),
        ("+54 9 11 5555 0124", "+54 11 5555 0124"),
        ("+54 9 11 5555 0124", "+54 11 15 5555 0124"),
        ("+54 9 2966 44 0124", "+54 2966 44 0124"),
        ("+521 55 5555 0124", "+52 55 5555 0124"),
        ("+970 59 123 4567", "+972 59 123 4567"),
    ],
)
def test_both_forms_of_a_number_are_one_person(one: str, other: str) -> None:
    """Case 04: an opt-out with one form did not cover the other."""
    assert is_same_person(parse_recipient(one), parse_recipient(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("553133550124", "5531933550124"),  # a fixed line, and a mobile that began with 9 from the start
        ("551135550124", "5511995550124"),
        ("5531985550124", "5532985550124"),
        ("5491155550124", "5491155550125"),
        ("390612345678", "39612345678"),  # Italy's 0 is part of the number
        ("970591234567", "972521234567"),
        ("2250712345678", "22507123456"),
        ("447700900123", "447700900124"),
    ],
)
def test_two_lines_are_two_people(one: str, other: str) -> None:
    assert not is_same_person(one, other)


@given(numbers)
def test_a_person_is_the_person_of_each_form(number: str) -> None:
    assert canonical_number(canonical_number(number)) == canonical_number(number)
    assert number_forms(number)[0] == canonical_number(number)
    assert number in number_forms(number)
    assert {canonical_number(form) for form in number_forms(number)} == {canonical_number(number)}
    assert {number_forms(form) for form in number_forms(number)} == {number_forms(number)}


@given(numbers, numbers)
def test_two_numbers_are_one_person_only_where_each_is_a_form_of_the_other(one: str, other: str) -> None:
    assert is_same_person(one, other) == (one in number_forms(other)) == (other in number_forms(one))


@given(numbers)
def test_two_numbers_of_one_length_and_one_country_code_are_never_one_person(number: str) -> None:
    """In one numbering plan a form adds or leaves out a digit; only Palestine's has two codes."""
    assert len(
        {(len(form), form[:3] in {"970", "972"} and form[:3]) for form in number_forms(number)}
    ) == len(number_forms(number))


def test_only_the_countries_that_are_named_have_two_forms() -> None:
    two = set()
    for region in phonenumbers.SUPPORTED_REGIONS:
        for kind in range(3):
            number = phonenumbers.example_number_for_type(region, kind)
            if number is not None:
                digits = phonenumbers.format_number(number, PhoneNumberFormat.E164)[1:]
                if len(number_forms(digits)) > 1:
                    two.add(region)
    assert two == {"BR", "AR", "MX", "PS"}
