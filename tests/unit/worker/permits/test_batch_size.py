"""How many POSTs may begin together is found out, as TCP finds out what a line can take."""

from __future__ import annotations

from worker.permits.batch_size import BatchSize


def after(burst: BatchSize, blocks: int, *, missed: int = 0, share: float = 1.0) -> int:
    """The size after so many blocks, each of a share of what was allowed, of which so many missed their slots."""
    for _ in range(blocks):
        burst.began(int(burst.size * share))
        for _ in range(missed):
            burst.missed()
    return burst.size


def test_full_blocks_that_begin_in_time_make_the_next_larger_by_two() -> None:
    assert after(BatchSize(250), 12) == 40 + 2 * 11


def test_blocks_that_were_not_full_prove_nothing() -> None:
    assert after(BatchSize(250), 50, share=0.5) == 40


def test_many_missed_slots_make_the_next_block_a_fifth_smaller() -> None:
    assert after(BatchSize(250), 2, missed=25) == int(40 * 0.8)


def test_a_few_missed_slots_change_nothing_for_the_worse() -> None:
    assert after(BatchSize(250), 20, missed=20) >= 40


def test_it_never_grows_beyond_what_one_question_may_hold_nor_ends() -> None:
    assert after(BatchSize(50), 100) == 50
    assert after(BatchSize(250), 100, missed=250) >= 1
