"""Statistics: how many messages and attempts by hour, kind, sender, country and code, from the roll-up alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from bulksend.errors import InvalidInput, InvalidValue
from bulksend.ledger import stats
from bulksend.ledger.database import Database
from bulksend.ledger.stats import DIMENSIONS, HOUR_MS
from bulksend.messaging.units import format_instant, parse_instant_ms

#: The most rows of an answer.
MOST_ROWS = 10_000
#: Without a begin: this long before the end.
DEFAULT_SPAN_MS = 7 * 24 * HOUR_MS


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
