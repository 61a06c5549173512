"""Connections of the HTTP API: uvicorn's, and one that sends no request, or half of one, is closed.

uvicorn closes a kept connection on which nothing comes. It waits for ever for a first request and for the rest of one.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: The head of a request comes within this time of its connection, or of the answer before it.
HEAD_S = 30.0


class Connection(HttpToolsProtocol):
    """Belongs to one event loop."""

    head_s = HEAD_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing():
            self._await_head()

    def _await_head(self) -> None:
        self._stop_waiting()
        self._late = self.loop.call_later(self.head_s, self._close)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close(self) -> None:
        # The answer before may have been that of a request whose successor came meanwhile.
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
