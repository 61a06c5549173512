"""What `doctor` found here when a person asked last. It asks the vendor, so no page does it by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from bulksend.operations.doctor import Examination


@dataclass(frozen=True, slots=True)
class Found:
    """An examination, and when it ended."""

    examination: Examination
    at: datetime


class Examined:
    """One examination at a time; who asks while one goes on waits for its result."""

    def __init__(self, examine: Callable[[], Examination]) -> None:
        self._examine = examine
        self._lock = threading.Lock()
        self._runs = 0
        self.last: Found | None = None

    def again(self) -> Found:
        """Examine the installation now."""
        before = self._runs
        with self._lock:
            if self.last is None or self._runs == before:
                self.last = Found(self._examine(), datetime.now(UTC))
                self._runs += 1
            return self.last
