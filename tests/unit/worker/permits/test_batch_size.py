"""The size of a batch follows AIMD, as TCP's congestion window does."""

from __future__ import annotations

from worker.permits.batch_size import BatchSize


def after(size: BatchSize, batches: int, *, missed: int = 0, share: float = 1.0) -> int:
    """The size after ``batches`` of them, each ``share`` full and with ``missed`` slices."""
    for _ in range(batches):
        size.next_batch(int(size.size * share))
        for _ in range(missed):
            size.count_missed()
    return size.size


def test_a_full_batch_without_missed_slices_grows_the_next_by_two() -> None:
    assert after(BatchSize(250), 12) == 40 + 2 * 11


def test_a_batch_that_is_not_full_does_not_grow_the_next() -> None:
    assert after(BatchSize(250), 50, share=0.5) == 40


def test_many_missed_slices_shrink_the_next_batch_by_a_fifth() -> None:
    assert after(BatchSize(250), 2, missed=25) == int(40 * 0.8)


def test_a_few_missed_slices_do_not_shrink_the_next_batch() -> None:
    assert after(BatchSize(250), 20, missed=20) >= 40


def test_the_size_stays_between_one_and_the_maximum() -> None:
    assert after(BatchSize(50), 100) == 50
    assert after(BatchSize(250), 100, missed=250) >= 1
