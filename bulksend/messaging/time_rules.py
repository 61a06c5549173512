"""The rules of an installation about time: how long messages live by kind, and quiet hours. Pure."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from bulksend.errors import InvalidValue
from bulksend.messaging.local_time import Area, LocalTime
from bulksend.messaging.quiet_hours import QuietHours, QuietRule
from bulksend.messaging.states import Kind
from bulksend.messaging.units import is_long_past

#: The time to live of a one-time code without its own (Meta, time-to-live: authentication default 10 min).
OTP_TTL_MS = 600_000

_NAME_IT = "name its time zone, like Europe/London"
NO_ZONE = f"is missing: the number shows no time zone, and {{}}; {_NAME_IT}"
NEVER_OPEN = f"is missing: quiet hours never end in all time zones where the number may be; {_NAME_IT}"


class Times(NamedTuple):
    """When a message is due and expires, in ms. ``is_moved``: quiet hours made it due later."""

    due_at_ms: int
    expires_at_ms: int | None
    is_moved: bool


@dataclass(frozen=True, slots=True)
class TimeRules:
    """How long messages without a time to live of their own live, and quiet hours; None: there are none."""

    ttls_ms: Mapping[Kind, int] = field(default_factory=lambda: {Kind.OTP: OTP_TTL_MS})
    quiet_hours: QuietHours | None = None

    def ttl_ms(self, kind: Kind) -> int | None:
        """The time to live of a message of this kind without its own; None: it lives on."""
        return self.ttls_ms.get(kind)

    def has_quiet_hours(self, kind: Kind) -> bool:
        """Whether quiet hours may hold messages of this kind."""
        return self.quiet_hours is not None and self.quiet_hours.apply_to(kind)

    def quiet_hours_told(self, kind: Kind, countries: Container[str]) -> dict[str, str]:
        """The quiet hours for messages of this kind to these countries, by place as in their file."""
        return {} if self.quiet_hours is None else self.quiet_hours.told(kind, countries)

    def quiet_rule(self, kind: Kind, recipient: str, area: Area) -> QuietRule | None:
        """The quiet hours of a recipient for this kind; None where there are none."""
        return None if self.quiet_hours is None else self.quiet_hours.rule(kind, recipient, area.country)

    def placed(
        self, due_at_ms: int, expires_at_ms: int | None, area: Area | None, rule: QuietRule | None
    ) -> Times:
        """A message's times, both moved to the end of the quiet hours in which it would be due.

        Raises InvalidValue when no such end is known.
        """
        if rule is None or area is None:
            return Times(due_at_ms, expires_at_ms, is_moved=False)
        open_hours = rule.open_hours(area, due_at_ms)
        if open_hours is None:
            raise InvalidValue("timezone", "", why_never_open(area))
        moved_ms = open_hours.begin - due_at_ms
        if not moved_ms:
            return Times(due_at_ms, expires_at_ms, is_moved=False)
        return Times(
            open_hours.begin, None if expires_at_ms is None else expires_at_ms + moved_ms, is_moved=True
        )


def why_never_open(area: Area) -> str:
    """Why no end of quiet hours is known for an area, and the remedy."""
    return NEVER_OPEN if area.zones else NO_ZONE.format("quiet hours apply to it")


def local_due_ms(local_time: LocalTime, area: Area, after_ms: int, asked_at_ms: int) -> int:
    """When a local time has come in an area. Raises InvalidValue for an area without a zone, and for a day that was
    long past there at ``asked_at_ms``.
    """
    if not area.zones:
        raise InvalidValue("timezone", "", NO_ZONE.format("it is sent at its local time"))
    due_at_ms = _come_ms(local_time, area, after_ms)
    if is_long_past(due_at_ms, asked_at_ms):
        where = area.zones[0] if len(area.zones) == 1 else f"all zones of {area.country}"
        raise InvalidValue("local_time", str(local_time), f"has passed in {where}; give a later day")
    return due_at_ms


@lru_cache(4096)
def _come_ms(local_time: LocalTime, area: Area, after_ms: int) -> int:
    """The same for all rows of an area, also of those with a time to live of their own."""
    return local_time.due_ms(area.zones, after_ms)
