"""The forecast of how long a one-time code waits for its POST, from what is ahead of it and how fast that goes out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, inf, sqrt

#: POSTs are counted over this time. They tell the true rate where codes have waited, and could go out, for all of it.
OBSERVED_MS = 5_000
#: The part of a sender's rate that the limiter gives: 80 of 82 slices (docs/decisions/0002).
USED = 80 / 82
#: As many codes of each worker take their turns by campaign; what is beyond goes first in, first out.
IN_TURNS = 4_000


@dataclass(frozen=True, slots=True)
class Pace:
    """The part of its rate that a sender may use now; after ``climb_ms`` it is all of it again."""

    part: float = 1.0
    climb_ms: float = 0.0

    def before(self, ms: float) -> float:
        """The part ``ms`` ago, on the same way up."""
        return max(0.0, self.part - (1 - self.part) * ms / self.climb_ms) if self.climb_ms > 0 else self.part

    def both(self, other: Pace) -> Pace:
        """Of a sender whose account is slower, too."""
        return Pace(self.part * other.part, max(self.climb_ms, other.climb_ms))

    def ms_of(self, count: float, rate: float) -> float:
        """How long ``count`` messages take, where ``rate`` a second is all of it."""
        full_ms = count * 1000 / rate
        if self.climb_ms <= 0:
            return full_ms / self.part
        climbed = self.climb_ms * (1 + self.part) / 2
        if full_ms >= climbed:
            return self.climb_ms + full_ms - climbed
        growth = (1 - self.part) / self.climb_ms
        return (sqrt(self.part**2 + 2 * growth * full_ms) - self.part) / growth if growth else full_ms


FULL = Pace()


@dataclass(frozen=True, slots=True)
class LimiterState:
    """What the limiter does for all senders: until when it gives no permits, and for ``open_ms`` it has given them.

    ``cold_ms``: after it lost its memory; permits that it gave before stay good. ``outage_ms``: until the circuit
    breaker lets a message through; older permits are not used. ``paces``: of senders that are slower.
    """

    cold_ms: float = 0.0
    outage_ms: float = 0.0
    open_ms: float = inf
    paces: Mapping[str, Pace] = field(default_factory=dict)
    free_in_ms: Mapping[str, float] = field(default_factory=dict)
    """Of each sender that is asked for: the time until its first free slice, behind all that have a permit."""
    quota_used: int = 0
    """The people that the account's quota counts."""


#: Of a limiter that cannot be asked: it gives permits.
NOTHING_KNOWN = LimiterState()


@dataclass(frozen=True, slots=True)
class CodeLane:
    """The codes of one sender that are due and not POSTed yet, by campaign; its rate, and its POSTs of OBSERVED_MS."""

    waiting: Mapping[str, int]
    rate: float
    paused: bool = False
    oldest_ms: int = 0
    """How long the code that has waited longest has been due."""
    posts: int = 0
    permitted: int = 0
    """Those that have a permit."""
    weights: Mapping[str, int] = field(default_factory=dict)
    """Of campaigns, where it is not 1."""


@dataclass(frozen=True, slots=True)
class Workers:
    """How many run, the oldest for ``running_ms``; for how long none has run, None where none ever did."""

    alive: int
    gone_ms: int | None = None
    running_ms: float = inf


@dataclass(frozen=True, slots=True)
class Places:
    """Of the account's quota: the places that are left to new people, and in which time further ones get free."""

    free: int
    leaves_ms: Sequence[float] = ()

    def wait_ms(self, behind: int) -> float | None:
        """How long a new person waits behind as many others; None: nothing that is known makes a place free."""
        place = behind - self.free
        if place < 0:
            return 0.0
        return self.leaves_ms[min(place, len(self.leaves_ms) - 1)] if self.leaves_ms else None


def ahead_of(lane: CodeLane, campaign: str, workers: int) -> int:
    """How many codes go out before a new one of ``campaign``: the campaigns of a sender take turns by their weights."""
    if not takes_turns(lane, workers):
        return sum(lane.waiting.values())
    return turns_before(lane, campaign, lane.waiting.get(campaign, 0))


def takes_turns(lane: CodeLane, workers: int) -> bool:
    """Whether campaigns take turns in this lane; a flood goes first in, first out."""
    return sum(lane.waiting.values()) <= IN_TURNS * max(1, workers)


def turns_before(lane: CodeLane, campaign: str, own: int) -> int:
    """How many codes go out before one that stands behind ``own`` others of its campaign."""
    turns = (own + 1) / lane.weights.get(campaign, 1)
    return own + sum(
        min(count, ceil(turns * lane.weights.get(id, 1)))
        for id, count in lane.waiting.items()
        if id != campaign
    )


def shared_rate(rate: float, others: Iterable[float], account_rate: float | None) -> float:
    """The rate of a sender whose account has a rate, too, beside ``others`` that have codes: they take turns."""
    if account_rate is None:
        return rate
    left, rates = account_rate, sorted(others)
    for n, other in enumerate(rates):
        part = left / (len(rates) - n + 1)
        if other >= part:
            return min(rate, part)
        if rate <= other:
            return rate
        left -= other
    return min(rate, left)


def turn_ms(
    lanes: Mapping[str, CodeLane],
    lane: CodeLane,
    sender: str,
    ahead: float,
    workers: Workers,
    limiter: LimiterState,
    account_rate: float | None,
    since_ms: float = 0.0,
) -> float | None:
    """``forecast_ms`` of a code of ``sender``, whose lane is ``lane``, beside the others in ``lanes``."""
    others = [each.rate for phone, each in lanes.items() if phone != sender and each.waiting]
    shared = replace(lane, rate=shared_rate(lane.rate, others, account_rate))
    pace, free_in_ms = limiter.paces.get(sender, FULL), limiter.free_in_ms.get(sender)
    return forecast_ms(shared, ahead, workers, limiter, pace, free_in_ms, since_ms)


def forecast_ms(
    lane: CodeLane,
    ahead: float,
    workers: Workers,
    limiter: LimiterState = NOTHING_KNOWN,
    pace: Pace = FULL,
    free_in_ms: float | None = None,
    since_ms: float = 0.0,
) -> float | None:
    """How long a code behind ``ahead`` others waits, ``since_ms`` after all this was read; None: until a pause ends.

    ``pace`` and ``free_in_ms`` are of its sender, as ``limiter`` has them. The codes with a permit are before that
    slice; where it is not known they count as those that wait.

    Where nothing runs, or nothing goes out although it could, that is expected to last as long as it has lasted. Before
    the first worker nothing is known, and the answer is as if one ran.
    """
    if lane.paused:
        return None
    seen_ms = min(lane.oldest_ms, workers.running_ms, limiter.open_ms)
    is_seen = seen_ms >= OBSERVED_MS and bool(workers.alive)
    stalled_ms = seen_ms if is_seen and not lane.posts else 0
    gone_ms = 0 if workers.alive else workers.gone_ms or 0
    rate = lane.rate * USED
    if is_seen and lane.posts:
        expected = rate * pace.before(OBSERVED_MS / 2) * OBSERVED_MS / 1000
        rate *= min(1.0, lane.posts / expected)
    if free_in_ms is not None and not limiter.outage_ms:
        ahead -= lane.permitted
    held_ms = max(stalled_ms, gone_ms, limiter.cold_ms, limiter.outage_ms, free_in_ms or 0)
    wait_ms = held_ms + pace.ms_of(max(0.0, ahead), rate)
    return wait_ms if stalled_ms or gone_ms else max(0.0, wait_ms - since_ms)
