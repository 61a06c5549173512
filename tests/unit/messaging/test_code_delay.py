"""How long a one-time code would wait, by what is ahead of it and what the limiter does."""

from __future__ import annotations

import pytest

from bulksend.messaging.code_delay import (
    FULL,
    IN_TURNS,
    USED,
    CodeLane,
    LimiterState,
    Pace,
    Places,
    Workers,
    ahead_of,
    forecast_ms,
    shared_rate,
)

RUNNING = Workers(1)


def lane(waiting: int = 0, rate: float = 10 / USED, **more: object) -> CodeLane:
    return CodeLane({"home": waiting}, rate, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("ahead", "wait_ms"), [(0, 0), (-3, 0), (100, 10_000)])
def test_it_is_what_is_ahead_by_the_rate(ahead: int, wait_ms: float) -> None:
    assert forecast_ms(lane(), ahead, RUNNING) == pytest.approx(wait_ms)


def test_what_has_passed_since_the_reading_is_taken_off() -> None:
    assert forecast_ms(lane(), 100, RUNNING, since_ms=3_000) == pytest.approx(7_000)
    assert forecast_ms(lane(), 10, RUNNING, since_ms=3_000) == 0
    stands_still = lane(oldest_ms=30_000)
    assert forecast_ms(stands_still, 100, RUNNING, since_ms=3_000) == pytest.approx(40_000)


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


@pytest.mark.parametrize(
    ("workers", "limiter"),
    [
        (Workers(1, running_ms=4_000), LimiterState()),
        (RUNNING, LimiterState(open_ms=4_000)),
        (RUNNING, LimiterState(open_ms=0)),
    ],
    ids=[
        "a worker has just begun",
        "the limiter has just opened",
        "the circuit breaker lets a probe through",
    ],
)
@pytest.mark.parametrize("posts", [0, 10])
def test_posts_tell_nothing_of_a_time_in_which_none_could_be_made(
    workers: Workers, limiter: LimiterState, posts: int
) -> None:
    assert forecast_ms(lane(oldest_ms=60_000, posts=posts), 100, workers, limiter) == pytest.approx(10_000)


def test_it_stands_still_only_since_something_could_go_out() -> None:
    began = Workers(1, running_ms=7_000)
    assert forecast_ms(lane(oldest_ms=60_000), 100, began) == pytest.approx(17_000)


def test_a_closed_limiter_gives_nothing_before_it_opens() -> None:
    cold = LimiterState(cold_ms=2_350, open_ms=0)
    assert forecast_ms(lane(oldest_ms=9_000, posts=20), 100, RUNNING, cold) == pytest.approx(12_350)
    assert forecast_ms(lane(), 0, RUNNING, cold, since_ms=1_000) == pytest.approx(1_350)


def test_the_first_free_slice_is_behind_the_codes_that_have_a_permit() -> None:
    held = lane(permitted=10)
    assert forecast_ms(held, 100, RUNNING, free_in_ms=800) == pytest.approx(9_800)
    assert forecast_ms(held, 10, RUNNING, free_in_ms=0) == 0
    assert forecast_ms(held, 100, RUNNING) == pytest.approx(10_000), "the limiter cannot be asked"


def test_permits_stay_good_in_a_cold_limiter_and_not_in_an_outage() -> None:
    cold, outage = LimiterState(cold_ms=2_000, open_ms=0), LimiterState(outage_ms=2_000, open_ms=0)
    held = lane(permitted=10)
    assert forecast_ms(held, 100, RUNNING, cold, free_in_ms=0) == pytest.approx(11_000)
    assert forecast_ms(held, 100, RUNNING, outage, free_in_ms=700) == pytest.approx(12_000)


def test_a_slowed_sender_gets_faster_again_while_codes_wait() -> None:
    half = Pace(0.5, 20_000)
    assert forecast_ms(lane(), 150, RUNNING, pace=half) == pytest.approx(20_000), "of 15 s at the full rate"
    assert forecast_ms(lane(), 200, RUNNING, pace=half) == pytest.approx(25_000)
    steps = 10_000
    waited = forecast_ms(lane(), 60, RUNNING, pace=half)
    assert waited is not None
    sent = sum(
        10 * (0.5 + 0.5 * (n + 0.5) / steps * waited / 20_000) * waited / 1000 / steps for n in range(steps)
    )
    assert sent == pytest.approx(60)


def test_posts_of_a_slowed_sender_are_compared_with_what_it_could_send() -> None:
    """In the last 5 s it could send 10/s at 37.5 to 50 %, and did: it is as fast as its pace allows."""
    half = Pace(0.5, 16_000)
    seen = lane(oldest_ms=9_000, posts=round(5 * 10 * half.before(2_500)))
    assert forecast_ms(seen, 100, RUNNING, pace=half) == pytest.approx(half.ms_of(100, 10), rel=0.05)
    assert half.both(Pace(0.5, 4_000)) == Pace(0.25, 16_000)
    assert half.both(FULL) == half
    assert FULL.ms_of(10, 10) == Pace(0.5).ms_of(5, 10) == 1_000


def test_campaigns_of_a_sender_take_turns_and_a_flood_does_not() -> None:
    two = CodeLane({"home": 10, "file": 1_000}, 80)
    assert ahead_of(two, "home", 1) == 21
    assert ahead_of(two, "another", 1) == 2
    flood = CodeLane({"home": 10, "file": IN_TURNS}, 80)
    assert ahead_of(flood, "home", 1) == IN_TURNS + 10
    assert ahead_of(flood, "home", 2) == 21


def test_turns_are_by_weight() -> None:
    assert ahead_of(CodeLane({"home": 10, "file": 1_000}, 80, weights={"file": 3}), "home", 1) == 43
    assert ahead_of(CodeLane({"home": 10, "file": 1_000}, 80, weights={"home": 4}), "home", 1) == 13


@pytest.mark.parametrize(
    ("rate", "others", "account_rate", "shared"),
    [
        (80, [], None, 80),
        (80, [80], None, 80),
        (80, [], 20, 20),
        (80, [], 200, 80),
        (80, [80], 100, 50),
        (80, [10], 100, 80),
        (80, [10, 80], 100, 45),
        (30, [80], 100, 30),
        (40, [80, 80], 100, 100 / 3),
    ],
)
def test_senders_share_the_rate_of_their_account(
    rate: float, others: list[float], account_rate: float | None, shared: float
) -> None:
    assert shared_rate(rate, others, account_rate) == pytest.approx(shared)


@pytest.mark.parametrize(
    ("places", "behind", "wait_ms"),
    [
        (Places(3), 0, 0),
        (Places(3, [500, 900]), 2, 0),
        (Places(3, [500, 900]), 3, 500),
        (Places(0, [500, 900]), 0, 500),
        (Places(0, [500, 900]), 7, 900),
        (Places(0), 0, None),
    ],
)
def test_a_new_person_waits_for_a_place_in_the_quota(
    places: Places, behind: int, wait_ms: float | None
) -> None:
    assert places.wait_ms(behind) == wait_ms
