"""Durations, rates, instants and choices as people write them.

The values are milliseconds since the Unix epoch (instants), milliseconds (durations) and messages per second (rates).
Every ``parse_`` and ``check_`` function raises InvalidValue when the text is not valid.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bulksend.errors import InvalidValue
from bulksend.messaging.sentences import Sentence, say

# The parameter ``timezone`` of parse_instant_ms hides the class of that name; UTC is needed beside it.
UTC = timezone.utc  # noqa: UP017
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)

Choice = TypeVar("Choice", bound=StrEnum)
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(?:\d{1,12}(?:\.\d{1,9})?(?:ms|s|m|h|d)\s*)+", re.ASCII)
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h|d)", re.ASCII)
_ISO_DURATION = re.compile(
    r"P(?:(?P<d>\d{1,9})D)?(?:T(?=\d)(?:(?P<h>\d{1,9})H)?(?:(?P<m>\d{1,9})M)?(?:(?P<s>\d{1,9}(?:\.\d{1,9})?)S)?)?",
    re.ASCII,
)
_CLOCK = re.compile(r"(\d{1,5}):([0-5]\d):([0-5]\d(?:\.\d{1,9})?)", re.ASCII)
_LONGEST_MS = 366 * 86_400_000

_RATE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(?:(?:/|per)\s*(s|sec|second|m|min|minute|h|hour))?", re.ASCII)
_PER_SECONDS = {"s": 1, "m": 60, "h": 3600}
_FASTEST = 100_000

#: The due time of what is not scheduled: the first instant of the year 9000.
NEVER_MS = 221_845_392_000_000
#: A due time that passed no longer ago than this means now: clocks differ, and typing a command takes time.
LATE_MS = 300_000

_BARE_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?", re.ASCII)
_YEARS = range(2000, 2101)


def parse_duration_ms(text: str, *, field: str = "duration") -> int:
    """A duration in milliseconds: ``10m``, ``90s``, ``1h30m``, ``500ms``, ``2d``, ``0:10:00`` or ISO 8601 ``PT10M``."""
    cleaned = text.strip().lower()
    if _DURATION.fullmatch(cleaned):
        length = sum(float(number) * _UNITS_MS[unit] for number, unit in _PART.findall(cleaned))
    elif (iso := _ISO_DURATION.fullmatch(cleaned.upper())) and any(iso.groups()):
        length = sum(float(iso[unit]) * _UNITS_MS[unit] for unit in "dhms" if iso[unit])
    elif clock := _CLOCK.fullmatch(cleaned):
        hours, minutes, seconds = map(float, clock.groups())
        length = 1000 * (3600 * hours + 60 * minutes + seconds)
    else:
        raise InvalidValue(
            field, text[:40], "is not a duration; write it like 10m, 90s, 1h30m, 0:10:00 or PT10M"
        )
    return check_duration_ms(length, text, field)


def check_duration_ms(length: float, text: str, field: str) -> int:
    """``length`` in whole milliseconds, if it is up to a year; ``text`` is how it was written."""
    if not 1 <= length <= _LONGEST_MS:
        raise InvalidValue(field, text[:40], "must be at least a millisecond and at most 366 days")
    return round(length)


def format_duration(ms: int) -> str:
    """Short, for people: ``0.5s``, ``2m 10s``, ``1h 05m``, ``2d 3h``."""
    if ms < 0:
        return "-" + format_duration(-ms)
    if ms < 59_950:
        return say("{s}s", s=f"{ms / 1000:.1f}" if ms % 1000 else ms // 1000)
    seconds = round(ms / 1000)
    if seconds < 3600:
        return say("{m}m {s}s", m=seconds // 60, s=f"{seconds % 60:02d}")
    if seconds < 86_400:
        return say("{h}h {m}m", h=seconds // 3600, m=f"{seconds % 3600 // 60:02d}")
    return say("{d}d {h}h", d=seconds // 86_400, h=seconds % 86_400 // 3600)


def counted(count: int, one: str, many: str = "") -> str:
    """``1 message``, ``2,000 messages``; ``many`` where the plural is not ``one`` with an s."""
    return Sentence(f"{{count}} {one if count == 1 else many or one + 's'}", {"count": f"{count:,}"})


def format_age(ms: int) -> str:
    """A duration for people, in whole units, rounded down: ``3 minutes``, ``26 hours``, ``362 days``."""
    for unit, length in (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1000)):
        if ms >= 2 * length or unit == "second":
            count = ms // length
            return counted(count, unit)
    raise AssertionError("seconds are always left")


def parse_rate(text: str, *, field: str = "rate") -> float:
    """``40/s``, ``40`` (per second), ``1000/m``: messages per second."""
    found = _RATE.fullmatch(text.strip().lower())
    if found is None:
        raise InvalidValue(field, text[:40], "is not a rate; write it like 40/s or 1000/m")
    rate = float(found[1]) / _PER_SECONDS[(found[2] or "s")[0]]
    if not 0 < rate <= _FASTEST:
        raise InvalidValue(field, text[:40], f"must be more than 0 and at most {_FASTEST}/s")
    return rate


#: The largest weight of a campaign.
_HEAVIEST = 100


def check_weight(weight: object, *, field: str = "weight") -> int:
    """A campaign's weight: a whole number from 1 to 100."""
    if not isinstance(weight, int) or isinstance(weight, bool) or not 1 <= weight <= _HEAVIEST:
        raise InvalidValue(field, str(weight)[:40], f"must be a whole number from 1 to {_HEAVIEST}")
    return weight


_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,4})?)\s*%", re.ASCII)


def parse_share(text: str, *, field: str = "share") -> float:
    """``5%``, ``0.5%``: 0.05, 0.005."""
    found = _SHARE.fullmatch(text.strip())
    if found is None or float(found[1]) > 100:
        raise InvalidValue(field, text[:40], "is not a share from 0% to 100%; write it like 5% or 0.5%")
    return float(found[1]) / 100


def format_due(ms: int) -> str | None:
    """A due time as JSON has it; None for never."""
    return None if ms >= NEVER_MS else format_instant(ms)


def format_share(share: float) -> str:
    """``5%``, ``0.5%``."""
    return f"{share * 100:.6g}%"


def parse_choice(choices: type[Choice], text: str, *, field: str) -> Choice:
    """``hold`` or ``resend``: the error lists what there is."""
    try:
        return choices(text)
    except ValueError:
        raise InvalidValue(field, str(text)[:40], f"is not one of {', '.join(choices)}") from None


def sent_by_ms(due: Mapping[int, int], rate: float) -> int:
    """When the last message is sent at ``rate`` a second. ``due`` counts the messages of each instant; not empty.

    A message waits for its due time and for those before it.
    """
    at = float(min(due))
    for instant in sorted(due):
        at = max(at, instant) + due[instant] * 1000 / rate
    return round(at)


def parse_instant_ms(text: str, *, timezone: str | None, now_ms: int, field: str = "at") -> int:
    """Milliseconds since the epoch of an ISO 8601 time with an offset, or without one in ``timezone``.

    A bare number is refused (its unit is unknown), and a time that the zone skips (DST gap), and a year outside 2000 to
    2100. Of a time that the zone has twice, the first is meant. ``now_ms`` is only for the example in errors.
    """
    cleaned = text.strip()
    if _BARE_NUMBER.fullmatch(cleaned):
        why = f"is a bare number of unknown unit; {_example(now_ms)}"
        raise InvalidValue(field, text[:40], why)
    try:
        moment = datetime.fromisoformat(cleaned)
    except ValueError:
        raise InvalidValue(field, text[:40], f"is not a time; {_example(now_ms)}") from None
    check_year(moment, text, field)
    if moment.tzinfo is None:
        moment = _in_zone(moment, timezone, field, text)
    return (moment - _EPOCH) // _MS


def check_year(moment: datetime, text: str, field: str) -> None:
    """Refuse a year that must be a mistake, such as of milliseconds taken for seconds."""
    if moment.year not in _YEARS:
        raise InvalidValue(field, text[:40], "has a year outside 2000 to 2100; check it")


def is_long_past(at_ms: int, now_ms: int) -> bool:
    """Whether a due time lies more than LATE_MS before ``now_ms``."""
    return at_ms < now_ms - LATE_MS


def long_past(at_ms: int, now_ms: int, text: str, field: str, remedy: str) -> InvalidValue:
    """The error for a due time that is long past; ``remedy`` says how to send now."""
    return InvalidValue(field, text[:40], f"is {format_age(now_ms - at_ms)} ago; {remedy} to send now")


def _example(now_ms: int) -> str:
    tomorrow = _EPOCH + timedelta(seconds=now_ms // 1000 + 86_400)
    return f"write it as ISO 8601 with its offset, like {tomorrow.isoformat()}"


def _in_zone(moment: datetime, name: str | None, field: str, text: str) -> datetime:
    if name is None:
        raise InvalidValue(
            field, text[:40], "has no offset; add one (+01:00 or Z) or name a time zone, like Europe/London"
        )
    zone = zone_of(name)
    placed = moment.replace(tzinfo=zone, fold=0)
    if placed.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != moment:
        raise InvalidValue(
            field, text[:40], f"does not exist in {name.strip()}, where clocks skip it; choose another time"
        )
    return placed


def zone_of(name: str, *, field: str = "timezone") -> ZoneInfo:
    """A time zone by its IANA name. Raises InvalidValue when there is none."""
    try:
        return ZoneInfo(name.strip())
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidValue(
            field, name[:40], "is not a time zone; use an IANA name, like Europe/London"
        ) from None


def format_instant(ms: int) -> str:
    """ISO 8601 in UTC with milliseconds, ``2030-03-01T08:00:00.000+00:00``."""
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")


def format_in_zone(ms: int, zone: str) -> str:
    """A time for people, to the second, in an IANA zone: ``2030-03-01 09:00:00``."""
    moment = (_EPOCH + timedelta(milliseconds=ms)).astimezone(zone_of(zone))
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def format_schedule(ms: int, zone: str) -> str:
    """A due time for people, in its zone and in UTC: ``2030-03-01 09:00:00 Europe/Paris (2030-03-01 08:00:00 UTC)``."""
    in_utc = f"{format_in_zone(ms, 'UTC')} UTC"
    return in_utc if zone == "UTC" else f"{format_in_zone(ms, zone)} {zone} ({in_utc})"
