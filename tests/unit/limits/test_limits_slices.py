"""The arithmetic of slices: no second is fuller than a limit, and nearly all of it is used."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.limits.rules import ACCOUNT_CARRY, SLICE_MS, SLICES_PER_SECOND, WINDOW
from bulksend.limits.types import Permit
from bulksend.messaging.states import Kind
from tests.limiter.slices import Limit, Reach

NOW = 152_000_000_000
"""A slice of this century."""

rates = st.one_of(st.integers(1, 20_000).map(float), st.floats(0.01, 20_000))


def tokens(limit: Limit, first: int, many: int) -> list[int]:
    return [limit.tokens(first + n).all for n in range(many)]


@given(rate=rates, first=st.integers(NOW, NOW + 10**9), carry=st.sampled_from([0, ACCOUNT_CARRY]))
def test_a_window_of_slices_holds_at_most_the_messages_of_a_second(
    rate: float, first: int, carry: int
) -> None:
    limit = Limit(rate, carry=carry)
    whole = -(-Fraction(rate) // 1)
    assert sum(tokens(limit, first, WINDOW + carry)) <= whole


def test_a_second_touches_fewer_slices_than_a_window_although_clocks_disagree_by_a_slice() -> None:
    # From the last instant of a slice on, a second touches it, eighty others, and with an error of one slice one more.
    assert (1000 + SLICE_MS) / SLICE_MS + 1 <= WINDOW


@pytest.mark.parametrize("rate", [0.5, 1.0, 2.5, 10.0, 80.0, 999.0, 1000.0, 2500.0])
def test_nearly_98_percent_of_a_rate_are_used(rate: float) -> None:
    seconds = 400
    given = sum(tokens(Limit(rate), NOW, seconds * SLICES_PER_SECOND))
    assert given / seconds == pytest.approx(rate * SLICES_PER_SECOND / WINDOW, rel=0.02)
    assert SLICES_PER_SECOND / WINDOW > 0.975


@given(rate=rates, slice=st.integers(NOW, NOW + 10**9), part=st.floats(0.05, 1.0))
def test_a_throttled_limit_has_no_slice_with_more_tokens(rate: float, slice: int, part: float) -> None:
    full, throttled = Limit(rate).tokens(slice), Limit(rate, pace=lambda at_ms: part).tokens(slice)
    assert 0 <= throttled.all <= full.all


@given(rate=rates, slice=st.integers(NOW, NOW + 10**9))
def test_what_is_kept_for_codes_and_for_bulk_are_different_tokens(rate: float, slice: int) -> None:
    found = Limit(rate).tokens(slice)
    assert min(found.for_codes, found.for_bulk) >= 0
    assert found.for_codes + found.for_bulk <= found.all


@pytest.mark.parametrize(("kind", "away_ms", "kept"), [(Kind.MARKETING, 26, 1), (Kind.MARKETING, 25, 0)])
def test_what_is_kept_for_codes_is_a_blasts_shortly_before(kind: Kind, away_ms: float, kept: int) -> None:
    limit = Limit(80.0)
    slice = next(n for n in range(NOW, NOW + 10) if limit.tokens(n).for_codes)
    soonest = slice * SLICE_MS - away_ms
    room, left = limit.room(slice, Reach(soonest, soonest, kind))
    assert left - room == kept


def test_a_permit_is_over_at_the_end_of_its_slice() -> None:
    permit = Permit(NOW * SLICE_MS)
    assert not permit.is_over(permit.begin_ms - 1000)
    assert not permit.is_over(permit.begin_ms)
    assert not permit.is_over(permit.begin_ms + SLICE_MS - 0.001)
    assert permit.is_over(permit.begin_ms + SLICE_MS)
