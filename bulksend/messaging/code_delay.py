"""The forecast of how long a one-time code waits for its POST, from what is ahead of it and how fast that goes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: POSTs are counted over this time. They tell the true rate where codes have waited for all of it.
OBSERVED_MS = 5_000
#: The part of a sender's rate that the limiter gives.
USED = 0.985
#: As many codes of each worker take their turns by campaign; what is beyond goes first in, first out.
IN_TURNS = 4_000


@dataclass(frozen=True, slots=True)
class CodeLane:
    """The codes of one sender that are due and not POSTed yet, by campaign; its rate, and its POSTs of OBSERVED_MS."""

    waiting: Mapping[str, int]
    rate: float
    paused: bool = False
    oldest_ms: int = 0
    """How long the code that has waited longest has been due."""
    posts: int = 0

    @property
    def used_rate(self) -> float:
        """POSTs a second that can be expected."""
        allowed = self.rate * USED
        return min(allowed, self.posts * 1000 / OBSERVED_MS) if self._is_observed and self.posts else allowed

    @property
    def stalled_ms(self) -> int:
        """For how long nothing has gone out although codes wait; that may last as long once more."""
        return self.oldest_ms if self._is_observed and not self.posts else 0

    @property
    def _is_observed(self) -> bool:
        return self.oldest_ms >= OBSERVED_MS


@dataclass(frozen=True, slots=True)
class Workers:
    """How many run; for how long none has run, None where it is not known: none ever did."""

    alive: int
    gone_ms: int | None = None


def ahead_of(lane: CodeLane, campaign: str, workers: int) -> int:
    """How many codes go out before a new one of ``campaign``: the campaigns of a sender take turns."""
    total = sum(lane.waiting.values())
    if total > IN_TURNS * max(1, workers):
        return total
    own = lane.waiting.get(campaign, 0)
    return own + sum(min(count, own + 1) for id, count in lane.waiting.items() if id != campaign)


def forecast_ms(lane: CodeLane, ahead: float, workers: Workers) -> float | None:
    """How long a code behind ``ahead`` others waits; None: until a pause ends.

    Where nothing runs, it is expected to last as long as it has lasted. Before the first worker nothing is known, and
    the answer is as if one ran.
    """
    if lane.paused:
        return None
    gone_ms = 0 if workers.alive else workers.gone_ms or 0
    return max(lane.stalled_ms, gone_ms, 0) + max(0.0, ahead) * 1000 / lane.used_rate
