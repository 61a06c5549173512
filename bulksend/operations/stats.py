"""Statistics: how many messages and attempts by hour, kind, sender, country and code, from the roll-up alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from bulksend.errors import InvalidInput, InvalidValue
from bulksend.gateway.error_codes import Family, find_row
from bulksend.ledger import stats
from bulksend.ledger.database import Database
from bulksend.ledger.stats import DIMENSIONS, ENTERED, HOUR_MS, MEASURES
from bulksend.messaging.units import format_instant, parse_instant_ms

#: The most rows of an answer.
MOST_ROWS = 10_000
#: The columns of a file of sums.
COLUMNS = (*DIMENSIONS, *MEASURES)
#: Without a begin: this long before the end.
DEFAULT_SPAN_MS = 7 * 24 * HOUR_MS
#: The longest time that ``digest`` sums up.
LONGEST_MS = 92 * 24 * HOUR_MS
#: One reading has the sums of all dimensions beside the hours: there are some hundred combinations.
_BESIDE_HOURS = tuple(name for name in DIMENSIONS if name != "hour")
_MOST_COMBINED = 100_000
#: What is drawn in the course of time.
DRAWN = ("accepted", "delivered", "read", "failed", "unknown")
#: Longer times are drawn by day, not by hour.
_BY_HOUR_MS = 8 * 24 * HOUR_MS


def parse_dimensions(text: str, *, field: str) -> tuple[str, ...]:
    """``hour,kind``: some of hour, kind, sender, country, code. Raises InvalidValue."""
    given = tuple(part.strip() for part in text.split(",") if part.strip())
    wrong = [name for name in given if name not in DIMENSIONS]
    if wrong or not given or len(set(given)) < len(given):
        raise InvalidValue(field, text[:40], f"must be some of {','.join(DIMENSIONS)}, each once")
    return given


def show_stats(
    database: Database,
    by: Sequence[str],
    *,
    since: str | None,
    until: str | None,
    timezone: str | None,
    fields: tuple[str, str],
) -> dict[str, Any]:
    """The sums of whole hours. ``fields`` name begin and end in errors. Raises InvalidValue, InvalidInput."""
    now_ms = int(time.time() * 1000)

    def instant(text: str, field: str) -> int:
        return parse_instant_ms(text, timezone=timezone or "UTC", now_ms=now_ms, field=field)

    end = now_ms if until is None else instant(until, fields[1])
    begin = end - DEFAULT_SPAN_MS if since is None else instant(since, fields[0])
    if end <= begin:
        raise InvalidValue(fields[1], until or "", f"must be after {fields[0]}")
    begin -= begin % HOUR_MS
    end += -end % HOUR_MS
    with database.read() as tx:
        rows = list(stats.read(tx, by, begin, end, MOST_ROWS + 1))
        counted_until = stats.counted_until(tx)
    if len(rows) > MOST_ROWS:
        raise InvalidInput(
            f"{fields[0]}: these are more than {MOST_ROWS:,} rows; ask for a shorter time, or by fewer of "
            f"{','.join(DIMENSIONS)}"
        )
    return {
        "by": list(by),
        "from": format_instant(begin),
        "to": format_instant(end),
        "counted_until": format_instant(counted_until) if counted_until else None,
        "items": [
            {name: format_instant(value) if name == "hour" else value for name, value in row.items()}
            for row in rows
        ],
    }


def digest(
    database: Database, *, begin: datetime, end: datetime, zone: ZoneInfo, only: Mapping[str, str]
) -> dict[str, Any]:
    """The sums of a time for a person to read: in its course, by hour and weekday of a zone, by each dimension.

    ``only`` filters by dimensions. Raises InvalidValue for a time that ends before it begins or is longer than
    LONGEST_MS.
    """
    since, until = (int(each.timestamp() * 1000) for each in (begin, end))
    if until <= since:
        raise InvalidValue("to", "", "must not be before from")
    if until - since > LONGEST_MS:
        raise InvalidValue(
            "from", "", f"these are more than {LONGEST_MS // HOUR_MS // 24} days; ask for a shorter time"
        )
    since -= since % HOUR_MS
    until += -until % HOUR_MS
    with database.read() as tx:
        hours = list(stats.read(tx, ["hour"], since, until, MOST_ROWS, only=only, measures=DRAWN))
        combined = list(stats.read(tx, _BESIDE_HOURS, since, until, _MOST_COMBINED, only=only))
        counted_until = stats.counted_until(tx)
    sums = {name: _by(combined, name) for name in _BESIDE_HOURS}
    step_is_hour = until - since <= _BY_HOUR_MS
    return {
        "from": format_instant(since),
        "to": format_instant(until),
        "counted_until": format_instant(counted_until) if counted_until else None,
        "step": "hour" if step_is_hour else "day",
        "course": _course(hours, since, until, zone, step_is_hour),
        "week": _week(hours, zone),
        "total": _total(sums["kind"]),
        "kind": _largest(sums["kind"]),
        "sender": _largest(sums["sender"]),
        "country": _largest(sums["country"]),
        "code": [
            {**row, "sentence": _sentence(str(row["code"]))}
            for row in _largest(sums["code"], "failed")
            if row["failed"]
        ],
    }


def _by(rows: Sequence[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    """The sums by one dimension, in its order."""
    sums: dict[str, Counter[str]] = {}
    for row in rows:
        sums.setdefault(row[name], Counter()).update({measure: row[measure] for measure in MEASURES})
    return [{name: value, **counts} for value, counts in sorted(sums.items())]


def _total(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {name: sum(row[name] for row in rows) for name in MEASURES}


def _largest(rows: Sequence[Mapping[str, Any]], by: str = "accepted") -> list[Mapping[str, Any]]:
    """Those with something in them, the largest first."""
    return sorted(
        (row for row in rows if any(row[name] for name in (*ENTERED, "attempts"))), key=lambda row: -row[by]
    )


def _course(
    hours: Sequence[Mapping[str, Any]], since: int, until: int, zone: ZoneInfo, by_hour: bool
) -> list[dict[str, Any]]:
    """The messages by hour or by day of the zone, those without any too."""
    steps: dict[int, dict[str, int]] = {}
    step_of: dict[int, dict[str, int]] = {}
    for hour in range(since, until, HOUR_MS):
        at = hour
        if not by_hour:
            day = datetime.fromtimestamp(hour / 1000, zone).replace(hour=0, minute=0, second=0, microsecond=0)
            at = int(day.timestamp() * 1000)
        step_of[hour] = steps.setdefault(at, {"at": at, **dict.fromkeys(DRAWN, 0)})
    for row in hours:
        sums = step_of[row["hour"]]
        for name in DRAWN:
            sums[name] += row[name]
    return list(steps.values())


def _week(hours: Sequence[Mapping[str, Any]], zone: ZoneInfo) -> list[list[int]]:
    """Messages that the vendor accepted, by weekday (Monday first) and hour of the zone."""
    found = [[0] * 24 for _ in range(7)]
    for row in hours:
        at = datetime.fromtimestamp(row["hour"] / 1000, zone)
        found[at.weekday()][at.hour] += row["accepted"]
    return found


def _sentence(code: str) -> str | None:
    """What a code means; None where it is none that is listed. WhatsApp's and the vendor's do not overlap."""
    digits = code.removeprefix("#")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
        return None
    rows = (find_row(family, int(digits)) for family in (Family.WHATSAPP, Family.RETCODE))
    return next((row.meaning for row in rows if row is not None), None)
