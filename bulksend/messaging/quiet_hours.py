"""Quiet hours: when messages of a kind may not go out to a country or an area, by the clocks there. Pure.

Of the rules for a number only the most specific ones count: those of the longest beginning of the number, else those of
its country, else those of ``*``. A number that may be in several zones has quiet hours while one of them has. On a
night when clocks are set back, quiet hours last from the first to the second of a time that comes twice. One-time codes
have none.
"""

from __future__ import annotations

import csv
import re
from bisect import bisect_right
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import NamedTuple

from bulksend.errors import InvalidValue
from bulksend.messaging.local_time import Area, first_instant_ms, last_instant_ms, local_day
from bulksend.messaging.recipient import checked_region
from bulksend.messaging.states import Kind

#: What holds a message that waits for their end (``messages.gate``, bulksend.limits.Gate).
GATE = "quiet_hours"
COLUMNS = ("kind", "where", "quiet", "days")
EVERYWHERE = "*"
_DAY_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EVERY_DAY = frozenset(range(7))
_HOURS = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)
_PREFIX = re.compile(r"\+\d[\d.\-]{0,18}", re.ASCII)
_DAY_MS, _WEEK_MS = 86_400_000, 7 * 86_400_000
_DAY = timedelta(days=1)
#: As long as this there must be an hour that is not quiet.
_LONGEST_MS = 8 * _DAY_MS
#: Calendars that a rule keeps: a week of an area each.
_MOST_CALENDARS = 10_000


class OpenHours(NamedTuple):
    """From ``begin`` (ms), the first instant not in quiet hours, until the next ones; None: none are known."""

    begin: int
    until: int | None


@dataclass(frozen=True, slots=True)
class QuietWindow:
    """From ``begin`` to ``end`` by the clocks of a zone, beginning on ``days`` (0: Monday). ``end`` not after
    ``begin``: of the next day.
    """

    begin: time
    end: time
    days: frozenset[int] = _EVERY_DAY

    def __str__(self) -> str:
        hours = "all day" if self.begin == self.end else f"{self.begin:%H:%M}-{self.end:%H:%M}"
        days = "" if self.days == _EVERY_DAY else " ".join(_DAY_NAMES[n] for n in sorted(self.days))
        return f"{hours} {days}".rstrip()


@dataclass(slots=True, eq=False)
class QuietRule:
    """The windows of one kind and place; none: it has no quiet hours."""

    windows: tuple[QuietWindow, ...]
    _calendars: dict[tuple[Area, int], _Calendar] = field(default_factory=dict)

    def open_hours(self, area: Area, at_ms: int) -> OpenHours | None:
        """The first instant not before ``at_ms`` that is quiet in no zone of the area.

        None where there is none: the area has no zone, or one of its zones is quiet at any time.
        """
        if not self.windows:
            return OpenHours(at_ms, None)
        if not area.zones:
            return None
        return self._calendar(area, at_ms // _WEEK_MS).open_hours(at_ms)

    def _calendar(self, area: Area, week: int) -> _Calendar:
        known = self._calendars.get((area, week))
        if known is None:
            if len(self._calendars) >= _MOST_CALENDARS:
                self._calendars.clear()
            known = self._calendars[area, week] = _Calendar.of(self.windows, area.zones, week)
        return known


class QuietHours:
    """The quiet hours of an installation: rules by kind and place (``*``, a country, digits of a number)."""

    def __init__(self, rules: dict[tuple[Kind, str], QuietRule]) -> None:
        self._rules = rules
        self._kinds = frozenset(kind for kind, _ in rules)
        self._prefix_lengths = {
            kind: sorted({len(where) for k, where in rules if k is kind and where.isdigit()}, reverse=True)
            for kind in self._kinds
        }

    def apply_to(self, kind: Kind) -> bool:
        """Whether there is a rule for messages of this kind."""
        return kind in self._kinds

    def told(self, kind: Kind, countries: Container[str]) -> dict[str, str]:
        """The rules for messages of this kind to these countries, by place as in the file. Those of beginnings of
        numbers are all told, since one may concern any of them.
        """
        return {
            f"+{where}" if where.isdigit() else where: ", ".join(sorted(map(str, rule.windows))) or "none"
            for (k, where), rule in self._rules.items()
            if k is kind and (where == EVERYWHERE or where.isdigit() or where in countries)
        }

    def rule(self, kind: Kind, recipient: str, country: str | None) -> QuietRule | None:
        """The rule for a number; None where there is none."""
        for length in self._prefix_lengths.get(kind, ()):
            found = self._rules.get((kind, recipient[:length]))
            if found is not None:
                return found
        found = None if country is None else self._rules.get((kind, country))
        return found if found is not None else self._rules.get((kind, EVERYWHERE))


@dataclass(frozen=True, slots=True)
class _Calendar:
    """The quiet hours of an area in a week, and in the days after it; apart from each other and in order."""

    begins: list[int]
    ends: list[int]
    known_until: int

    @classmethod
    def of(cls, windows: Sequence[QuietWindow], zones: Iterable[str], week: int) -> _Calendar:
        """Those of the windows in any of the zones; weeks count from the epoch."""
        begin, known_until = week * _WEEK_MS, (week + 1) * _WEEK_MS + _LONGEST_MS
        spans = sorted(span for zone in zones for span in _spans(windows, zone, begin, known_until + _DAY_MS))
        begins: list[int] = []
        ends: list[int] = []
        for start, end in spans:
            if ends and start <= ends[-1]:
                ends[-1] = max(ends[-1], end)
            else:
                begins.append(start)
                ends.append(end)
        return cls(begins, ends, known_until)

    def open_hours(self, at_ms: int) -> OpenHours | None:
        """See QuietRule.open_hours; ``at_ms`` is in the week."""
        n = bisect_right(self.begins, at_ms)
        if n and self.ends[n - 1] > at_ms:
            at_ms = self.ends[n - 1]
            if at_ms >= self.known_until:
                return None
        return OpenHours(at_ms, self.begins[n] if n < len(self.begins) else None)


def _spans(
    windows: Sequence[QuietWindow], zone: str, begin_ms: int, end_ms: int
) -> Iterable[tuple[int, int]]:
    day, last = local_day(begin_ms, zone) - _DAY, local_day(end_ms, zone)
    while day <= last:
        for window in windows:
            if day.weekday() in window.days:
                ends_on = day if window.begin < window.end else day + _DAY
                begin = first_instant_ms(datetime.combine(day, window.begin), zone)
                end = last_instant_ms(datetime.combine(ends_on, window.end), zone)
                if begin < end:
                    yield begin, end
        day += _DAY


# -- the file ----------------------------------------------------------------------------------------------------------


def read_quiet_hours(text: str, *, name: str = "quiet hours") -> QuietHours:
    """The quiet hours of a CSV text with the columns COLUMNS; ``name`` is how errors call it.

    A line that begins with # is a comment. ``where`` is ``*``, a country (``US``) or the beginning of numbers
    (``+1305``), or several with blanks between them; ``quiet`` is hours (``21:00-08:00``), ``all day`` or ``none``;
    ``days`` (``mon-fri``, ``sat sun``) are those on which they begin, by default all. Raises InvalidValue, with the
    line's number.
    """
    lines = enumerate(text.removeprefix("\ufeff").splitlines(), start=1)
    kept = [(n, line) for n, line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not kept:
        raise InvalidValue(name, "", f"has no rule; begin it with the line {','.join(COLUMNS)}")
    rows = list(csv.reader(line for _, line in kept))
    if tuple(cell.strip().lower() for cell in rows[0]) != COLUMNS:
        raise InvalidValue(name, kept[0][1][:40], f"is not the first line; begin with {','.join(COLUMNS)}")
    windows: dict[tuple[Kind, str], list[QuietWindow | None]] = {}
    for (number, line), cells in zip(kept[1:], rows[1:], strict=True):
        field_name = f"{name}, line {number}"
        if len(cells) not in (3, 4):
            raise InvalidValue(field_name, line[:40], f"needs {', '.join(COLUMNS[:3])} and perhaps days")
        kind, where, quiet, days = (cell.strip() for cell in [*cells, ""][:4])
        for each in where.split() or [""]:
            key = (_kind(kind, field_name), _where(each, field_name))
            windows.setdefault(key, []).append(_window(quiet, days, field_name))
    return QuietHours({key: _rule(key, found, name) for key, found in windows.items()})


def _rule(key: tuple[Kind, str], found: Sequence[QuietWindow | None], name: str) -> QuietRule:
    kind, where = key
    windows = tuple(window for window in found if window is not None)
    if windows and len(windows) < len(found):
        raise InvalidValue(name, f"{kind},{where}", "has `none` beside hours; keep one of them")
    if not _leaves_an_hour(windows):
        raise InvalidValue(name, f"{kind},{where}", "leaves no minute of the week; no message could go out")
    return QuietRule(windows)


def _leaves_an_hour(windows: Sequence[QuietWindow]) -> bool:
    day = 24 * 60
    week = [False] * (7 * day)
    for window in windows:
        begin, end = (at.hour * 60 + at.minute for at in (window.begin, window.end))
        length = end - begin if begin < end else end - begin + day
        for n in window.days:
            for minute in range(n * day + begin, n * day + begin + length):
                week[minute % (7 * day)] = True
    return not all(week)


def _kind(text: str, field_name: str) -> Kind:
    if text.lower() == Kind.OTP.value:
        raise InvalidValue(field_name, text, "is never held: a code is useless later; remove the line")
    try:
        return Kind(text.lower())
    except ValueError:
        raise InvalidValue(field_name, text[:40], "is not marketing or utility") from None


def _where(text: str, field_name: str) -> str:
    if text == EVERYWHERE:
        return EVERYWHERE
    if _PREFIX.fullmatch(text):
        return re.sub(r"\D", "", text)
    try:
        return checked_region(text, field_name)
    except InvalidValue:
        raise InvalidValue(
            field_name, text[:40], "is not *, a country like US, or the beginning of numbers like +1305"
        ) from None


def _window(quiet: str, days: str, field_name: str) -> QuietWindow | None:
    """The window; None for ``none``."""
    word = " ".join(quiet.lower().split())
    if word == "none":
        return None
    on = _days(days, field_name)
    if word == "all day":
        return QuietWindow(time(0), time(0), on)
    found = _HOURS.fullmatch(word)
    if found is None:
        raise InvalidValue(field_name, quiet[:40], "is not hours like 21:00-08:00, `all day` or `none`")
    begin, end = time(int(found[1]), int(found[2])), time(int(found[3]), int(found[4]))
    if begin == end:
        raise InvalidValue(field_name, quiet[:40], "begins when it ends; write `all day` or `none`")
    return QuietWindow(begin, end, on)


def _days(text: str, field_name: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.lower().replace(";", " ").split():
        first, _, last = part.partition("-")
        try:
            begin, end = _DAY_NAMES.index(first), _DAY_NAMES.index(last or first)
        except ValueError:
            raise InvalidValue(
                field_name,
                text[:40],
                f"are not days; write them like mon-fri or sat sun ({' '.join(_DAY_NAMES)})",
            ) from None
        found.update((begin + n) % 7 for n in range((end - begin) % 7 + 1))
    return frozenset(found) or _EVERY_DAY
