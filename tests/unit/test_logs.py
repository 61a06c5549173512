"""Which failures of those that are tried again and again are logged."""

from __future__ import annotations

from bulksend.logs import REMIND_S, Reminders


def test_a_failure_that_lasts_is_logged_once_a_minute_and_again_when_it_changes_or_comes_back() -> None:
    now = 0.0
    reminders = Reminders(lambda: now)
    assert [reminders.is_due("rates", "refused") for _ in range(3)] == [True, False, False]
    assert reminders.is_due("pauses", "refused")
    assert reminders.is_due("rates", "full")
    now = REMIND_S
    assert [reminders.is_due("rates", "full") for _ in range(2)] == [True, False]
    assert [reminders.clear("rates") for _ in range(2)] == [True, False]
    assert reminders.is_due("rates", "full")
