"""Passwords: hashes differ, wrong ones are wrong, locks grow to a limit."""

from __future__ import annotations

from bulksend.operations.passwords import FREE_FAILURES, Passwords, lock_ms

CHEAP = Passwords(passes=1, memory_kib=8)


def test_a_password_is_right_for_its_own_hash_only() -> None:
    one, other = CHEAP.hash("correct horse battery"), CHEAP.hash("correct horse battery")
    assert one != other, "each has a salt of its own"
    assert CHEAP.is_right("correct horse battery", one)
    assert not CHEAP.is_right("correct horse batterx", one)
    assert not CHEAP.is_right("", one)
    assert not CHEAP.is_right("\ud800", one)


def test_without_a_hash_no_password_is_right() -> None:
    assert not CHEAP.is_right("", None)


def test_a_hash_made_at_another_cost_is_still_checked() -> None:
    assert Passwords().is_right("correct horse battery", CHEAP.hash("correct horse battery"))


def test_locks_begin_after_some_failures_double_and_end_growing_at_an_hour() -> None:
    assert [lock_ms(n) for n in range(FREE_FAILURES)] == [0] * FREE_FAILURES
    grown = [lock_ms(n) for n in range(FREE_FAILURES, FREE_FAILURES + 9)]
    assert grown[:3] == [30_000, 60_000, 120_000]
    assert grown[-1] == lock_ms(10_000) == 3_600_000
