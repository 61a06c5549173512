"""Waiting until an instant of the event loop's clock."""

from __future__ import annotations

import asyncio
import contextlib


async def wait_until(event: asyncio.Event, at: float | None) -> None:
    """Return when the event is set, or at the loop's time ``at``; None waits for the event only."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(at):
            await event.wait()
