"""Group commit: the first caller does not wait, those who come meanwhile share the next call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from producer.group_commit import GroupCommit


class Away(Exception):
    """What concerns every item of a group."""


class Ledger:
    """Takes groups; each group waits until it may go."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.may_go = threading.Semaphore(0)
        self.began = threading.Semaphore(0)
        self.fails: Callable[[Sequence[str]], BaseException | None] = lambda _: None

    def take(self, items: Sequence[str]) -> list[str]:
        self.groups.append(list(items))
        self.began.release()
        assert self.may_go.acquire(timeout=30)
        failure = self.fails(items)
        if failure is not None:
            raise failure
        return [item.upper() for item in items]


def in_line(group: GroupCommit[str, str], many: int) -> None:
    """Wait until ``many`` calls wait for their turn."""
    with group.changed:
        assert group.changed.wait_for(lambda: group.waiting == many, 30)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def group(ledger: Ledger) -> GroupCommit[str, str]:
    return GroupCommit(ledger.take, common=Away)


def test_a_single_caller_is_taken_at_once(ledger: Ledger, group: GroupCommit[str, str]) -> None:
    ledger.may_go.release(2)
    assert [group("a"), group("b")] == ["A", "B"]
    assert ledger.groups == [["a"], ["b"]]


def test_calls_that_come_during_a_commit_share_the_next_one(
    ledger: Ledger, group: GroupCommit[str, str]
) -> None:
    with ThreadPoolExecutor(11) as pool:
        first = pool.submit(group, "a")
        assert ledger.began.acquire(timeout=30)
        others = [pool.submit(group, str(n)) for n in range(10)]
        in_line(group, 10)
        ledger.may_go.release(2)
        assert first.result(30) == "A"
        assert [other.result(30) for other in others] == [str(n) for n in range(10)]
    assert [len(items) for items in ledger.groups] == [1, 10]


def test_no_group_is_larger_than_the_most(ledger: Ledger) -> None:
    group = GroupCommit(ledger.take, common=Away, max_size=4)
    with ThreadPoolExecutor(11) as pool:
        calls = [pool.submit(group, "first")]
        assert ledger.began.acquire(timeout=30)
        calls += [pool.submit(group, str(n)) for n in range(10)]
        in_line(group, 10)
        ledger.may_go.release(4)
        for call in calls:
            call.result(30)
    assert [len(items) for items in ledger.groups] == [1, 4, 4, 2]


def test_one_bad_item_does_not_touch_the_others_of_its_group(
    ledger: Ledger, group: GroupCommit[str, str]
) -> None:
    ledger.fails = lambda items: ValueError("bad") if "bad" in items else None
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(group, "a")
        assert ledger.began.acquire(timeout=30)
        calls = {name: pool.submit(group, name) for name in ("b", "bad", "c")}
        in_line(group, 3)
        ledger.may_go.release(5)
        assert (first.result(30), calls["b"].result(30), calls["c"].result(30)) == ("A", "B", "C")
        with pytest.raises(ValueError, match="bad"):
            calls["bad"].result(30)
    assert [len(items) for items in ledger.groups] == [1, 3, 1, 1, 1]


def test_a_ledger_that_is_away_is_asked_once_for_the_whole_group(
    ledger: Ledger, group: GroupCommit[str, str]
) -> None:
    ledger.fails = lambda items: Away("away") if len(items) > 1 else None
    with ThreadPoolExecutor(4) as pool:
        pool.submit(group, "a")
        assert ledger.began.acquire(timeout=30)
        others = [pool.submit(group, str(n)) for n in range(3)]
        in_line(group, 3)
        ledger.may_go.release(2)
        for other in others:
            with pytest.raises(Away):
                other.result(30)
    assert [len(items) for items in ledger.groups] == [1, 3]
    ledger.may_go.release()
    assert group("after") == "AFTER"


def test_an_interrupt_ends_its_own_call_and_another_caller_takes_the_rest(
    ledger: Ledger, group: GroupCommit[str, str]
) -> None:
    ledger.fails = lambda items: KeyboardInterrupt() if items[0] == "1" else None
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(group, "a")
        assert ledger.began.acquire(timeout=30)
        interrupted = pool.submit(group, "1")
        in_line(group, 1)
        others = [pool.submit(group, name) for name in ("2", "3")]
        in_line(group, 3)
        ledger.may_go.release(3)
        assert first.result(30) == "A"
        with pytest.raises(KeyboardInterrupt):
            interrupted.result(30)
        assert [other.result(30) for other in others] == ["2", "3"]
    assert ledger.groups == [["a"], ["1", "2", "3"], ["2", "3"]]
