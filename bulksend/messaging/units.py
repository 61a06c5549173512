"""Durations, rates and instants as people write them.

Everything inside is milliseconds since the Unix epoch (instants), milliseconds (durations) and messages per
second (rates). All raise InvalidValue with the remedy.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bulksend.messaging.errors import InvalidValue

_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_ISO = re.compile(
    r"P(?:(?P<d>\d+)D)?(?:T(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?", re.ASCII
)
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:/\s*(s|sec|second|m|min|minute|h|hour))?", re.ASCII)
_PER_S = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600}
_LONGEST_MS = 366 * 86_400_000


def parse_duration_ms(text: str, *, field: str = "duration") -> int:
    """``10m``, ``90s``, ``1h30m``, ``500ms``, ``2d`` or ISO 8601 ``PT10M``, in milliseconds."""
    cleaned = text.strip()
    parts = _PART.findall(cleaned.lower())
    if parts and "".join(number + unit for number, unit in parts) == cleaned.lower():
        length = sum(float(number) * _UNITS_MS[unit] for number, unit in parts)
    elif (iso := _ISO.fullmatch(cleaned.upper())) and any(iso.groups()):
        length = sum(float(iso[unit]) * _UNITS_MS[unit] for unit in "dhms" if iso[unit])
    else:
        raise InvalidValue(field, text[:40], "is not a duration; write it like 10m, 90s, 1h30m or PT10M")
    if not 0 < length <= _LONGEST_MS:
        raise InvalidValue(field, text[:40], "must be longer than nothing and at most a year")
    return int(length)


def format_duration(ms: int) -> str:
    """Short, for people: ``1h 05m``, ``2m 10s``, ``3.2s``."""
    if ms < 60_000:
        return f"{ms / 1000:.1f}s" if ms % 1000 else f"{ms // 1000}s"
    seconds = round(ms / 1000)
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02d}s"
    if seconds < 86_400:
        return f"{seconds // 3600}h {seconds % 3600 // 60:02d}m"
    return f"{seconds // 86_400}d {seconds % 86_400 // 3600}h"


def parse_rate(text: str, *, field: str = "rate") -> float:
    """``40/s``, ``40`` (per second), ``1000/m``: messages per second."""
    found = _RATE.fullmatch(text.strip().lower())
    if found is None:
        raise InvalidValue(field, text[:40], "is not a rate; write it like 40/s or 1000/m")
    rate = float(found[1]) / _PER_S[found[2] or "s"]
    if not 0 < rate <= 100_000:
        raise InvalidValue(field, text[:40], "must be more than 0 and at most 100000/s")
    return rate


def parse_instant_ms(text: str, *, timezone: str | None, now_ms: int, field: str = "at") -> int:
    """ISO 8601 with an offset, or without one in ``timezone``.

    Refused: a bare number (seconds? milliseconds?), a time that its zone skips (DST gap), a year outside
    2000-2100. A time that its zone has twice is taken as the first.
    """
    cleaned = text.strip()
    if re.fullmatch(r"[+-]?\d+(\.\d+)?", cleaned, re.ASCII):
        raise InvalidValue(
            field, text[:40], "is a bare number; write the time as ISO 8601, like 2030-03-01T09:00:00+01:00"
        )
    try:
        moment = datetime.fromisoformat(cleaned)
    except ValueError:
        raise InvalidValue(
            field, text[:40], "is not a time; write it as ISO 8601, like 2030-03-01T09:00:00+01:00"
        ) from None
    if not 2000 <= moment.year <= 2100:
        raise InvalidValue(field, text[:40], "has a year outside 2000 to 2100")
    if moment.tzinfo is None:
        moment = _in_zone(moment, timezone, field, text)
    return int(moment.timestamp() * 1000)


def _in_zone(moment: datetime, name: str | None, field: str, text: str) -> datetime:
    if name is None:
        raise InvalidValue(
            field, text[:40], "has no offset; add one (+01:00 or Z) or name a time zone, like Europe/London"
        )
    zone = zone_of(name)
    placed = moment.replace(tzinfo=zone, fold=0)
    back = placed.astimezone(UTC).astimezone(zone).replace(tzinfo=None)
    if back != moment:
        raise InvalidValue(
            field, text[:40], f"does not exist in {name}: the clocks skip it; choose another time"
        )
    return placed


def zone_of(name: str, *, field: str = "timezone") -> ZoneInfo:
    """A time zone by its IANA name."""
    try:
        return ZoneInfo(name.strip())
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidValue(
            field, name[:40], "is not a time zone; use an IANA name, like Europe/London"
        ) from None


UTC = timezone.utc  # noqa: UP017 - the parameter of parse_instant_ms shadows nothing this way


def format_instant(ms: int) -> str:
    """ISO 8601 in UTC with milliseconds, ``2030-03-01T08:00:00.000+00:00``."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    return moment.isoformat(timespec="milliseconds")
