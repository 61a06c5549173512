"""The time at the recipient's: which time zones a number shows, and when the clocks there show a time. Pure.

A country with one zone gives it, by the table of countries in the time zone database (``zone.tab``). Numbers of the
United States and of Canada give the zones of their area code, by the table of libphonenumber. Any other number of a
country with several zones may be in each of them: a time has come when it has come in the last one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

from phonenumbers.tzdata import TIMEZONE_DATA

from bulksend.errors import InvalidValue
from bulksend.messaging.recipient import country_of
from bulksend.messaging.units import UTC, check_year, zone_of
from bulksend.messaging.value_checks import describe_type

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
#: Where a day begins first, but for some islands. In every zone the next time after that is of that day or a later one.
_EAST = "Etc/GMT-12"

#: Countries with telephones that the table of countries lacks, and China, which has one official time.
_ZONES_OF_COUNTRIES = {
    "XK": ("Europe/Belgrade",),
    "AC": ("Atlantic/St_Helena",),
    "TA": ("Atlantic/St_Helena",),
    "CN": ("Asia/Shanghai",),
}
#: Countries whose mobile numbers begin with an area code that the table of libphonenumber knows with certainty. In
#: other countries it has the zone of the capital for mobile numbers of everywhere (Russia, Australia, Indonesia).
_WITH_AREA_CODES = frozenset({"US", "CA"})
#: The digits of an area code with its country code, and of the longest part of an area that has another zone.
_AREA_DIGITS, _MOST_AREA_DIGITS = 4, 7

_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)
_DAY_AND_CLOCK = re.compile(r"(\d{4}-\d{2}-\d{2})[T ]([01]\d|2[0-3]):([0-5]\d)", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class Area:
    """Where a number may be: its country (ISO 3166) and the time zones there; none where the number shows none.

    There is one object for all numbers of an area, so that a dictionary finds what was computed for it.
    """

    country: str | None
    zones: tuple[str, ...]


def area_of(recipient: str) -> Area:
    """The area that a number shows."""
    country = country_of(recipient)
    if country in _WITH_AREA_CODES:
        for length in range(_MOST_AREA_DIGITS, _AREA_DIGITS - 1, -1):
            if (front := recipient[:length]) in TIMEZONE_DATA:
                return _area_by_code(country, front)
    return _area_of_country(country)


def area_in_zone(recipient: str, zone: str) -> Area:
    """The area of a number whose zone is known by name. Raises InvalidValue when there is no such zone."""
    zone_of(zone)
    return _area_with_zone(country_of(recipient), zone.strip())


@cache
def _area_of_country(country: str | None) -> Area:
    return Area(country, () if country is None else _zones_of_countries().get(country, ()))


@cache
def _area_by_code(country: str, front: str) -> Area:
    return Area(country, tuple(TIMEZONE_DATA[front]))


@cache
def _area_with_zone(country: str | None, zone: str) -> Area:
    return Area(country, (zone,))


@cache
def _zones_of_countries() -> dict[str, tuple[str, ...]]:
    """The zones of each country: lines of country, coordinates, zone, comment, apart by tabs."""
    table = resources.files("tzdata").joinpath("zoneinfo", "zone.tab").read_text("utf-8")
    found: dict[str, list[str]] = {}
    for line in table.splitlines():
        if line and not line.startswith("#"):
            country, _, zone, *_ = line.split("\t")
            found.setdefault(country, []).append(zone)
    return {country: tuple(zones) for country, zones in found.items()} | _ZONES_OF_COUNTRIES


def first_instant_ms(wall: datetime, zone: str) -> int:
    """The first instant at which the clocks of a zone show this time (without a zone) or a later one.

    Of a time that comes twice it is the first; of one that the clocks skip, the instant of the jump.
    """
    early, late = _instant(wall, zone, 0), _instant(wall, zone, 1)
    # In a gap the offset before it gives the later instant: the jump lies between the two.
    return early if early <= late else _jump_ms(late, early, zone)


def last_instant_ms(wall: datetime, zone: str) -> int:
    """As ``first_instant_ms``, but of a time that comes twice the second."""
    return max(first_instant_ms(wall, zone), _instant(wall, zone, 1))


def local_day(at_ms: int, zone: str) -> date:
    """The date in a zone."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(ZoneInfo(zone)).date()


def _instant(wall: datetime, zone: str, fold: int) -> int:
    placed = wall.replace(tzinfo=ZoneInfo(zone), fold=fold)
    return (placed - _EPOCH) // _SECOND * 1000


def _jump_ms(before_ms: int, after_ms: int, zone: str) -> int:
    """The second at which a zone takes the offset that it has at ``after_ms``; at ``before_ms`` it has another."""
    low, high = before_ms // 1000, after_ms // 1000
    offset = _offset(high, zone)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(middle, zone) == offset:
            high = middle
        else:
            low = middle
    return high * 1000


def _offset(at_s: int, zone: str) -> timedelta | None:
    return (_EPOCH + timedelta(seconds=at_s)).astimezone(ZoneInfo(zone)).utcoffset()


@dataclass(frozen=True, slots=True)
class LocalTime:
    """A time of day at the recipient's, on a day or on the next one that has not passed."""

    clock: time
    day: date | None = None

    def __str__(self) -> str:
        clock = f"{self.clock:%H:%M}"
        return clock if self.day is None else f"{self.day.isoformat()} {clock}"

    def due_ms(self, zones: Sequence[str], after_ms: int) -> int:
        """When it has come in all of the zones (at least one): on its day, else on the first day not before
        ``after_ms``.
        """
        if self.day is not None:
            return self._come_ms(self.day, zones)
        # Yesterday in UTC is today or earlier in every zone.
        day = local_day(after_ms, "UTC") - _DAY
        while (due := self._come_ms(day, zones)) < after_ms:
            day += _DAY
        return due

    def from_day_on(self, after_ms: int) -> LocalTime:
        """The same without its day, if that has passed at ``after_ms``: then it is due on the next one."""
        if self.day is None or self._come_ms(self.day, [_EAST]) > after_ms:
            return self
        return LocalTime(self.clock)

    def _come_ms(self, day: date, zones: Sequence[str]) -> int:
        wall = datetime.combine(day, self.clock)
        return max(first_instant_ms(wall, zone) for zone in zones)


def parse_local_time(text: object, *, field: str = "local_time") -> LocalTime:
    """``09:00``, or ``2030-03-01 09:00`` with its day. Raises InvalidValue for anything else."""
    if not isinstance(text, str):
        raise InvalidValue(field, describe_type(text), "is not text like 09:00")
    cleaned = text.strip()
    if found := _CLOCK.fullmatch(cleaned):
        return LocalTime(time(int(found[1]), int(found[2])))
    if found := _DAY_AND_CLOCK.fullmatch(cleaned):
        try:
            moment = datetime.fromisoformat(cleaned)
        except ValueError:
            raise InvalidValue(field, text[:40], "is a day that does not exist; correct it") from None
        check_year(moment, text, field)
        return LocalTime(moment.time(), moment.date())
    raise InvalidValue(
        field,
        text[:40],
        "is not a local time; write it like 09:00, or with its day like 2030-03-01 09:00, without an offset",
    )
