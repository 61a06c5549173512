"""What costs much to find out is found out once for many."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ops.web.remembered import Remembered


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_value_is_found_out_again_after_its_time() -> None:
    clock, found = Clock(), iter(range(9))
    value = Remembered(lambda: next(found), 5.0, clock)
    assert [value.now(), value.now()] == [0, 0]
    clock.now = 5.0
    assert [value.now(), value.now()] == [1, 1]


def test_while_one_finds_it_out_others_take_what_was_there() -> None:
    clock, may_go, is_asked = Clock(), threading.Event(), threading.Event()

    def find() -> str:
        if clock.now:
            is_asked.set()
            assert may_go.wait(30)
            return "new"
        return "old"

    value = Remembered(find, 5.0, clock)
    assert value.now() == "old"
    clock.now = 9.0
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(value.now)
        assert is_asked.wait(30)
        assert value.now() == "old"
        may_go.set()
        assert asking.result(30) == "new"


def test_a_failure_is_not_remembered() -> None:
    answers = iter([OSError("away"), "here"])

    def find() -> str:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    value = Remembered(find, 5.0)
    with pytest.raises(OSError, match="away"):
        value.now()
    assert value.now() == "here"
