"""A row of slots in time, one step apart, from which several kinds take: the arithmetic of lua/timeline.lua.

The frontier (``free_from``) is GCRA's theoretical arrival time without burst. Unlike plain GCRA, a slot taken
beyond the frontier does not lose the time before it: the gap is remembered, and any message that fits fills it. Any
two slots taken from one timeline are at least a step apart.

Slots lie nearer to each other than the rate allows, and in each window some are *unused*: nothing is sent at them.
Missed slots, gaps that no message filled and idle time count as unused; where there are too few of them, a slot is left
out. So later slots make up for missed ones, and no window holds more messages than the rate allows.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field

from bulksend.limits.rules import (
    CODES_CLOSE_LEAST_MS,
    CODES_CLOSE_MOST_MS,
    CODES_CLOSE_STEPS,
    CODES_EVERY,
    CODES_MS,
    FINEST,
    HORIZON_MS,
    KEEP_EVERY,
    MOST_GAPS,
    RECLAIM_MS,
    SAME_MS,
    SPARE_EVERY,
    UNUSED_EVERY,
    UNUSED_MORE,
    VAST,
    window_ms,
)
from bulksend.messaging.states import Kind


@dataclass(frozen=True, slots=True)
class Pace:
    """The slots of a rate: ``step`` ms from one to the next, and ``unused`` of those in ``window`` ms stay empty."""

    step: float
    window: float
    unused: int = 0


def pace(rate: float, factor: float = 1.0) -> Pace:
    """Of ``rate`` messages/s, slowed to ``factor`` of it."""
    unused = 0 if rate > VAST else math.floor(rate * factor / UNUSED_EVERY)
    slots = rate * factor - math.floor(rate * factor / SPARE_EVERY) + unused
    step = math.ceil(window_ms(rate) / slots * FINEST) / FINEST
    return Pace(step, step * slots, unused)


_BULK_REACH_MS = HORIZON_MS[Kind.MARKETING]
FRONTIER = -1
NO_PACE = Pace(0.0, 0.0)


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

    def may_take(self, slot: Kept, codes_close_ms: float) -> bool:
        """Whether a kept slot is its own, or has come close."""
        return slot.at <= self.soonest + self.close_ms(slot, codes_close_ms)

    def close_ms(self, slot: Kept, codes_close_ms: float) -> float:
        """How far away it may take a kept slot."""
        if slot.for_codes:
            return math.inf if self.kind is Kind.OTP else codes_close_ms
        return math.inf if self.bulk else RECLAIM_MS


@dataclass(slots=True)
class Timeline:
    """``free_from`` and ``pace`` in ms; ``far`` counts slots taken beyond bulk's reach since one was kept free.

    ``gaps`` and ``kept`` lie before the frontier, in order. ``unused`` are the newest, in order: as many as count,
    and some more.
    """

    free_from: float = 0.0
    pace: Pace = NO_PACE
    far: int = 0
    gaps: list[Gap] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    unused: list[float] = field(default_factory=list)

    @property
    def step(self) -> float:
        """From one slot to the next, ms."""
        return self.pace.step

    @property
    def codes_close_ms(self) -> float:
        """How close what is kept for codes comes before others may take it."""
        return min(CODES_CLOSE_MOST_MS, max(CODES_CLOSE_LEAST_MS, CODES_CLOSE_STEPS * self.step))

    def begin(self, now: float, pace: Pace) -> None:
        """Forget what is past; a lower rate moves the frontier, and makes what lies before it useless: its neighbours
        are nearer than that rate allows. A higher one takes nothing away."""
        if pace.step > self.step + SAME_MS:
            self.gaps.clear()
            self.kept.clear()
            self.free_from += pace.step - self.step if self.step > 0 else 0.0
        self.pace = pace
        for gap in self.gaps:
            if gap.end < now:
                self._note_unused_row(gap.start, self._steps(gap.end - gap.start + SAME_MS) + 1, 1)
        for slot in self.kept:
            if slot.at < now:
                self._note_unused(slot.at)
        self.gaps = [gap for gap in self.gaps if gap.end >= now]
        self.kept = [slot for slot in self.kept if slot.at >= now]
        self._pass_idle(now)

    def _steps(self, ms: float) -> int:
        return math.floor(ms / self.step)

    def _pass_idle(self, now: float) -> None:
        """Move the frontier up to now. The slots it passes are noted as unused evenly, or those that must be left out
        would come in a row a window later."""
        passed = self._steps(now - self.free_from)
        if passed > 0:
            recent = min(passed, self._steps(self.pace.window))
            self._note_unused_row(self.free_from, passed, max(1, recent // max(1, self.pace.unused)))
            self.free_from += passed * self.step

    def _note_unused_row(self, start: float, many: int, apart: int) -> None:
        """No message took the ``many`` slots from ``start`` on: note the newest, one in ``apart`` of them."""
        first = max((many - 1) % apart, many - 1 - (self.pace.unused - 1) * apart)
        for place in range(first, many, apart):
            self._note_unused(start + place * self.step)

    def _note_unused(self, at: float) -> None:
        insort(self.unused, at)
        del self.unused[: max(0, len(self.unused) - self.pace.unused - self.pace.unused // UNUSED_MORE)]

    def miss(self, slot: float, now: float, soonest: float) -> None:
        """A slot that was taken was not used; saying so again changes nothing.

        The next one that was left out, and is yet to come, is free for it: the sooner, the less is lost.
        """
        if not now - self.pace.window < slot <= now or self._is_unused(slot):
            return
        # Where no slot was given yet whose window holds that one and not this.
        if self.free_from - self.step < slot + self.pace.window - SAME_MS:
            place = self._next_left_out(soonest)
            if place is not None:
                again = self.unused.pop(place)
                insort(self.gaps, Gap(again, again), key=_start)
        self._note_unused(slot)

    def _next_left_out(self, soonest: float) -> int | None:
        """The index of the first unused slot in the future whose window has room for one more message."""
        for place in range(bisect_left(self.unused, soonest), len(self.unused)):
            first = bisect_right(self.unused, self.unused[place] - self.pace.window + SAME_MS)
            if place - first >= self.pace.unused - 1:
                return place
        return None

    def _is_unused(self, at: float) -> bool:
        place = bisect_left(self.unused, at - SAME_MS)
        return place < len(self.unused) and self.unused[place] <= at + SAME_MS

    def _is_ripe(self, at: float) -> bool:
        """Whether enough unused slots lie before a slot at the frontier."""
        most = self.pace.unused
        return most == 0 or (
            len(self.unused) >= most and self.unused[-most] > at - self.pace.window + SAME_MS
        )

    def _leave_out(self) -> None:
        self._note_unused(self.free_from)
        self.free_from += self.step

    def fit(self, lower: float, reach: Reach, *, grid: bool) -> tuple[float, int]:
        """The first free slot not before ``lower``, and its place: a gap's index, FRONTIER, or below it a kept slot.

        ``grid``: where a slot is pushed beyond free ones by a narrower limit, keep whole steps before it, so that
        others lose nothing. An idle timeline has no grid worth keeping.
        """
        at, place = self._fit_gaps(lower, reach, grid)
        for index, slot in enumerate(self.kept):
            if slot.at >= at:
                break
            if slot.at >= lower - SAME_MS and reach.may_take(slot, self.codes_close_ms):
                return slot.at, FRONTIER - 1 - index
        return at, place

    def opens(self, reach: Reach) -> float:
        """When the first slot that is kept for others will have come close; inf if there is none."""
        lead = reach.soonest - reach.now
        far = [slot for slot in self.kept if not reach.may_take(slot, self.codes_close_ms)]
        return min(
            (slot.at - reach.close_ms(slot, self.codes_close_ms) - lead for slot in far), default=math.inf
        )

    def _fit_gaps(self, lower: float, reach: Reach, grid: bool) -> tuple[float, int]:
        for index, gap in enumerate(self.gaps):
            if gap.end + SAME_MS >= lower:
                at = self._from(gap.start, lower, grid)
                if at <= gap.end + SAME_MS:
                    return at, index
        return self._fit_frontier(lower, reach, grid), FRONTIER

    def _fit_frontier(self, lower: float, reach: Reach, grid: bool) -> float:
        """Slots are left out until it is ripe: before it where there are any, else where it would have been."""
        while True:
            at = self._from(self.free_from, lower, grid and self.free_from > reach.soonest)
            if self._is_ripe(at):
                return at
            if at - self.free_from < self.step - SAME_MS:
                self.free_from = at
            self._leave_out()

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
        if busy and keeps and at > reach.soonest + self.codes_close_ms:
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
        while not self._is_ripe(self.free_from):
            self._leave_out()
        self.kept.append(Kept(self.free_from, for_codes))
        self.free_from += self.step


def _start(gap: Gap) -> float:
    return gap.start


def stored(instant: float) -> float:
    """To 0.1 us: as fine as a double can tell instants of this century apart, and be written down."""
    return float(f"{instant:.4f}")
