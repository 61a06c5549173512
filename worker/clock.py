"""A clock that never steps, and waiting until an instant of the event loop's clock."""

from __future__ import annotations

import asyncio
import contextlib
import time


def steady_seconds() -> float:
    """Seconds of a clock that never steps. Where the system has CLOCK_BOOTTIME, it counts suspended time too."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(clock) if clock is not None else time.monotonic()


async def wait_until(event: asyncio.Event, at: float | None) -> None:
    """Return when the event is set, or at the loop's time ``at``; None waits for the event only."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(at):
            await event.wait()
