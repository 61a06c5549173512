"""Values that cost much to find out and are asked for by many pages at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """Finds the value out at most once in ``seconds``; one thread does, and the others take what was found before."""

    def __init__(
        self, find: Callable[[], T], seconds: float, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._find, self._seconds, self._steady = find, seconds, steady
        self._lock = threading.Lock()
        self._found: tuple[float, T] | None = None

    def now(self) -> T:
        """The value; raises what finding it out raises."""
        found = self._found
        if found is not None and self._steady() - found[0] < self._seconds:
            return found[1]
        if found is not None and self._lock.locked():
            return found[1]
        with self._lock:
            found = self._found
            if found is None or self._steady() - found[0] >= self._seconds:
                value = self._find()
                self._found = found = (self._steady(), value)
            return found[1]
