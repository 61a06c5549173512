"""The arithmetic of slots, without any clock or server (docs/decisions/0002)."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from bulksend.limits import MAX_LATE_MS, is_stale
from bulksend.limits.rules import step_ms
from bulksend.limits.timeline import FRONTIER, Reach, Timeline
from bulksend.limits.window import CampaignWindow
from bulksend.messaging.states import Kind

NOW = 1_900_000_000_000.0


def most_in_a_second(instants: list[float]) -> int:
    ordered = sorted(instants)
    most = first = 0
    for last, instant in enumerate(ordered):
        while instant - ordered[first] >= 1000.0:
            first += 1
        most = max(most, last - first + 1)
    return most


def take(line: Timeline, lower: float, reach: Reach, *, grid: bool = False) -> float:
    at, gap = line.fit(max(lower, reach.soonest), reach, grid=grid)
    line.take(at, gap, reach)
    return at


@given(rate=st.integers(1, 2000))
def test_as_many_steps_as_a_second_may_hold_messages_take_longer_than_a_second_and_the_lateness(
    rate: int,
) -> None:
    assert rate * step_ms(rate) > 1000 + MAX_LATE_MS + 3
    assert 1000 / step_ms(rate) >= 0.98 * rate


wishes = st.lists(
    st.tuples(
        st.floats(0, 60), st.floats(0, 800), st.sampled_from(list(Kind)), st.booleans(), st.floats(0, 11.99)
    ),
    min_size=1,
    max_size=150,
)


@settings(max_examples=150, deadline=None)
@given(rate=st.integers(1, 200), wishes=wishes)
def test_no_second_of_posts_is_fuller_than_the_limit_whatever_is_asked_and_however_late_they_are(
    rate: int, wishes: list[tuple[float, float, bool, bool, float]]
) -> None:
    line, now, slots, posts = Timeline(), NOW, [], []
    for passes, ahead, kind, grid, late in wishes:
        now += passes
        line.begin(now, step_ms(rate))
        slot = take(line, now + ahead, Reach(now, now + 2, kind), grid=grid)
        assert slot >= now + ahead - 0.01
        slots.append(slot)
        posts.append(slot + late)
    assert most_in_a_second(posts) <= rate
    ordered = sorted(slots)
    # A thousandth or two for instants that count as the same.
    assert all(b - a >= step_ms(rate) - 0.005 for a, b in pairwise(ordered))


def test_what_lies_before_a_slot_far_ahead_is_filled_by_others() -> None:
    line, reach = Timeline(), Reach(NOW, NOW, Kind.OTP)
    line.begin(NOW, 10.0)
    assert take(line, NOW + 1000, reach) == NOW + 1000
    filled = [take(line, NOW, reach) for _ in range(100)]
    assert filled == [NOW + 10.0 * n for n in range(100)]
    assert take(line, NOW, reach) == NOW + 1010


def test_a_slot_pushed_ahead_on_a_busy_line_leaves_whole_steps_before_it() -> None:
    line, reach = Timeline(), Reach(NOW, NOW, Kind.MARKETING, narrow=True)
    line.begin(NOW, 10.0)
    assert take(line, NOW, reach) == NOW
    assert take(line, NOW + 33, reach, grid=True) == NOW + 40
    assert [take(line, NOW, reach) for _ in range(4)] == [NOW + 10, NOW + 20, NOW + 30, NOW + 50]


def test_another_rate_forgets_the_gaps_and_a_lower_one_keeps_its_distance() -> None:
    line, reach = Timeline(), Reach(NOW, NOW, Kind.OTP)
    line.begin(NOW, 10.0)
    take(line, NOW + 50, reach)
    line.begin(NOW, 40.0)
    assert line.fit(NOW, reach, grid=False) == (NOW + 90, FRONTIER)


def test_gaps_are_bounded() -> None:
    line, reach = Timeline(), Reach(NOW, NOW, Kind.OTP)
    line.begin(NOW, 1.0)
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
    assert not is_stale(NOW, NOW)
    assert not is_stale(NOW, NOW + MAX_LATE_MS - 0.001)
    assert is_stale(NOW, NOW + MAX_LATE_MS)
    assert not is_stale(NOW, NOW - 1000)
