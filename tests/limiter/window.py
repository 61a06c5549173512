"""A campaign's own rate, by its last slots: exact, and without holding its sender's slots back.

A campaign is narrower than its sender and shares it with others. With N the whole messages a second, its next
slot comes no earlier than N slots ago plus the time of N, so that no second has N + 1. Pure; the same in
lua/window.lua.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from bulksend.limits.rules import SAME_MS, window_ms


@dataclass(slots=True)
class CampaignWindow:
    """``slots`` are its last ones in order, oldest first. ms."""

    slots: deque[float] = field(default_factory=deque)

    def earliest(self, rate: float, sender_step: float) -> float:
        """The first instant that its own rate allows; 0 if any does.

        Besides, slots keep half their mean distance, in whole steps of the sender: a narrow campaign does not
        come in clumps, and what waited for others can still catch up.
        """
        if not self.slots:
            return 0.0
        most = whole(rate)
        span = most * window_ms(rate) / rate
        steps = math.floor((span / most / 2 + SAME_MS) / sender_step)
        earliest = self.slots[-1] + steps * sender_step
        if len(self.slots) >= most:
            earliest = max(earliest, self.slots[len(self.slots) - most] + span)
        return earliest

    def take(self, at: float, rate: float) -> None:
        """Note a slot that was taken."""
        self.slots.append(at)
        while len(self.slots) > whole(rate):
            self.slots.popleft()


def whole(rate: float) -> int:
    """How many messages a second may hold at ``rate``: the next whole number, as 2.5/s cannot do with 2."""
    return max(1, math.ceil(rate - 1e-9))
