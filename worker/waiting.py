"""Waiting for whichever comes first."""

from __future__ import annotations

import asyncio
import contextlib


async def wait_until(event: asyncio.Event, at: float | None) -> None:
    """Return when the event is set, or at an instant of the event loop's clock; None: whenever it is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(at):
            await event.wait()
