"""One TCP connection as an asyncio protocol: it can reset, cut, drip and hang exactly where a fault demands."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import httptools

from simulator.checks import Request
from simulator.kernel_timestamps import arrival_time
from simulator.replies import HttpDate, http_reply, to_json
from simulator.transmission import Cut, Pieces, Silence, Transmission

#: Reading stops while this many pipelined requests wait.
_MAX_PIPELINED = 64
_MAX_HEADER_BYTES = 64 * 1024


@dataclass(slots=True)
class ServerState:
    """What all connections of one simulator share."""

    answer: Callable[[Request], Transmission]
    on_connection: Callable[[float], Cut | None]
    max_body_bytes: int
    max_requests: int | None
    idle_seconds: float | None
    connections: set[Connection] = field(default_factory=set)
    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    date: HttpDate = field(default_factory=HttpDate)
    malformed: int = 0
    """Connections that sent something other than HTTP, or more than is allowed."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever a connection becomes idle or ends."""


class Connection(asyncio.Protocol):
    """Reads requests, asks for the transmission of each, and carries the transmissions out in order."""

    def __init__(self, board: ServerState) -> None:
        self._server_state = board
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transmissions: deque[tuple[Transmission, bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._before_reply: asyncio.Task[None] | None = None
        self._is_replying = False
        self._done = False
        self._ignores_input = False
        self._served = 0
        self._begin_message()

    def _begin_message(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0

    # ---- the socket ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server_state.connections.add(self)
        cut = self._server_state.on_connection(self._server_state.monotonic())
        if cut is not None:
            self._end(cut.how)
            return
        self._start_idle_timer()

    def data_received(self, data: bytes) -> None:
        if self._done or self._ignores_input:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            # A bug in this class, not in the request.
            raise
        except httptools.HttpParserUpgrade:
            # A request to switch protocols gets an HTTP reply; what follows it is ignored.
            self._ignores_input = True
        except httptools.HttpParserError:
            self._reject(400, "not a request this server understands")

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._done = True
        self._server_state.connections.discard(self)
        for timer in (self._timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        if self._before_reply is not None:
            self._before_reply.cancel()
        for transmission, _ in self._transmissions:
            if transmission.lost is not None:
                transmission.lost()
        self._transmissions.clear()
        self._server_state.changed.set()

    # ---- the parser ------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._begin_message()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_head_bytes(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")
        self._count_head_bytes(len(name) + len(value))

    def _count_head_bytes(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _MAX_HEADER_BYTES:
            self._reject(431, "request head too large")

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue" and not self._done:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._done:
            return
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > self._server_state.max_body_bytes:
            self._reject(413, "body too large")

    def on_message_complete(self) -> None:
        if self._done:
            return
        # A request that is read after another one may have arrived before it.
        received_at, now = arrival_time(self._transport.get_extra_info("socket"))
        path, _, query = self._url.decode("latin-1").partition("?")
        request = Request(
            method=self._parser.get_method().decode("latin-1"),
            path=path,
            query=query,
            headers=self._headers,
            body=self._body[0] if len(self._body) == 1 else b"".join(self._body),
            received_at_ms=received_at * 1000,
            now=now,
        )
        self._served += 1
        keep = (
            self._parser.should_keep_alive()
            and not self._parser.should_upgrade()
            and self._served != self._server_state.max_requests
        )
        self._transmissions.append((self._server_state.answer(request), keep))
        if len(self._transmissions) > _MAX_PIPELINED:
            self._transport.pause_reading()
        self._send_replies()

    def _reject(self, status: int, why: str) -> None:
        """Answer a malformed request and close; requests before it lose their replies."""
        if self._done:
            return
        self._server_state.malformed += 1
        date = self._server_state.date.at(self._server_state.wall() * 1000)
        self._transport.write(http_reply(status, to_json({"Message": why}), date, close=True))
        self._end("close")

    # ---- the transmissions, one after the other --------------------------------------------------

    def _send_replies(self) -> None:
        """Carry out transmissions until one has to wait."""
        while self._transmissions and not self._is_replying and not self._done:
            self._is_replying = True
            transmission, _ = self._transmissions[0]
            if transmission.before is not None:
                self._before_reply = self._loop.create_task(self._reply_after_receipt(transmission))
            elif transmission.delay_seconds > 0:
                self._timer = self._loop.call_later(
                    transmission.delay_seconds, self._write_and_continue, transmission
                )
            else:
                self._write(transmission)

    async def _reply_after_receipt(self, transmission: Transmission) -> None:
        assert transmission.before is not None
        await transmission.before()
        self._before_reply = None
        if transmission.delay_seconds > 0:
            self._timer = self._loop.call_later(
                transmission.delay_seconds, self._write_and_continue, transmission
            )
        else:
            self._write_and_continue(transmission)

    def _write_and_continue(self, transmission: Transmission) -> None:
        self._timer = None
        self._write(transmission)
        self._send_replies()

    def _write(self, transmission: Transmission) -> None:
        mode = transmission.mode
        if isinstance(mode, Pieces):
            self._drip(transmission.reply, mode)
            return
        if transmission.reply:
            self._transport.write(transmission.reply)
        if isinstance(mode, Silence):
            if mode.seconds is not None:
                self._timer = self._loop.call_later(mode.seconds, self._cut, "close")
        elif isinstance(mode, Cut):
            self._cut(mode.how)
        else:
            self._finish()

    def _drip(self, left: bytes, pieces: Pieces) -> None:
        self._transport.write(left[: pieces.bytes])
        left = left[pieces.bytes :]
        if left:
            self._timer = self._loop.call_later(pieces.interval_seconds, self._drip, left, pieces)
            return
        self._timer = self._loop.call_later(0, self._finish_and_continue)

    def _finish_and_continue(self) -> None:
        self._finish()
        self._send_replies()

    def _finish(self) -> None:
        """The reply was written."""
        _, keep = self._transmissions.popleft()
        self._is_replying = False
        if not keep:
            self._end("close")
            return
        if not self._transmissions:
            self._transport.resume_reading()
            self._start_idle_timer()
            self._server_state.changed.set()

    def _cut(self, how: str) -> None:
        """End the connection, which loses the reply; the record of the request says so already."""
        self._transmissions.popleft()
        self._end(how)

    # ---- the end ---------------------------------------------------------------------------------

    @property
    def is_answering(self) -> bool:
        """Whether a reply is under way that will end: not one that hangs."""
        return bool(self._transmissions) and not isinstance(self._transmissions[0][0].mode, Silence)

    def _start_idle_timer(self) -> None:
        if self._server_state.idle_seconds is not None:
            self._idle_timer = self._loop.call_later(self._server_state.idle_seconds, self._end, "close")

    def _end(self, how: str) -> None:
        if self._done:
            return
        self._done = True
        if how == "reset":
            self.reset()
        else:
            self._transport.close()

    def reset(self) -> None:
        """Send a RST: with a linger time of 0, closing discards what was not sent."""
        self._done = True
        raw = self._transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def abort(self) -> None:
        """Close at once, at the stop of the simulator."""
        self._done = True
        self._transport.abort()
