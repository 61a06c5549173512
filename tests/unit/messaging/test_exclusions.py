"""Who of a campaign's recipients is left out: caps, the people of other campaigns, what arguments mean."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.errors import InvalidValue
from bulksend.messaging.argument_naming import as_cli_option, as_json_field
from bulksend.messaging.exclusions import (
    Cap,
    Exclusions,
    PeopleOf,
    exceeds_cap,
    parse_cap,
    parse_people,
    read_exclusions,
)
from bulksend.messaging.states import Kind

DAY = 86_400_000
TWICE_A_WEEK = Cap(2, 7 * DAY)


@pytest.mark.parametrize(
    ("text", "cap", "shown"),
    [
        ("2/7d", TWICE_A_WEEK, "2/7d"),
        (" 1 / 24h ", Cap(1, DAY), "1/1d"),
        ("10/90m", Cap(10, 5_400_000), "10/90m"),
        ("3/PT36H", Cap(3, 36 * 3_600_000), "3/36h"),
        ("1/1500ms", Cap(1, 1500), "1/1500ms"),
    ],
)
def test_a_cap_is_a_number_of_messages_in_a_time(text: str, cap: Cap, shown: str) -> None:
    assert (parse_cap(text), str(cap)) == (cap, shown)
    assert parse_cap(shown) == cap


@pytest.mark.parametrize(
    "text", ["", "2", "2/", "/7d", "0/7d", "-1/7d", "2/week", "2/7d/1d", "2/0s", "99999/7d"]
)
def test_what_is_no_cap_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        parse_cap(text, field="--cap")
    assert refused.value.field == "--cap"


@pytest.mark.parametrize(
    ("days", "at", "too_many"),
    [
        ([], 0, False),
        ([0], 3, False),
        ([0, 1], 3, True),
        ([0, 1], 7, False),  # the first is seven days ago
        ([0, 6], 7, False),
        ([1, 6], 7, True),
        # Days to come count, too; six days before and six days after are not within one week.
        ([8, 9], 7, True),
        ([1, 13], 7, False),
        ([2, 8], 7, True),
        # Others than the cap's made this many; a span without this message says nothing about it.
        ([0, 1, 2, 3], 9, False),
    ],
)
def test_a_cap_holds_in_every_span_with_the_message(days: list[int], at: int, too_many: bool) -> None:
    assert exceeds_cap([day * DAY for day in days], at * DAY, TWICE_A_WEEK) is too_many


@given(st.lists(st.integers(0, 60), max_size=12), st.integers(0, 60), st.integers(1, 4), st.integers(1, 20))
def test_a_cap_is_what_a_count_of_every_span_says(times: list[int], at: int, most: int, within: int) -> None:
    counts = [
        sum(start <= time < start + within for time in times) for start in range(at - within + 1, at + 1)
    ]
    assert exceeds_cap(times, at, Cap(most, within)) is (max(counts) >= most)


@pytest.mark.parametrize(
    ("texts", "people"),
    [
        (["spring"], (PeopleOf("spring"),)),
        (["spring:unsent", "a:b"], (PeopleOf("spring", unsent=True), PeopleOf("a:b"))),
        (["spring", " spring "], (PeopleOf("spring"),)),
        ("spring", (PeopleOf("spring"),)),
        ([], ()),
    ],
)
def test_people_of_a_campaign_are_named_by_it(texts: list[str] | str, people: tuple[PeopleOf, ...]) -> None:
    assert parse_people(texts, field="--exclude") == people


@pytest.mark.parametrize("texts", [[""], [":unsent"], [f"c{n}" for n in range(21)]])
def test_people_of_no_campaign_or_of_too_many_are_refused(texts: list[str]) -> None:
    with pytest.raises(InvalidValue, match="--only"):
        parse_people(texts, field="--only")


def read(kind: Kind = Kind.MARKETING, **named: Any) -> Exclusions:
    usual: dict[str, Any] = {"cap": None, "exclude": (), "only": (), "require_consent": False}
    return read_exclusions(kind, **(usual | {"default_cap": "2/7d", "naming": as_cli_option} | named))


def test_the_installations_cap_is_of_marketing_without_a_cap_of_its_own() -> None:
    assert read().cap == TWICE_A_WEEK
    assert read(default_cap=None).cap is None
    assert read(cap="1/1d").cap == Cap(1, DAY)
    assert read(cap="none").cap is None
    assert read(Kind.UTILITY).cap is None


@pytest.mark.parametrize("kind", [Kind.OTP, Kind.UTILITY])
def test_a_cap_is_refused_for_other_kinds_than_marketing(kind: Kind) -> None:
    with pytest.raises(InvalidValue, match=f"--cap.*{kind.value}"):
        read(kind, cap="2/7d")


def test_an_argument_is_named_as_the_caller_wrote_it() -> None:
    with pytest.raises(InvalidValue) as refused:
        read(only=[":unsent"], naming=as_json_field)
    assert refused.value.field == "only"


@pytest.mark.parametrize(
    "exclusions",
    [
        Exclusions(),
        Exclusions(cap=TWICE_A_WEEK),
        Exclusions(exclude=(PeopleOf("a"), PeopleOf("b", unsent=True)), require_consent=True),
        Exclusions(only=(PeopleOf("a", unsent=True),)),
    ],
)
def test_the_ledger_keeps_exclusions_as_they_are(exclusions: Exclusions) -> None:
    assert Exclusions.from_json(exclusions.to_json()) == exclusions
    assert (exclusions.to_json() is None) is (exclusions == Exclusions())
