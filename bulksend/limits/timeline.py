"""A row of slots in time, one step apart, that several kinds take from: pure arithmetic, the same in
lua/timeline.lua.

The frontier (``free_from``) is GCRA's theoretical arrival time without burst. Unlike plain GCRA, a slot taken
beyond the frontier does not lose the time before it: the gap is remembered and filled by whoever fits. Any
two slots taken from one timeline are at least a step apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from bulksend.limits.rules import (
    CODES_CLOSE_MS,
    CODES_EVERY,
    CODES_MS,
    HORIZON_MS,
    KEEP_EVERY,
    MOST_GAPS,
    RECLAIM_MS,
    SAME_MS,
)
from bulksend.messaging.states import Kind

_BULK_REACH_MS = HORIZON_MS[Kind.MARKETING]
FRONTIER = -1


@dataclass(slots=True)
class Gap:
    """Slots may begin anywhere from ``start`` to ``end``."""

    start: float
    end: float


@dataclass(slots=True)
class Kept:
    """A single slot that is kept for bulk, or for codes, until it is close."""

    at: float
    for_codes: bool


@dataclass(frozen=True, slots=True)
class Reach:
    """For whom a slot is sought: no earlier than ``soonest``; ``bulk`` is marketing. ms.

    ``narrow``: its campaign has a rate of its own. Its slots come in order, so it cannot come back for one that it
    kept for codes, and keeps none.
    """

    now: float
    soonest: float
    kind: Kind
    narrow: bool = False

    @property
    def bulk(self) -> bool:
        """Whether it is marketing."""
        return self.kind is Kind.MARKETING

    def may_take(self, slot: Kept) -> bool:
        """Whether a kept slot is its own, or has come close."""
        return slot.at <= self.soonest + self.close_ms(slot)

    def close_ms(self, slot: Kept) -> float:
        """How far away it may take a kept slot."""
        if slot.for_codes:
            return math.inf if self.kind is Kind.OTP else CODES_CLOSE_MS
        return math.inf if self.bulk else RECLAIM_MS


@dataclass(slots=True)
class Timeline:
    """``free_from`` and ``step`` in ms; ``far`` counts slots taken beyond bulk's reach since one was kept free.

    ``gaps`` and ``kept`` lie before the frontier, in order.
    """

    free_from: float = 0.0
    step: float = 0.0
    far: int = 0
    gaps: list[Gap] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)

    def begin(self, now: float, step: float) -> None:
        """Forget what is past; a lower rate moves the frontier, and makes what lies before it useless: its neighbours
        are nearer than that rate allows. A higher one takes nothing away."""
        if step > self.step + SAME_MS:
            self.gaps.clear()
            self.kept.clear()
            self.free_from += step - self.step if self.step > 0 else 0.0
        self.step = step
        self.gaps = [gap for gap in self.gaps if gap.end >= now]
        self.kept = [slot for slot in self.kept if slot.at >= now]

    def fit(self, lower: float, reach: Reach, *, grid: bool) -> tuple[float, int]:
        """The first free slot not before ``lower``, and its place: a gap's index, FRONTIER, or below it a kept slot.

        ``grid``: where a slot is pushed beyond free ones by a narrower limit, keep whole steps before it, so that
        others lose nothing. An idle timeline has no grid worth keeping.
        """
        at, place = self._fit_gaps(lower, reach, grid)
        for index, slot in enumerate(self.kept):
            if slot.at >= at:
                break
            if slot.at >= lower - SAME_MS and reach.may_take(slot):
                return slot.at, FRONTIER - 1 - index
        return at, place

    def opens(self, reach: Reach) -> float:
        """When the first slot that is kept for others will have come close; inf if there is none."""
        lead = reach.soonest - reach.now
        far = [slot for slot in self.kept if not reach.may_take(slot)]
        return min((slot.at - reach.close_ms(slot) - lead for slot in far), default=math.inf)

    def _fit_gaps(self, lower: float, reach: Reach, grid: bool) -> tuple[float, int]:
        for index, gap in enumerate(self.gaps):
            if gap.end + SAME_MS >= lower:
                at = self._from(gap.start, lower, grid)
                if at <= gap.end + SAME_MS:
                    return at, index
        return self._from(self.free_from, lower, grid and self.free_from > reach.soonest), FRONTIER

    def _from(self, start: float, lower: float, grid: bool) -> float:
        if lower <= start:
            return start
        return start + math.ceil((lower - start - SAME_MS) / self.step) * self.step if grid else lower

    def take(self, at: float, place: int, reach: Reach) -> None:
        """Take the slot that ``fit`` found."""
        if place < FRONTIER:
            del self.kept[FRONTIER - 1 - place]
        elif place == FRONTIER:
            self._move_frontier(at, reach)
        else:
            self._split(place, at)
        del self.gaps[:-MOST_GAPS]
        del self.kept[:-MOST_GAPS]

    def _split(self, index: int, at: float) -> None:
        gap = self.gaps.pop(index)
        if gap.end >= at + self.step - SAME_MS:
            self.gaps.insert(index, Gap(at + self.step, gap.end))
        if gap.start <= at - self.step + SAME_MS:
            self.gaps.insert(index, Gap(gap.start, at - self.step))

    def _move_frontier(self, at: float, reach: Reach) -> None:
        start = max(self.free_from, reach.now)
        if start <= at - self.step + SAME_MS:
            self.gaps.append(Gap(start, at - self.step))
        # Pushed beyond free slots by another limit, it is not this row that is busy.
        busy = at <= self.free_from + SAME_MS
        self.free_from = at + self.step
        if not reach.bulk and at > reach.soonest + _BULK_REACH_MS:
            self._keep_for_bulk()
        keeps = reach.kind is not Kind.OTP and not reach.narrow
        if busy and keeps and at > reach.soonest + CODES_CLOSE_MS:
            self._keep_for_codes()

    def _keep_for_bulk(self) -> None:
        self.far += 1
        if self.far >= KEEP_EVERY:
            self.far = 0
            self._keep(for_codes=False)

    def _keep_for_codes(self) -> None:
        apart = max(2 * self.step, min(CODES_EVERY * self.step, CODES_MS))
        newest = next((slot.at for slot in reversed(self.kept) if slot.for_codes), -math.inf)
        # Where bulk's reach holds hardly two slots there is nothing to keep.
        if apart <= _BULK_REACH_MS and self.free_from - newest >= apart - SAME_MS:
            self._keep(for_codes=True)

    def _keep(self, *, for_codes: bool) -> None:
        self.kept.append(Kept(self.free_from, for_codes))
        self.free_from += self.step

    def round_off(self) -> None:
        """As Redis keeps it between two calls."""
        self.free_from = stored(self.free_from)
        for gap in self.gaps:
            gap.start, gap.end = stored(gap.start), stored(gap.end)
        for slot in self.kept:
            slot.at = stored(slot.at)


def stored(instant: float) -> float:
    """To 0.1 us: as fine as a double can tell instants of this century apart, and be written down."""
    return float(f"{instant:.4f}")
