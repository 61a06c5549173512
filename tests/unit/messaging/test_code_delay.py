"""How long a one-time code would wait, by what is ahead of it."""

from __future__ import annotations

import pytest

from bulksend.messaging.code_delay import IN_TURNS, CodeLane, Workers, ahead_of, forecast_ms

RUNNING = Workers(1)


def lane(waiting: int = 0, rate: float = 10 / 0.985, **more: object) -> CodeLane:
    return CodeLane({"home": waiting}, rate, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("ahead", "wait_ms"), [(0, 0), (-3, 0), (100, 10_000)])
def test_it_is_what_is_ahead_by_the_rate(ahead: int, wait_ms: float) -> None:
    assert forecast_ms(lane(), ahead, RUNNING) == pytest.approx(wait_ms)


def test_a_pause_has_no_known_end() -> None:
    assert forecast_ms(lane(paused=True), 0, RUNNING) is None


def test_codes_that_have_waited_show_the_true_rate() -> None:
    slow = lane(oldest_ms=6_000, posts=25)
    assert forecast_ms(slow, 100, RUNNING) == pytest.approx(20_000)
    assert forecast_ms(lane(oldest_ms=4_999, posts=25), 100, RUNNING) == pytest.approx(10_000)
    assert forecast_ms(lane(oldest_ms=6_000, posts=500), 100, RUNNING) == pytest.approx(10_000)


def test_what_has_stood_still_may_stand_as_long_again() -> None:
    assert forecast_ms(lane(oldest_ms=30_000), 100, RUNNING) == pytest.approx(40_000)
    assert forecast_ms(lane(), 0, Workers(0, 90_000)) == pytest.approx(90_000)
    assert forecast_ms(lane(), 0, Workers(0, None)) == 0, "no worker ever ran: nothing is known"


def test_campaigns_of_a_sender_take_turns_and_a_flood_does_not() -> None:
    two = CodeLane({"home": 10, "file": 1_000}, 80)
    assert ahead_of(two, "home", 1) == 21
    assert ahead_of(two, "another", 1) == 2
    flood = CodeLane({"home": 10, "file": IN_TURNS}, 80)
    assert ahead_of(flood, "home", 1) == IN_TURNS + 10
    assert ahead_of(flood, "home", 2) == 21
