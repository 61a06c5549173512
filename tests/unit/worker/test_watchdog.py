"""When a worker counts as stuck, and when it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import redis

from bulksend.messaging.states import Kind
from worker.watchdog import Watchdog, jobs_waiting

PATIENCE_S = 60.0


@dataclass
class Worker:
    """A worker as the watchdog sees it, with a clock that the test sets."""

    waiting: bool = True
    away: bool = False
    jobs: int = 0
    now: float = 1000.0
    dog: Watchdog = field(init=False)

    def __post_init__(self) -> None:
        self.dog = Watchdog(
            has_jobs=self.jobs_wait,
            liveness=lambda: self.jobs,
            end=lambda: None,
            patience_s=PATIENCE_S,
            clock=lambda: self.now,
        )

    def jobs_wait(self) -> bool:
        if self.away:
            raise redis.TimeoutError
        return self.waiting

    def checks(self, seconds: float) -> Iterator[bool]:
        """A check every five seconds."""
        for _ in range(int(seconds / 5)):
            self.now += 5
            yield self.dog.check()


def test_a_worker_that_takes_no_waiting_job_for_the_whole_patience_is_stuck() -> None:
    worker = Worker()
    found = list(worker.checks(70))
    assert found.index(True) * 5 + 5 == PATIENCE_S + 5  # the first check has nothing to compare with


@pytest.mark.parametrize(
    "well", ["takes one now and then", "no job or no room", "Redis away", "Redis away once"]
)
def test_a_worker_that_takes_jobs_or_has_none_or_no_redis_is_not_stuck(well: str) -> None:
    worker = Worker(waiting=well != "no job or no room", away=well == "Redis away")
    for n, found in enumerate(worker.checks(600)):
        assert not found
        if n % 9 == 0 and well == "takes one now and then":
            worker.jobs += 1
        worker.away = well == "Redis away" or (well == "Redis away once" and n % 9 == 0)


def test_the_time_for_which_the_process_was_suspended_does_not_count() -> None:
    worker = Worker()
    assert not any(worker.checks(30))
    worker.now += 3600
    assert not worker.dog.check()


def test_every_sign_of_life_restarts_the_patience() -> None:
    worker = Worker()
    assert not any(worker.checks(55))
    worker.jobs += 1
    assert not any(worker.checks(60))
    assert any(worker.checks(10))


def test_only_consumed_lanes_with_room_count(valkey: redis.Redis) -> None:
    open_lanes = [Kind.OTP]
    waits = jobs_waiting(valkey, ["otp", "marketing"], lambda: open_lanes)
    valkey.lpush("marketing", "a job")
    valkey.lpush("utility", "a job")
    assert not waits()
    open_lanes = [Kind.OTP, Kind.UTILITY, Kind.MARKETING]
    assert waits()
    valkey.delete("marketing")
    assert not waits()


def test_it_ends_the_worker_once_and_stops_checking(valkey: redis.Redis) -> None:
    valkey.lpush("otp", "a job that is not taken")
    ended: list[str] = []
    dog = Watchdog(
        has_jobs=jobs_waiting(valkey, ["otp"], lambda: [Kind.OTP]),
        liveness=lambda: 0,
        end=lambda: ended.append("ended"),
        patience_s=0.3,
    )
    dog.start()
    assert dog.thread is not None
    dog.thread.join(10)
    assert ended == ["ended"]
    assert not dog.thread.is_alive()


def test_a_patience_of_zero_switches_it_off() -> None:
    dog = Watchdog(has_jobs=lambda: True, liveness=lambda: 0, end=lambda: None, patience_s=0)
    dog.start()
    assert dog.thread is None
