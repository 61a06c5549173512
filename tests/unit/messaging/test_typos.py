"""A number that one slip turns into a known one is pointed out; another number is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.messaging.typos import one_edit_away

KNOWN = "8615000579987"
DIGITS = st.text("0123456789", min_size=7, max_size=15)


@pytest.mark.parametrize(
    ("typed", "slip"),
    [
        ("8615000579988", "the last digit replaced"),
        ("9615000579987", "the first digit replaced"),
        ("861500057987", "a digit missing"),
        ("615000579987", "the first digit missing"),
        ("861500057998", "the last digit missing"),
        ("86150005799887", "a digit added"),
        ("86150005799871", "a digit added at the end"),
        ("8615000597987", "two neighbours swapped"),
        ("8615000579978", "the last two swapped"),
        ("6815000579987", "the first two swapped"),
    ],
)
def test_one_slip_is_seen(typed: str, slip: str) -> None:
    assert one_edit_away(typed, ["447700900123", KNOWN]) == [KNOWN], slip


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (KNOWN, "the number itself"),
        ("8615000578888", "three digits replaced"),
        ("8615000579886", "two digits replaced"),
        ("86150005799", "two digits missing"),
        ("8516000597987", "two swaps"),
        ("447700900123", "another number"),
        ("", "nothing"),
    ],
)
def test_more_than_one_slip_is_another_number(typed: str, why: str) -> None:
    assert one_edit_away(typed, [KNOWN]) == [], why


@given(DIGITS, st.data())
def test_every_slip_is_seen_in_both_directions(number: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(number) - 1))
    digit = data.draw(st.sampled_from("0123456789"))
    slips = {
        number[:at] + digit + number[at + 1 :],
        number[:at] + number[at + 1 :],
        number[:at] + digit + number[at:],
        number[:at] + number[at + 1 : at + 2] + number[at : at + 1] + number[at + 2 :],
    } - {number}
    for typed in slips:
        assert one_edit_away(typed, [number]) == [number]
        assert one_edit_away(number, [typed]) == [typed]


@given(DIGITS, DIGITS)
def test_it_is_the_same_in_both_directions(one: str, other: str) -> None:
    assert bool(one_edit_away(one, [other])) == bool(one_edit_away(other, [one]))
