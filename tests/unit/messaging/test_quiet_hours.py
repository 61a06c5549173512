"""Quiet hours: which rule counts for a number, when they end and begin, and their file. Compared with the clocks."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.errors import InvalidValue
from bulksend.messaging.local_time import Area, area_of
from bulksend.messaging.quiet_hours import QuietHours, QuietRule, QuietWindow, read_quiet_hours
from bulksend.messaging.states import Kind
from bulksend.messaging.units import format_instant, parse_instant_ms

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "quiet-hours.csv"
HEADER = "kind,where,quiet,days\n"
MINUTE = 60_000
DAY = timedelta(days=1)
ZONES = ("America/New_York", "Australia/Lord_Howe", "Asia/Beirut", "Europe/London")
LONDON, PARIS, MIAMI, CHICAGO, SATELLITE = (
    "447700900123",
    "33612345678",
    "13055550123",
    "13125550123",
    "881612345678",
)


def at(text: str) -> int:
    return parse_instant_ms(text, timezone=None, now_ms=0)


def quiet_hours(*lines: str) -> QuietHours:
    return read_quiet_hours(HEADER + "\n".join(lines))


def opens(of: QuietHours, number: str, when: str, kind: Kind = Kind.MARKETING) -> str | None:
    """When a message to a number that is due then may go out; None: then."""
    area = area_of(number)
    rule = of.rule(kind, number, area.country)
    if rule is None:
        return None
    open_hours = rule.open_hours(area, at(when))
    assert open_hours is not None
    return None if open_hours.begin == at(when) else format_instant(open_hours.begin)[:16]


# -- the clocks --------------------------------------------------------------------------------------------------------


def is_quiet(windows: tuple[QuietWindow, ...], zone: str, at_ms: int) -> bool:
    """By what the clocks show at an instant, and nothing else."""
    shown = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone))
    now, today, yesterday = shown.time(), shown.weekday(), (shown - DAY).weekday()
    return any(
        (today in w.days and w.begin <= now < w.end)
        if w.begin < w.end
        else (today in w.days and now >= w.begin) or (yesterday in w.days and now < w.end)
        for w in windows
    )


def changes_near(zone: str, begin_ms: int, end_ms: int) -> bool:
    """Whether the clocks are set within a day of this time."""
    days = range(begin_ms - 86_400_000, end_ms + 2 * 86_400_000, 3_600_000)
    return (
        len({datetime.fromtimestamp(ms / 1000, UTC).astimezone(ZoneInfo(zone)).utcoffset() for ms in days})
        > 1
    )


quarters = st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30, 45]))
windows = st.builds(
    QuietWindow, quarters, quarters, st.sets(st.integers(0, 6), min_size=1).map(frozenset)
).filter(lambda w: w.begin != w.end)
#: Hours of 2027, most of them in the weeks in which clocks are set.
hours = st.one_of(
    st.integers(0, 365 * 24 - 1),
    *(st.integers(24 * day, 24 * (day + 9)) for day in (69, 82, 90, 272, 300, 307)),
)


@given(
    st.sampled_from(ZONES), st.lists(windows, min_size=1, max_size=2).map(tuple), hours, st.integers(0, 59)
)
def test_open_hours_are_never_quiet_by_the_clocks_and_no_later_than_they_ask(
    zone: str, quiet: tuple[QuietWindow, ...], hour: int, minute: int
) -> None:
    now = at("2027-01-01T00:00:00Z") + hour * 60 * MINUTE + minute * MINUTE
    open_hours = QuietRule(quiet).open_hours(Area("XX", (zone,)), now)
    if open_hours is None:
        assert all(is_quiet(quiet, zone, now + n * 15 * MINUTE) for n in range(8 * 96))
        return
    assert open_hours.begin >= now
    until = min(open_hours.until or open_hours.begin + 2 * 86_400_000, open_hours.begin + 2 * 86_400_000)
    assert not any(is_quiet(quiet, zone, ms) for ms in range(open_hours.begin, until, 15 * MINUTE))
    if not changes_near(zone, now, until):
        assert all(is_quiet(quiet, zone, ms) for ms in range(now, open_hours.begin, 15 * MINUTE))
        assert open_hours.until is None or is_quiet(quiet, zone, open_hours.until)


@given(st.sampled_from(["79161234567", "61412345678", "19075550123", "14415550123"]), hours)
def test_a_number_that_may_be_in_several_zones_is_quiet_while_one_of_them_is(number: str, hour: int) -> None:
    night = (QuietWindow(time(21), time(8)),)
    area, now = area_of(number), at("2027-01-01T00:00:00Z") + hour * 60 * MINUTE
    open_hours = QuietRule(night).open_hours(area, now)
    assert open_hours is not None
    assert not any(is_quiet(night, zone, open_hours.begin) for zone in area.zones)
    if not any(changes_near(zone, now, open_hours.begin) for zone in area.zones):
        for ms in range(now, open_hours.begin, 15 * MINUTE):
            assert any(is_quiet(night, zone, ms) for zone in area.zones)


@pytest.mark.parametrize(
    ("when", "open_hours"),
    [
        ("2027-03-28T02:59:00+02:00", "2027-03-28T01:00"),  # before the jump at 02:00: the clocks show 01:59
        ("2027-03-28T01:30:00+01:00", "2027-03-28T01:00"),
        ("2027-10-31T02:15:00+02:00", "2027-10-31T01:30"),
        ("2027-10-31T02:45:00+02:00", "2027-10-31T01:30"),
        ("2027-10-31T02:15:00+01:00", "2027-10-31T01:30"),
        ("2027-10-31T02:30:00+01:00", None),
    ],
)
def test_quiet_hours_end_at_the_jump_and_at_the_second_of_a_time_that_comes_twice(
    when: str, open_hours: str | None
) -> None:
    of = quiet_hours("marketing,FR,01:00-02:30,")
    assert opens(of, PARIS, when) == open_hours


# -- which rule --------------------------------------------------------------------------------------------------------


def test_of_the_rules_for_a_number_the_most_specific_counts() -> None:
    of = quiet_hours(
        "marketing,*,22:00-07:00,",
        "marketing,US,21:00-08:00,",
        "marketing,+1305 +1786,20:00-09:00,",
        "marketing,GB,none,",
        "utility,US,23:00-06:00,",
    )
    night = "2027-06-02T01:30:00Z"  # 21:30 in Miami, 20:30 in Chicago, 02:30 in London, 03:30 in Paris
    assert opens(of, MIAMI, night) == "2027-06-02T13:00"
    assert opens(of, CHICAGO, night) is None
    assert opens(of, LONDON, night) is None
    assert opens(of, PARIS, night) == "2027-06-02T05:00"
    assert opens(of, MIAMI, night, Kind.UTILITY) is None
    assert opens(of, MIAMI, "2027-06-02T04:00:00Z", Kind.UTILITY) == "2027-06-02T10:00"
    assert opens(of, PARIS, night, Kind.UTILITY) is None
    assert not of.apply_to(Kind.OTP)
    assert of.rule(Kind.OTP, MIAMI, "US") is None


def test_lines_of_one_place_add_up_and_days_are_those_on_which_the_hours_begin() -> None:
    of = quiet_hours("marketing,FR,20:00-10:00,mon-fri", "marketing,FR,all day,sat sun")
    assert opens(of, PARIS, "2027-06-04T21:00:00+02:00") == "2027-06-06T22:00"  # Friday to Monday at midnight
    assert opens(of, PARIS, "2027-06-07T00:00:00+02:00") is None
    assert opens(of, PARIS, "2027-06-08T09:59:00+02:00") == "2027-06-08T08:00"


def test_a_number_without_a_zone_has_no_open_hours_unless_it_has_no_quiet_hours() -> None:
    of, area = quiet_hours("marketing,*,21:00-08:00,"), area_of(SATELLITE)
    rule = of.rule(Kind.MARKETING, SATELLITE, area.country)
    assert rule is not None
    assert rule.open_hours(area, at("2027-06-01T12:00:00Z")) is None
    none = quiet_hours("marketing,*,none,").rule(Kind.MARKETING, SATELLITE, None)
    assert none is not None
    assert none.open_hours(area, 5) == (5, None)


def test_zones_that_are_never_all_outside_of_quiet_hours_have_no_open_hours() -> None:
    rule = QuietRule((QuietWindow(time(13), time(9)),))
    area = area_of("79161234567")
    assert rule.open_hours(area, at("2027-06-01T12:00:00Z")) is None


# -- the file ----------------------------------------------------------------------------------------------------------


def test_the_example_is_read_and_holds_by_state() -> None:
    of = read_quiet_hours(EXAMPLE.read_text("utf-8"))
    evening = "2027-06-02T00:30:00Z"  # 20:30 in Miami, 19:30 in Chicago
    assert opens(of, MIAMI, evening) == "2027-06-02T12:00"
    assert opens(of, CHICAGO, evening) is None
    sunday = "2027-06-06T15:00:00Z"  # 10:00 in Houston
    assert opens(of, "17135550123", sunday) == "2027-06-06T17:00"
    assert opens(of, CHICAGO, sunday) is None
    assert opens(of, "6581234567", "2027-06-02T18:00:00Z", Kind.UTILITY) is None


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("", "has no rule"),
        ("# nothing\n", "has no rule"),
        ("kind,quiet\n", "is not the first line"),
        (HEADER + "otp,*,21:00-08:00,", "line 2: is never held"),
        (HEADER + "news,*,21:00-08:00,", "is not marketing or utility"),
        (HEADER + "# x\nmarketing,Mars,21:00-08:00,", "line 3: is not .* .got 'Mars'"),
        (HEADER + "marketing,,21:00-08:00,", "is not"),
        (HEADER + "marketing,+44x,21:00-08:00,", "is not"),
        (HEADER + "marketing,*,21-8,", "is not hours like"),
        (HEADER + "marketing,*,24:00-08:00,", "is not hours like"),
        (HEADER + "marketing,*,08:00-08:00,", "begins when it ends"),
        (HEADER + "marketing,*,21:00-08:00,monday", "are not days"),
        (HEADER + "marketing,*", "needs kind, where, quiet"),
        (HEADER + "marketing,*,all day,", "leaves no minute of the week"),
        (HEADER + "marketing,*,08:00-20:00,\nmarketing,*,20:00-08:00,", "leaves no minute of the week"),
        (HEADER + "marketing,*,none,\nmarketing,*,20:00-08:00,", "has `none` beside hours"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number_and_the_remedy(lines: str, why: str) -> None:
    with pytest.raises(InvalidValue, match=why):
        read_quiet_hours(lines, name="quiet.csv")


def test_days_may_go_over_the_end_of_a_week() -> None:
    of = quiet_hours("marketing,GB,12:00-13:00,sat-mon")
    rule = of.rule(Kind.MARKETING, LONDON, "GB")
    assert rule is not None
    assert rule.windows == (QuietWindow(time(12), time(13), frozenset({5, 6, 0})),)
