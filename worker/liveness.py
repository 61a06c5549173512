"""Signs of life of this process's Celery consumer: written by it, read by the watchdog."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _nobody() -> None:
    """Nobody wants to know."""


@dataclass(slots=True)
class Liveness:
    """Written on the consumer's thread alone."""

    jobs: int = 0
    """Entries taken out of lanes."""
    tries: int = 0
    """Tries to reach a Redis that is away: who still tries has not stopped."""
    on_answer: Callable[[], None] = _nobody
    """Called for each answer to the asking for jobs, also for "there is none"."""

    def taken(self) -> None:
        """A lane gave something."""
        self.jobs += 1
        self.on_answer()

    def seen(self) -> tuple[int, int]:
        """Whatever changes while the consumer lives and has something to do."""
        return self.jobs, self.tries


#: One consumer a process.
signs = Liveness()
