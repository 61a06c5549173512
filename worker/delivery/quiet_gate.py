"""The last look at quiet hours: a pause, a backlog or a new rule may have put a message into them since its intake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bulksend.errors import BulksendError, InvalidValue
from bulksend.ledger.claim import Claimed
from bulksend.messaging.local_time import area_in_zone, area_of
from bulksend.messaging.quiet_hours import OpenHours, QuietHours
from bulksend.messaging.time_rules import why_never_open


class NeverOpen(BulksendError):
    """No end of the quiet hours of a message is known. The text says why, without its number."""


@dataclass(frozen=True, slots=True)
class QuietGate:
    """Asks the quiet hours about claimed messages."""

    quiet_hours: QuietHours
    timezone: Callable[[Claimed], str | None]
    """The time zone that was given with a message, where one was."""

    def open_hours(self, message: Claimed, now_ms: int) -> OpenHours | None:
        """From when on it may go out, and when the next quiet hours begin; None: it has none. Raises NeverOpen."""
        if not self.quiet_hours.apply_to(message.kind):
            return None
        zone = self.timezone(message)
        try:
            area = area_of(message.recipient) if zone is None else area_in_zone(message.recipient, zone)
        except InvalidValue:
            # The time zones of the machine that took it in are newer.
            area = area_of(message.recipient)
        rule = self.quiet_hours.rule(message.kind, message.recipient, area.country)
        if rule is None:
            return None
        open_hours = rule.open_hours(area, now_ms)
        if open_hours is None:
            raise NeverOpen(f"quiet hours: its time zone {why_never_open(area)}")
        return open_hours
