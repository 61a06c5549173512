"""Waits for what another process, thread or server does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(look: Callable[[], T | None], seconds: float = 60.0) -> T:
    """What ``look`` returns once it is true. The test fails after this time, which only what hangs takes."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"it did not come to that within {seconds:g} s: {found!r}"
        time.sleep(0.02)
    return found
