"""Durations, rates and instants as people write them (faults, section 7: 55 to 59)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.errors import InvalidValue
from bulksend.messaging import (
    format_duration,
    format_instant,
    parse_duration_ms,
    parse_instant_ms,
    parse_rate,
    zone_of,
)
from bulksend.messaging.units import counted

NOW = 1_900_000_000_000  # 2030-03-17T17:46:40Z
LIKE = "write it as ISO 8601 with its offset, like 2030-03-18T17:46:40+00:00"


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("10m", 600_000),
        ("90s", 90_000),
        ("1h30m", 5_400_000),
        ("1h 30m", 5_400_000),
        ("500ms", 500),
        ("2d", 172_800_000),
        ("1.5h", 5_400_000),
        (" 10M ", 600_000),
        ("PT10M", 600_000),
        ("pt1h30m", 5_400_000),
        ("P1DT2H", 93_600_000),
        ("PT0.5S", 500),
        ("0:10:00", 600_000),
        ("36:00:00.50", 129_600_500),
    ],
)
def test_a_duration_is_read_as_people_and_iso_write_it(text: str, ms: int) -> None:
    assert parse_duration_ms(text) == ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "m",
        "-10m",
        "10 minutes",
        "1h30",
        "P",
        "PT",
        "P1Y",
        "1m1",
        "١٠m",
        "ten",
        "10m;",
        "10:00",
        "0:60:00",
    ],
)
def test_what_is_no_duration_is_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_duration_ms(text, field="ttl")
    assert (caught.value.field, caught.value.value) == ("ttl", text)
    assert caught.value.why == "is not a duration; write it like 10m, 90s, 1h30m, 0:10:00 or PT10M"


@pytest.mark.parametrize("text", ["0s", "0.1ms", "367d", "999999999999d", "PT0S"])
def test_a_duration_of_nothing_or_more_than_a_year_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="must be at least a millisecond and at most 366 days"):
        parse_duration_ms(text)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0s"),
        (500, "0.5s"),
        (3_210, "3.2s"),
        (59_970, "1m 00s"),
        (130_000, "2m 10s"),
        (3_900_000, "1h 05m"),
        (183_600_000, "2d 3h"),
        (-500, "-0.5s"),
    ],
)
def test_a_duration_is_written_short_for_people(ms: int, text: str) -> None:
    assert format_duration(ms) == text


@given(st.integers(0, 10**15))
def test_no_duration_is_written_with_sixty_of_anything(ms: int) -> None:
    assert "60" not in format_duration(ms).split("d")[-1].split(".")[0]


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("40/s", 40.0),
        ("40", 40.0),
        (" 40 / sec ", 40.0),
        ("1000/m", 1000 / 60),
        ("3600/h", 1.0),
        ("0.5/s", 0.5),
        ("80 per second", 80.0),
    ],
)
def test_a_rate_is_messages_per_second(text: str, rate: float) -> None:
    assert parse_rate(text) == pytest.approx(rate)


@pytest.mark.parametrize("text", ["", "fast", "40/d", "-1", "40/s/s", "1e3", "nan", "inf", "٤٠"])
def test_what_is_no_rate_is_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_rate(text)
    assert (caught.value.field, caught.value.value) == ("rate", text)
    assert caught.value.why == "is not a rate; write it like 40/s or 1000/m"


@pytest.mark.parametrize("text", ["0", "0/s", "100001/s"])
def test_a_rate_of_nothing_or_beyond_all_senders_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="must be more than 0 and at most 100000/s"):
        parse_rate(text)


def instant(text: str, timezone: str | None = None) -> int:
    return parse_instant_ms(text, timezone=timezone, now_ms=NOW)


def refusal(text: str, timezone: str | None = None) -> InvalidValue:
    with pytest.raises(InvalidValue) as caught:
        instant(text, timezone)
    return caught.value


@pytest.mark.parametrize(
    ("text", "timezone", "iso"),
    [
        ("2030-03-01T09:00:00+01:00", None, "2030-03-01T08:00:00.000+00:00"),
        ("2030-03-01T09:00:00.123Z", None, "2030-03-01T09:00:00.123+00:00"),
        ("2030-03-01 09:00", "Europe/London", "2030-03-01T09:00:00.000+00:00"),
        ("2030-07-01T09:00", " Europe/London ", "2030-07-01T08:00:00.000+00:00"),
        ("2030-03-01", "Asia/Shanghai", "2030-02-28T16:00:00.000+00:00"),
        ("2030-03-01T09:00:00+01:00", "Asia/Shanghai", "2030-03-01T08:00:00.000+00:00"),
        ("2000-01-01T00:00Z", None, "2000-01-01T00:00:00.000+00:00"),
        ("2100-12-31T23:59:59Z", None, "2100-12-31T23:59:59.000+00:00"),
    ],
)
def test_an_instant_is_read_with_its_offset_or_in_the_zone_given(
    text: str, timezone: str | None, iso: str
) -> None:
    assert format_instant(instant(text, timezone)) == iso


def test_a_time_without_offset_and_zone_is_refused_with_the_remedy() -> None:
    error = refusal("2030-03-01T09:00:00")
    assert (error.field, error.value) == ("at", "2030-03-01T09:00:00")
    assert error.why == "has no offset; add one (+01:00 or Z) or name a time zone, like Europe/London"


def test_a_time_that_its_zone_skips_is_refused() -> None:
    error = refusal("2030-03-31T01:30:00", "Europe/London")
    assert error.why == "does not exist in Europe/London, where clocks skip it; choose another time"


def test_a_time_that_its_zone_has_twice_is_the_first() -> None:
    assert format_instant(instant("2030-10-27T01:30", "Europe/London")) == "2030-10-27T00:30:00.000+00:00"


@pytest.mark.parametrize("text", ["1900000000", "1900000000000", "1.9e9"[:3], "-5", "20300301"])
def test_a_bare_number_is_refused_because_its_unit_is_unknown(text: str) -> None:
    assert refusal(text).why == f"is a bare number of unknown unit; {LIKE}"


@pytest.mark.parametrize(
    "text",
    ["", "tomorrow", "2030-02-30T10:00Z", "2030-03-01T25:00Z", "01/03/2030", "10000-01-01T00:00Z", "1.9e9"],
)
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    assert refusal(text).why == f"is not a time; {LIKE}"


@pytest.mark.parametrize(
    "text",
    ["0001-01-01T00:00Z", "1999-12-31T23:59Z", "2101-01-01T00:00Z", "9999-12-31T23:59Z", "9999-12-31T23:59"],
)
def test_a_year_outside_2000_to_2100_is_refused(text: str) -> None:
    assert refusal(text).why == "has a year outside 2000 to 2100; check it"


@pytest.mark.parametrize(
    "name", ["", "Mars", "Europe", "GMT+1000", "../../etc/passwd", "/etc/passwd", "Europe/London\0"]
)
def test_a_zone_that_is_none_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        zone_of(name)
    assert (caught.value.field, caught.value.value) == ("timezone", name)
    assert caught.value.why == "is not a time zone; use an IANA name, like Europe/London"


@given(
    st.integers(946_684_800_000, 4_133_894_400_000),
    st.sampled_from([None, "Europe/London", "America/New_York"]),
)
def test_an_instant_that_was_written_is_read_again(ms: int, zone: str | None) -> None:
    assert instant(format_instant(ms), zone) == ms


@given(st.text(max_size=30), st.sampled_from([None, "Europe/London"]))
def test_any_text_is_an_instant_or_a_refusal(text: str, zone: str | None) -> None:
    try:
        ms = instant(text, zone)
    except InvalidValue:
        return
    assert 946_000_000_000 < ms < 4_133_990_000_000


def test_one_is_singular() -> None:
    assert [counted(n, "row") for n in (0, 1, 2000)] == ["0 rows", "1 row", "2,000 rows"]
    assert [counted(n, "person", "people") for n in (1, 2)] == ["1 person", "2 people"]
