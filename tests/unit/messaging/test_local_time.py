"""Which time zones a number shows, and when the clocks there show a time; clocks that are set forward and back."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulksend.errors import InvalidValue
from bulksend.messaging.local_time import (
    LocalTime,
    area_in_zone,
    area_of,
    first_instant_ms,
    last_instant_ms,
    parse_local_time,
)
from bulksend.messaging.units import parse_instant_ms

SECOND, HOUR = 1_000, 3_600_000
#: An hour in March, half an hour in April, and at midnight into the day before.
ZONES = ("America/New_York", "Australia/Lord_Howe", "Asia/Beirut", "Europe/London")


def at(text: str) -> int:
    return parse_instant_ms(text, timezone=None, now_ms=0)


def wall(at_ms: int, zone: str) -> datetime:
    """What the clocks of a zone show, asked of zoneinfo alone."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def near_a_change(zone: str) -> st.SearchStrategy[datetime]:
    """Times of the days around the changes of 2027 and 2028."""
    noons = [datetime.fromisoformat("2027-01-01T12:00") + timedelta(days=n) for n in range(730)]
    changes = [
        day
        for day in noons
        if (ZoneInfo(zone).utcoffset(day) != ZoneInfo(zone).utcoffset(day + timedelta(days=1)))
    ]
    return st.builds(
        lambda day, minutes: day + timedelta(minutes=minutes),
        st.sampled_from(changes),
        st.integers(-24 * 60, 36 * 60),
    )


zones_and_times = st.sampled_from(ZONES).flatmap(lambda zone: st.tuples(st.just(zone), near_a_change(zone)))


@pytest.mark.parametrize(
    ("number", "country", "zones"),
    [
        ("447700900123", "GB", ("Europe/London",)),
        ("919876543210", "IN", ("Asia/Kolkata",)),
        ("8613812345678", "CN", ("Asia/Shanghai",)),
        ("12025550123", "US", ("America/New_York",)),
        ("13105550123", "US", ("America/Los_Angeles",)),
        ("18085550123", "US", ("Pacific/Honolulu",)),
        ("19075550123", "US", ("America/Adak", "America/Anchorage")),
        ("15062345678", "CA", ("America/Halifax",)),
        ("18765550123", "JM", ("America/Jamaica",)),
        ("38344123456", "XK", ("Europe/Belgrade",)),
        ("881612345678", None, ()),
    ],
)
def test_a_number_shows_its_country_and_where_it_can_its_zone(
    number: str, country: str | None, zones: tuple[str, ...]
) -> None:
    area = area_of(number)
    assert (area.country, area.zones) == (country, zones)
    assert area_of(number) is area


@pytest.mark.parametrize(
    ("number", "least"), [("79161234567", 20), ("61412345678", 10), ("5511912345678", 15)]
)
def test_a_mobile_number_of_a_country_with_several_zones_may_be_in_each(number: str, least: int) -> None:
    """The table of libphonenumber has Moscow and Sydney for all of them."""
    assert len(area_of(number).zones) >= least


def test_every_country_with_telephones_has_zones_that_exist() -> None:
    codes = phonenumbers.COUNTRY_CODE_TO_REGION_CODE
    for country in phonenumbers.SUPPORTED_REGIONS:
        number = phonenumbers.example_number_for_type(country, phonenumbers.PhoneNumberType.MOBILE)
        number = number or phonenumbers.example_number(country)
        assert number is not None
        area = area_of(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:])
        assert area.zones, country
        assert area.country in codes[number.country_code or 0], country
        for zone in area.zones:
            ZoneInfo(zone)


def test_a_given_zone_is_the_only_one() -> None:
    area = area_in_zone("79161234567", " Asia/Omsk ")
    assert (area.country, area.zones) == ("RU", ("Asia/Omsk",))
    assert area_in_zone("79165550123", "Asia/Omsk") is area
    with pytest.raises(InvalidValue, match="is not a time zone"):
        area_in_zone("79161234567", "Mars/Olympus")


@given(zones_and_times)
@example(("America/New_York", datetime.fromisoformat("2027-03-14T02:30")))
@example(("America/New_York", datetime.fromisoformat("2027-11-07T01:30")))
@example(("Australia/Lord_Howe", datetime.fromisoformat("2027-10-03T02:15")))
def test_the_first_instant_is_the_first_at_which_the_clocks_show_it_or_more(
    case: tuple[str, datetime],
) -> None:
    zone, wanted = case
    first, last = first_instant_ms(wanted, zone), last_instant_ms(wanted, zone)
    assert wall(first, zone) >= wanted
    assert wall(first - SECOND, zone) < wanted
    assert first <= last <= first + HOUR
    # After the last one the clocks never show less again.
    assert all(wall(last + n * 60 * SECOND, zone) >= wanted for n in range(180))
    if wall(first, zone) == wanted:
        assert wall(last, zone) == wanted


def test_what_the_clocks_skip_is_the_jump_and_what_comes_twice_the_first() -> None:
    skipped, twice = datetime.fromisoformat("2027-03-28T02:30"), datetime.fromisoformat("2027-10-31T02:30")
    assert first_instant_ms(skipped, "Europe/Paris") == at("2027-03-28T01:00:00Z")
    assert last_instant_ms(skipped, "Europe/Paris") == at("2027-03-28T01:00:00Z")
    assert first_instant_ms(twice, "Europe/Paris") == at("2027-10-31T00:30:00Z")
    assert last_instant_ms(twice, "Europe/Paris") == at("2027-10-31T01:30:00Z")


@given(zones_and_times, st.times(), st.integers(0, 86_400))
def test_a_local_time_is_due_on_the_first_day_on_which_it_has_not_passed(
    case: tuple[str, datetime], clock: time, seconds: int
) -> None:
    zone, near = case
    clock = clock.replace(second=0, microsecond=0, tzinfo=None)
    after = first_instant_ms(near, zone) + seconds * SECOND
    due = LocalTime(clock).due_ms([zone], after)
    assert due >= after
    shown = wall(due, zone)
    # The same day or the next one; at that time, or at the end of the gap in which it lies.
    assert shown.date() - wall(after, zone).date() <= timedelta(days=1)
    assert due == first_instant_ms(datetime.combine(shown.date(), clock), zone)
    before = datetime.combine(shown.date() - timedelta(days=1), clock)
    assert first_instant_ms(before, zone) < after


@given(
    st.sampled_from(["79161234567", "61412345678", "19075550123", "5511912345678"]), st.integers(0, 400 * 24)
)
def test_in_a_country_with_several_zones_it_has_come_in_all_of_them(number: str, hours: int) -> None:
    zones = area_of(number).zones
    after = at("2027-01-01T00:00:00Z") + hours * HOUR
    due = LocalTime(time(9)).due_ms(zones, after)
    assert after <= due <= after + 25 * HOUR
    shown = [wall(due, zone) for zone in zones]
    assert min(moment.time() for moment in shown) == time(9)
    assert len({moment.date() for moment in shown}) == 1


def test_a_local_time_with_its_day_is_due_on_that_day_however_late_it_is() -> None:
    wanted = LocalTime(time(9), date(2030, 3, 1))
    assert wanted.due_ms(["Europe/Paris"], at("2031-01-01T00:00:00Z")) == at("2030-03-01T08:00:00Z")
    assert wanted.due_ms(["Atlantic/Canary", "Europe/Madrid"], 0) == at("2030-03-01T09:00:00Z")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("09:00", "09:00"),
        (" 9:05 ", "09:05"),
        ("23:59", "23:59"),
        ("2030-03-01 09:00", "2030-03-01 09:00"),
        ("2030-03-01T09:00", "2030-03-01 09:00"),
    ],
)
def test_a_local_time_is_read_with_or_without_its_day(text: str, shown: str) -> None:
    assert str(parse_local_time(text)) == shown
    assert parse_local_time(shown) == parse_local_time(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("24:00", "is not a local time"),
        ("9", "is not a local time"),
        ("9am", "is not a local time"),
        ("09:00:00", "is not a local time"),
        ("2030-03-01T09:00Z", "without an offset"),
        ("2030-02-30 09:00", "a day that does not exist"),
        ("1030-02-03 09:00", "has a year outside 2000 to 2100"),
    ],
)
def test_what_is_no_local_time_is_refused_with_how_to_write_it(text: str, why: str) -> None:
    with pytest.raises(InvalidValue, match=why):
        parse_local_time(text)
