"""The arithmetic of slots, without any clock or server (docs/decisions/0002)."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulksend.limits import Permit
from bulksend.limits.rules import LATE_MS, VAST, late_ms
from bulksend.messaging.states import Kind
from tests.limiter.timeline import FRONTIER, Pace, Reach, Timeline, pace
from tests.limiter.window import CampaignWindow

NOW = 1_900_000_000_000.0


def most_in_a_second(instants: list[float]) -> int:
    ordered = sorted(instants)
    most = first = 0
    for last, instant in enumerate(ordered):
        while instant - ordered[first] >= 1000.0:
            first += 1
        most = max(most, last - first + 1)
    return most


def every(step: float) -> Pace:
    """A slot each so many ms, and none is made up for."""
    return Pace(step, 1015.0)


def take(line: Timeline, lower: float, reach: Reach, *, grid: bool = False) -> float:
    at, gap = line.fit(max(lower, reach.soonest), reach, grid=grid)
    line.take(at, gap, reach)
    return at


@given(rate=st.integers(1, 20_000))
def test_what_a_second_may_hold_and_the_voids_take_longer_than_a_second_and_the_lateness(rate: int) -> None:
    of = pace(rate)
    assert (rate + of.unused) * of.step > 1000 + late_ms([rate]) + 7
    assert 1000 / of.window >= (0.98 if rate <= VAST else 0.94)


def test_a_slot_is_good_for_as_long_as_the_narrowest_of_its_limits_says() -> None:
    assert late_ms([20_000, 80]) == late_ms([80]) == LATE_MS < late_ms([20_000, 5_000])


wishes = st.lists(
    st.tuples(
        st.floats(0, 60), st.floats(0, 800), st.sampled_from(list(Kind)), st.booleans(), st.floats(0, 11.99),
        st.integers(1, 9),
    ),
    min_size=1,
    max_size=150,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(rate=st.integers(1, 200), wishes=wishes, each_missed=st.sampled_from([1, 2, 3, 10]))
def test_no_second_of_posts_is_fuller_than_the_limit_whatever_is_asked_missed_and_however_late_they_are(
    rate: int, wishes: list[tuple[float, float, Kind, bool, float, int]], each_missed: int
) -> None:
    line, now, slots, posts, missed = Timeline(), NOW, [], [], []
    for passes, ahead, kind, grid, late, many in wishes:
        now += passes
        line.begin(now, pace(rate))
        for slot in [slot for slot in missed if slot + LATE_MS <= now]:
            line.miss(slot, now, now + 5)
        for _ in range(many):
            slot = take(line, now + ahead, Reach(now, now + 2, kind), grid=grid)
            assert slot >= now + ahead - 0.01
            slots.append(slot)
            if len(slots) % each_missed == 0 and each_missed > 1:
                missed.append(slot)
            else:
                posts.append(slot + late)
    assert most_in_a_second(posts) <= rate
    # A thousandth or two for instants that count as the same.
    assert all(b - a >= pace(rate).step - 0.005 for a, b in pairwise(sorted(slots)))
    assert len(line.unused) <= rate / 8 + 1


def saturated(rate: int, seconds: int, is_missed: Callable[[int], bool]) -> float:
    """The part of a rate that is used where everybody asks for more than there is, and some slots are missed."""
    line, posts, missed, taken = Timeline(), [], [], 0
    for now in (NOW + 10.0 * turn for turn in range(100 * seconds)):
        line.begin(now, pace(rate))
        for slot in [slot for slot in missed if slot + LATE_MS <= now]:
            line.miss(slot, now, now + 5)
            missed.remove(slot)
        reach = Reach(now, now + 5, Kind.MARKETING)
        while line.fit(now + 5, reach, grid=False)[0] <= now + 35:
            slot = take(line, now + 5, reach)
            taken += 1
            (missed if is_missed(taken) else posts).append(slot)
    late = [slot for slot in posts if slot >= NOW + 1000]
    assert most_in_a_second(posts) <= rate
    return len(late) / (late[-1] - late[0]) * 1000 / rate


@pytest.mark.parametrize("rate", [80, 1000, 2500])
def test_missed_slots_are_made_up_for(rate: int) -> None:
    assert saturated(rate, 5, lambda taken: False) >= 0.98
    assert saturated(rate, 5, lambda taken: taken % 40 == 0) >= 0.98
    assert saturated(rate, 5, lambda taken: taken % 12 == 0) >= 0.978


def test_a_slot_that_is_said_to_be_missed_twice_is_made_up_for_once() -> None:
    line, of, reach = Timeline(), pace(100), Reach(NOW, NOW, Kind.MARKETING)
    line.begin(NOW, of)
    slots = [take(line, NOW, reach) for _ in range(100)]
    later = NOW + 400
    line.begin(later, of)
    for _ in range(20):
        line.miss(slots[10], later, later)
    again = [take(line, later, Reach(later, later, Kind.MARKETING)) for _ in range(30)]
    assert most_in_a_second([*slots[:10], *slots[11:], *again]) <= 100


def test_what_is_left_out_does_not_come_in_a_row() -> None:
    line, of = Timeline(), pace(100)
    line.begin(NOW, of)
    slots = [take(line, NOW, Reach(NOW, NOW, Kind.MARKETING, narrow=True)) for _ in range(400)]
    assert max(b - a for a, b in pairwise(slots)) <= 2 * of.step + 0.01


def test_what_lies_before_a_slot_far_ahead_is_filled_by_others() -> None:
    line, reach = Timeline(), Reach(NOW, NOW, Kind.OTP)
    line.begin(NOW, every(10.0))
    assert take(line, NOW + 1000, reach) == NOW + 1000
    filled = [take(line, NOW, reach) for _ in range(100)]
    assert filled == [NOW + 10.0 * n for n in range(100)]
    assert take(line, NOW, reach) == NOW + 1010


def test_a_slot_pushed_ahead_on_a_busy_line_leaves_whole_steps_before_it() -> None:
    line, reach = Timeline(), Reach(NOW, NOW, Kind.MARKETING, narrow=True)
    line.begin(NOW, every(10.0))
    assert take(line, NOW, reach) == NOW
    assert take(line, NOW + 33, reach, grid=True) == NOW + 40
    assert [take(line, NOW, reach) for _ in range(4)] == [NOW + 10, NOW + 20, NOW + 30, NOW + 50]


def test_another_rate_forgets_the_gaps_and_a_lower_one_keeps_its_distance() -> None:
    line, reach = Timeline(), Reach(NOW, NOW, Kind.OTP)
    line.begin(NOW, every(10.0))
    take(line, NOW + 50, reach)
    line.begin(NOW, every(40.0))
    assert line.fit(NOW, reach, grid=False) == (NOW + 90, FRONTIER)


def test_gaps_are_bounded() -> None:
    line, reach = Timeline(), Reach(NOW, NOW, Kind.OTP)
    line.begin(NOW, every(1.0))
    for number in range(1000):
        take(line, NOW + 3 * number, reach)
    assert len(line.gaps) <= 256


@settings(max_examples=60, deadline=None)
@given(
    rate=st.floats(0.2, 120),
    wishes=st.lists(st.tuples(st.floats(0, 90), st.floats(0, 11.99)), min_size=1, max_size=300),
)
def test_a_campaigns_second_never_holds_more_than_its_rate_to_the_next_whole_number(
    rate: float, wishes: list[tuple[float, float]]
) -> None:
    window, now, posts = CampaignWindow(), NOW, []
    for passes, late in wishes:
        now += passes
        slot = max(now, window.earliest(rate, 5.0))
        window.take(slot, rate)
        posts.append(slot + late)
    assert most_in_a_second(posts) <= math.ceil(rate)


def test_a_slot_is_stale_from_the_bound_on() -> None:
    permit = Permit(NOW, LATE_MS)
    assert not permit.is_stale(NOW)
    assert not permit.is_stale(NOW + LATE_MS - 0.001)
    assert permit.is_stale(NOW + LATE_MS)
    assert not permit.is_stale(NOW - 1000)
