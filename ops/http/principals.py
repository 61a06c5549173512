"""Reads of keys that are not remembered: requests that come together with one key share one read of the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from bulksend.operations.access import Origin, Principal

#: Reads of different keys at a time.
_THREADS = 4


class Principals:
    """Belongs to one event loop. ``read`` is ``KeyRing.principal``.

    Its threads are its own: every request of a key waits for them, and none of them waits for other requests.
    """

    def __init__(self, read: Callable[[str, Origin], Principal]) -> None:
        self._read = read
        self._threads = ThreadPoolExecutor(_THREADS, "principals")
        self._running: dict[str, asyncio.Future[Principal]] = {}

    def close(self) -> None:
        """Let the reads under way end."""
        self._threads.shutdown()

    async def of_key(self, key: str, origin: Origin) -> Principal:
        """The principal of a key, read on a thread. Raises what ``read`` raises."""
        running = self._running.get(key)
        if running is None:
            loop = asyncio.get_running_loop()
            running = self._running[key] = loop.run_in_executor(self._threads, self._read, key, origin)
            running.add_done_callback(lambda _: self._running.pop(key))
        # One caller that leaves does not end the read of the others.
        return replace(await asyncio.shield(running), origin=origin)
