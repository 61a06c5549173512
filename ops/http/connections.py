"""Connections of the HTTP API: uvicorn's, and one that sends no request, or half of one, or an endless one, is closed.

uvicorn closes a kept connection on which nothing comes. It waits for ever for a first request and for the rest of one,
and keeps what comes of its head, however much that is.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: The head of a request comes within this time of its connection, or of the answer before it.
HEAD_S = 30.0
#: The most bytes of a head, and of the headers behind a body. What is read at once may be more, once.
MOST_HEAD_BYTES = 64 * 1024
_TOO_LARGE = f"The headers of the request have more than {MOST_HEAD_BYTES} bytes."


class Connection(HttpToolsProtocol):
    """Belongs to one event loop. What its parser calls may raise: then uvicorn answers 400."""

    head_s = HEAD_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._late: asyncio.TimerHandle | None = None
        self._is_in_head = False
        self._head_bytes = 0
        self._header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_in_head = self._is_in_head
        super().data_received(data)
        if self._is_in_head and was_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._is_in_head = False
                self.send_400_response(_TOO_LARGE)

    def on_message_begin(self) -> None:
        self._is_in_head, self._head_bytes, self._header_bytes = True, 0, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MOST_HEAD_BYTES:
            raise ValueError(_TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
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
