"""Reads of keys that are not remembered: requests that come together with one key share one read of the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from fastapi.concurrency import run_in_threadpool

from bulksend.operations.access import Origin, Principal


class Principals:
    """Belongs to one event loop. ``read`` is ``KeyRing.principal``."""

    def __init__(self, read: Callable[[str, Origin], Principal]) -> None:
        self._read = read
        self._running: dict[str, asyncio.Future[Principal]] = {}

    async def of_key(self, key: str, origin: Origin) -> Principal:
        """The principal of a key, read on a thread. Raises what ``read`` raises."""
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = asyncio.ensure_future(run_in_threadpool(self._read, key, origin))
            running.add_done_callback(lambda _: self._running.pop(key))
        # One caller that leaves does not end the read of the others.
        return replace(await asyncio.shield(running), origin=origin)
