"""Slices of time and the room of a limit in each: the readable counterpart of lua/slices.lua. Pure."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bulksend.limits.rules import (
    BULK_CLOSE_MS,
    BULK_EVERY,
    CODES_CLOSE_MS,
    CODES_EVERY,
    CODES_SLICES,
    CYCLE,
    HORIZON_MS,
    SLICE_MS,
    SLICES_PER_SECOND,
    WINDOW,
)
from bulksend.limits.types import Gate, Wait
from bulksend.messaging.states import Kind

Taken = Mapping[Kind, Counter[int]]
"""How many messages of each slice were given, by lane."""
PaceAt = Callable[[float], float]
"""The part of its rate that a limit uses at an instant."""


def nothing_taken() -> dict[Kind, Counter[int]]:
    """Of a new limit."""
    return {lane: Counter() for lane in Kind}


def begin_of(slice: int) -> float:
    """When a slice begins."""
    return slice * SLICE_MS


def full_pace(at_ms: float) -> float:
    """Of a limit that nothing slowed down."""
    return 1.0


@dataclass(frozen=True, slots=True)
class Tokens:
    """Of a slice: all, and how many of them are kept for codes and for bulk."""

    all: int
    for_codes: int
    for_bulk: int


@dataclass(frozen=True, slots=True)
class Reach:
    """The slices that a message may have. ``narrow``: its campaign has a rate of its own."""

    now: float
    soonest: float
    kind: Kind
    narrow: bool = False

    @property
    def first(self) -> int:
        """At least half of it is still ahead when the message is ready."""
        return math.floor(self.soonest / SLICE_MS + 0.5)

    @property
    def last(self) -> int:
        """The last one within the lane's horizon."""
        return math.floor((self.soonest + HORIZON_MS[self.kind]) / SLICE_MS)

    @property
    def ahead(self) -> float:
        """How far from now that is at most."""
        return self.soonest - self.now + HORIZON_MS[self.kind]


@dataclass(slots=True)
class Limit:
    """A limit of ``rate`` messages a second."""

    rate: float
    taken: Taken = field(default_factory=nothing_taken)
    pace: PaceAt = full_pace
    carry: int = 0
    """How many slices later than in its own a token may be used."""

    def tokens(self, slice: int) -> Tokens:
        """Of a slice; those of a window and its carry in a row are at most ``rate``, rounded up."""
        part = self.pace(slice // SLICES_PER_SECOND * 1000)
        at, window = slice % CYCLE, WINDOW + self.carry
        first, last = (math.floor(math.floor(n * self.rate / window) * part) for n in (at, at + 1))
        for_codes = max(1 / CODES_EVERY, min(1 / 2, window / (CODES_SLICES * self.rate * part)))
        tokens, for_bulk = last - first, _share(first, last, 1 / BULK_EVERY)
        return Tokens(tokens, min(_share(first, last, for_codes), tokens - for_bulk), for_bulk)

    def room(self, slice: int, reach: Reach) -> tuple[int, int]:
        """How many more messages it has room for, and how many without what is kept for other lanes."""
        tokens = self.tokens(slice)
        left = tokens.all - sum(of_lane[slice] for of_lane in self.taken.values())
        away, kept = begin_of(slice) - reach.soonest, 0
        if away > CODES_CLOSE_MS and reach.kind is not Kind.OTP and not reach.narrow:
            kept = max(0, tokens.for_codes - self.taken[Kind.OTP][slice])
        if away > BULK_CLOSE_MS and reach.kind is not Kind.MARKETING:
            kept += max(0, tokens.for_bulk - self.taken[Kind.MARKETING][slice])
        return left - kept, left

    def has_room(self, reach: Reach) -> bool:
        """Whether any slice in reach has."""
        return any(self.token_for(slice, reach) is not None for slice in range(reach.first, reach.last + 1))

    def token_for(self, slice: int, reach: Reach) -> int | None:
        """The slice whose token a message that begins in ``slice`` uses: the oldest one with room."""
        tokens = range(slice - self.carry, slice + 1)
        return next((each for each in tokens if self.room(each, reach)[0] > 0), None)

    def take(self, slice: int, reach: Reach) -> None:
        """A message begins in this slice, in which there is a token for it."""
        token = self.token_for(slice, reach)
        assert token is not None
        self.taken[reach.kind][token] += 1

    def wait(self, gate: Gate, reach: Reach) -> Wait:
        """Until something kept for others is released, or the next slice with room comes within reach."""
        opens = reach.now + 1000
        close = BULK_CLOSE_MS if reach.kind is Kind.OTP else CODES_CLOSE_MS
        for slice in range(reach.first - self.carry, reach.last + 1):
            room, left = self.room(slice, reach)
            if room <= 0 < left:
                opens = min(opens, begin_of(slice) - close - (reach.soonest - reach.now))
        for slice in range(reach.last + 1, reach.last + WINDOW + 1):
            if self.room(slice, reach)[0] > 0:
                return Wait(gate, min(opens, begin_of(slice) - reach.ahead))
        return Wait(gate, opens)


@dataclass(slots=True)
class CampaignWindow:
    """A campaign's own rate, by its last slices, one a message, oldest first.

    With N the whole messages a second, the next one comes no earlier than the time of N after the one N before it, so
    that no second has N + 1; and half of their mean distance after the last one, so that they come in no clumps.
    """

    slices: deque[int] = field(default_factory=deque)

    def earliest(self, rate: float) -> int:
        """The first slice that its own rate allows; 0 if any is."""
        if not self.slices:
            return 0
        most = max(1, math.ceil(rate - 1e-9))
        while len(self.slices) > most:
            self.slices.popleft()
        span = math.ceil(most * WINDOW / rate)
        earliest = self.slices[-1] + math.floor(span / most / 2)
        return earliest if len(self.slices) < most else max(earliest, self.slices[0] + span)


def _share(first: int, last: int, part: float) -> int:
    """How many of the tokens numbered after ``first`` up to ``last`` belong to a part of all."""
    return math.floor(last * part) - math.floor(first * part)
