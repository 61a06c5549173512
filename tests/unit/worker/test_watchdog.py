"""When a worker is taken for stuck, and above all when it is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import redis

from bulksend.messaging.states import Kind
from worker.watchdog import Watchdog, jobs_wait

PATIENCE_S = 60.0


@dataclass
class Worker:
    """A worker as the watchdog sees it, by a clock that we set."""

    waiting: bool = True
    away: bool = False
    jobs: int = 0
    now: float = 1000.0
    dog: Watchdog = field(init=False)

    def __post_init__(self) -> None:
        self.dog = Watchdog(
            waiting=self.jobs_wait,
            signs=lambda: self.jobs,
            end=lambda: None,
            patience_s=PATIENCE_S,
            steady_s=lambda: self.now,
        )

    def jobs_wait(self) -> bool:
        if self.away:
            raise redis.TimeoutError
        return self.waiting

    def looks(self, seconds: float) -> Iterator[bool]:
        """A look every five seconds."""
        for _ in range(int(seconds / 5)):
            self.now += 5
            yield self.dog.look()


def test_jobs_that_wait_for_the_whole_patience_while_nothing_is_taken_are_a_silent_stop() -> None:
    worker = Worker()
    found = list(worker.looks(70))
    assert found.index(True) * 5 + 5 == PATIENCE_S + 5  # the first look only learns what there is


@pytest.mark.parametrize(
    "well", ["takes one now and then", "no job or no room", "Redis away", "looked away once"]
)
def test_who_takes_a_job_now_and_then_or_has_none_or_no_redis_is_left_alone(well: str) -> None:
    worker = Worker(waiting=well != "no job or no room", away=well == "Redis away")
    for n, found in enumerate(worker.looks(600)):
        assert not found
        if n % 9 == 0 and well == "takes one now and then":
            worker.jobs += 1
        worker.away = well == "Redis away" or (well == "looked away once" and n % 9 == 0)


def test_a_process_that_was_stopped_itself_is_not_taken_for_stuck_when_it_goes_on() -> None:
    worker = Worker()
    assert not any(worker.looks(30))
    worker.now += 3600
    assert not worker.dog.look()


def test_patience_begins_anew_after_every_sign_of_life() -> None:
    worker = Worker()
    assert not any(worker.looks(55))
    worker.jobs += 1
    assert not any(worker.looks(60))
    assert any(worker.looks(10))


def test_only_lanes_that_are_consumed_and_have_room_count(valkey: redis.Redis) -> None:
    open_lanes = [Kind.OTP]
    waits = jobs_wait(valkey, ["otp", "marketing"], lambda: open_lanes)
    valkey.lpush("marketing", "a job")
    valkey.lpush("utility", "a job")
    assert not waits()
    open_lanes = [Kind.OTP, Kind.UTILITY, Kind.MARKETING]
    assert waits()
    valkey.delete("marketing")
    assert not waits()


def test_it_ends_the_worker_once_and_looks_no_more(valkey: redis.Redis) -> None:
    valkey.lpush("otp", "a job that nobody takes")
    ended: list[str] = []
    dog = Watchdog(
        waiting=jobs_wait(valkey, ["otp"], lambda: [Kind.OTP]),
        signs=lambda: 0,
        end=lambda: ended.append("ended"),
        patience_s=0.3,
    )
    dog.start()
    assert dog.thread is not None
    dog.thread.join(10)
    assert ended == ["ended"]
    assert not dog.thread.is_alive()


def test_a_patience_of_nothing_is_never() -> None:
    dog = Watchdog(waiting=lambda: True, signs=lambda: 0, end=lambda: None, patience_s=0)
    dog.start()
    assert dog.thread is None
