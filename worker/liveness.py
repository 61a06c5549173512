"""Signs of life of this process's Celery consumer: written by the consumer, read by the watchdog."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _ignore() -> None:
    pass


@dataclass(slots=True)
class Liveness:
    """Written on the consumer's thread alone."""

    jobs: int = 0
    """Entries taken out of lanes."""
    connection_failures: int = 0
    """Failures to use a Redis that is away: a consumer that still fails has not stopped."""
    on_reply: Callable[[], None] = _ignore
    """Called for each reply of Redis to the request for a job, also for "there is none"."""

    def job_taken(self) -> None:
        """Count an entry that was taken out of a lane."""
        self.jobs += 1
        self.on_reply()

    def snapshot(self) -> tuple[int, int]:
        """Changes as long as the consumer lives and has something to do."""
        return self.jobs, self.connection_failures


#: A process has one consumer, and Celery makes it by its import path.
liveness = Liveness()
