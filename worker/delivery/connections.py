"""Connections to the vendor, had before their slices: a POST that waited for TCP and TLS would begin too late."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

from bulksend.messaging import Answer
from worker.delivery.dependencies import Vendor
from worker.delivery.in_flight import InFlightMessage

#: This many connections that ended, and no POST that began, are an outage.
_OPENED_IN_VAIN = 3


class Connections:
    """Opens connections for messages that wait for their slices, and keeps those that had none in theirs.

    ``waiting``: how many wait for their slices. ``on_connected`` gets a message that may ask for another slice now.
    ``on_failed`` gets the vendor's answer to a connect: it is that of one message that waits.
    """

    def __init__(
        self,
        vendor: Vendor,
        *,
        waiting: Callable[[], int],
        on_connected: Callable[[InFlightMessage], None],
        on_failed: Callable[[InFlightMessage | None, Answer], None],
    ) -> None:
        self._vendor = vendor
        self._waiting = waiting
        self._on_connected = on_connected
        self._on_failed = on_failed
        self._unconnected: deque[InFlightMessage] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._opened = 0
        """Since the last POST that began."""

    def open_ahead(self) -> None:
        """Open connections for all messages that wait, as far as more may be opened."""
        waiting = self._waiting() + len(self._unconnected)
        wanted = waiting - self._vendor.idle_connections() - len(self._connecting)
        for _ in range(min(wanted, self._vendor.connections_left())):
            connecting = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add(connecting)
            connecting.add_done_callback(self._connecting.discard)

    async def _connect(self) -> None:
        failed = await self._vendor.connect()
        self._connecting.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        if failed is not None:
            self._on_failed(self._unconnected.popleft() if self._unconnected else None, failed)
        else:
            self._opened += 1
        self.became_idle()

    def was_used(self) -> None:
        """A POST began."""
        self._opened = 0

    def end_at_once(self) -> bool:
        """Whether the vendor ends each connection before a POST can begin. Asked where none is idle or has a POST."""
        if self._opened < _OPENED_IN_VAIN:
            return False
        self._opened = 0
        return True

    def wait_for_one(self, message: InFlightMessage) -> None:
        """A message has no connection in its slice: ``on_connected`` gets it when one is idle."""
        self._unconnected.append(message)
        self.open_ahead()

    def became_idle(self) -> None:
        """A connection may have become idle."""
        if not self._unconnected:
            return
        if self._vendor.idle_connections():
            self._on_connected(self._unconnected.popleft())
        else:
            self.open_ahead()

    def stop(self) -> None:
        """Open none any more."""
        for connecting in self._connecting:
            connecting.cancel()
