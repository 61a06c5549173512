"""What the soak takes for a leak."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.faults.soak import Growth, Sample

SAMPLES = 500


def of(rss_mb: Sequence[float], files: Sequence[int]) -> list[bool]:
    samples = [
        Sample(n * 2.0, int(mb * 1024), count, count)
        for n, (mb, count) in enumerate(zip(rss_mb, files, strict=True))
    ]
    return [figure.holds for figure in Growth.of(samples).figures("worker1")]


def stepped(low: float, high: float, at: int) -> list[float]:
    return [low if n < at else high for n in range(SAMPLES)]


@pytest.mark.parametrize("share", [0.06, 0.3])
def test_memory_that_grows_all_the_time_is_a_leak(share: float) -> None:
    assert of([100 * (1 + share * n / SAMPLES) for n in range(SAMPLES)], [30] * SAMPLES) == [False, True]


def test_files_that_grow_all_the_time_are_a_leak() -> None:
    assert of([100.0] * SAMPLES, [30 + n // 20 for n in range(SAMPLES)]) == [True, False]


@pytest.mark.parametrize("at", range(50, SAMPLES, 50))
def test_a_pool_that_a_fault_filled_is_none(at: int) -> None:
    assert of(stepped(100, 120, at), [int(n) for n in stepped(30, 60, at)]) == [True, True]


def test_what_levels_off_is_none() -> None:
    assert of([140 - 40 * 0.99**n for n in range(SAMPLES)], [30] * SAMPLES) == [True, True]
