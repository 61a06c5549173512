"""Latency distributions."""

from __future__ import annotations

from random import Random

import pytest

from simulator.latency import Constant, LogNormal, Uniform, draw


def test_a_constant_latency_is_always_the_same_and_draws_no_random_number() -> None:
    dice = Random(1)
    before = dice.getstate()
    assert [draw(Constant(50), dice) for _ in range(3)] == [0.05] * 3
    assert dice.getstate() == before


def test_a_uniform_latency_stays_within_its_bounds_and_fills_them() -> None:
    dice = Random(1)
    drawn = [draw(Uniform(10, 20), dice) for _ in range(2000)]
    assert 0.010 <= min(drawn) < 0.0105
    assert 0.0195 < max(drawn) <= 0.020


def test_a_lognormal_latency_has_the_median_and_the_99th_percentile_it_was_given() -> None:
    dice = Random(7)
    drawn = sorted(draw(LogNormal(50, 400), dice) for _ in range(40_000))
    assert drawn[20_000] == pytest.approx(0.050, rel=0.05)
    assert drawn[39_600] == pytest.approx(0.400, rel=0.10)


def test_the_same_seed_draws_the_same_latencies() -> None:
    def ten(seed: int) -> list[float]:
        dice = Random(seed)
        return [draw(LogNormal(50, 400), dice) for _ in range(10)]

    assert ten(3) == ten(3) != ten(4)


@pytest.mark.parametrize("build", [lambda: Uniform(20, 10), lambda: LogNormal(50, 40)])
def test_bounds_in_the_wrong_order_are_rejected(build: type) -> None:
    with pytest.raises(ValueError, match="must not be below"):
        build()
