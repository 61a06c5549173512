"""The event loop of the engine's thread: uvloop's, with asyncio's clock and timers that are never early."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

import uvloop

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class EngineLoop(uvloop.Loop):
    """uvloop's clock has whole milliseconds, and its timers fire up to 1.5 ms early.

    A POST reads the clock right before its first byte. What waits for an instant, and finds that it is too early,
    would wait again for less than half a millisecond, which uvloop rounds to nothing: it would spin.
    """

    time = staticmethod(time.monotonic)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """In the next turn if ``when`` has passed, else up to two milliseconds after it, never before.

        libuv counts from the last whole millisecond, and polls for whole ones. The handle of a timer that is due has
        no ``when()``.
        """
        now = time.monotonic()
        milliseconds = math.ceil(when * 1000) - math.floor(now * 1000) if when > now else 0
        return self.call_later(milliseconds / 1000, callback, *args, context=context)


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """``asyncio.run`` on this loop."""
    with asyncio.Runner(loop_factory=EngineLoop) as runner:
        return runner.run(main)
