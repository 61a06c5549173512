"""One TCP connection, by hand: only a bare protocol can reset, cut, drip and hang exactly where a fault asks
for it.
"""

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
from simulator.kernel_timestamps import waited_seconds
from simulator.plan import Cut, Pieces, Plan, Silence
from simulator.replies import HttpDate, http_reply, to_json

#: More pipelined requests than this wait in the kernel.
_MOST_WAITING = 64
_MAX_HEADER_BYTES = 64 * 1024


@dataclass(slots=True)
class Switchboard:
    """What all connections of one simulator share."""

    answer: Callable[[Request], Plan]
    greet: Callable[[float], Cut | None]
    max_body_bytes: int
    max_requests: int | None
    idle_seconds: float | None
    connections: set[Connection] = field(default_factory=set)
    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    date: HttpDate = field(default_factory=HttpDate)
    malformed: int = 0
    """Connections that spoke something else than HTTP, or too much of it."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever a connection falls idle or ends."""
    _latest: float = 0.0

    def arrival(self, waited_seconds: float) -> tuple[float, float]:
        """Unix ms and monotonic seconds of something that arrived so long ago; never before what was told last."""
        now = self.monotonic()
        self._latest = max(self._latest, now - waited_seconds)
        return (self.wall() - (now - self._latest)) * 1000, self._latest


class Connection(asyncio.Protocol):
    """Reads requests, asks the switchboard for a plan for each, and carries the plans out in order."""

    def __init__(self, board: Switchboard) -> None:
        self._board = board
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._plans: deque[tuple[Plan, bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._errand: asyncio.Task[None] | None = None
        self._under_way = False
        self._done = False
        self._is_deaf = False
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
        self._board.connections.add(self)
        cut = self._board.greet(self._board.monotonic())
        if cut is not None:
            self._end(cut.how)
            return
        self._watch_idleness()

    def data_received(self, data: bytes) -> None:
        if self._done or self._is_deaf:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            # A mistake of ours, not of the peer: let it be seen.
            raise
        except httptools.HttpParserUpgrade:
            # Whoever asks to speak something else is answered in HTTP, and what follows is not listened to.
            self._is_deaf = True
        except httptools.HttpParserError:
            self._reject(400, "not a request this server understands")

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._done = True
        self._board.connections.discard(self)
        for timer in (self._timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        if self._errand is not None:
            self._errand.cancel()
        for plan, _ in self._plans:
            if plan.lost is not None:
                plan.lost()
        self._plans.clear()
        self._board.changed.set()

    # ---- the parser ------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._begin_message()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._weigh_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")
        self._weigh_head(len(name) + len(value))

    def _weigh_head(self, size: int) -> None:
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
        if self._body_bytes > self._board.max_body_bytes:
            self._reject(413, "body too large")

    def on_message_complete(self) -> None:
        if self._done:
            return
        received_at_ms, now = self._board.arrival(waited_seconds(self._transport.get_extra_info("socket")))
        path, _, query = self._url.decode("latin-1").partition("?")
        request = Request(
            method=self._parser.get_method().decode("latin-1"),
            path=path,
            query=query,
            headers=self._headers,
            body=self._body[0] if len(self._body) == 1 else b"".join(self._body),
            received_at_ms=received_at_ms,
            now=now,
        )
        self._served += 1
        keep = (
            self._parser.should_keep_alive()
            and not self._parser.should_upgrade()
            and self._served != self._board.max_requests
        )
        self._plans.append((self._board.answer(request), keep))
        if len(self._plans) > _MOST_WAITING:
            self._transport.pause_reading()
        self._go_on()

    def _reject(self, status: int, why: str) -> None:
        """Answer what is no proper request, and close; requests before it lose their answers."""
        if self._done:
            return
        self._board.malformed += 1
        date = self._board.date.at(self._board.wall() * 1000)
        self._transport.write(http_reply(status, to_json({"Message": why}), date, close=True))
        self._end("close")

    # ---- the plans, one after the other ----------------------------------------------------------

    def _go_on(self) -> None:
        """Carry out plans until one has to wait for something."""
        while self._plans and not self._under_way and not self._done:
            self._under_way = True
            plan, _ = self._plans[0]
            if plan.first is not None:
                self._errand = self._loop.create_task(self._run_errand(plan))
            elif plan.delay_seconds > 0:
                self._timer = self._loop.call_later(plan.delay_seconds, self._deliver_and_go_on, plan)
            else:
                self._deliver(plan)

    async def _run_errand(self, plan: Plan) -> None:
        assert plan.first is not None
        await plan.first()
        self._errand = None
        if plan.delay_seconds > 0:
            self._timer = self._loop.call_later(plan.delay_seconds, self._deliver_and_go_on, plan)
        else:
            self._deliver_and_go_on(plan)

    def _deliver_and_go_on(self, plan: Plan) -> None:
        self._timer = None
        self._deliver(plan)
        self._go_on()

    def _deliver(self, plan: Plan) -> None:
        delivery = plan.delivery
        if isinstance(delivery, Pieces):
            self._drip(plan.reply, delivery)
            return
        if plan.reply:
            self._transport.write(plan.reply)
        if isinstance(delivery, Silence):
            if delivery.seconds is not None:
                self._timer = self._loop.call_later(delivery.seconds, self._cut, "close")
        elif isinstance(delivery, Cut):
            self._cut(delivery.how)
        else:
            self._finish()

    def _drip(self, left: bytes, pieces: Pieces) -> None:
        self._transport.write(left[: pieces.bytes])
        left = left[pieces.bytes :]
        if left:
            self._timer = self._loop.call_later(pieces.interval_seconds, self._drip, left, pieces)
            return
        self._timer = self._loop.call_later(0, self._finish_and_go_on)

    def _finish_and_go_on(self) -> None:
        self._finish()
        self._go_on()

    def _finish(self) -> None:
        """The reply is out."""
        _, keep = self._plans.popleft()
        self._under_way = False
        if not keep:
            self._end("close")
            return
        if not self._plans:
            self._transport.resume_reading()
            self._watch_idleness()
            self._board.changed.set()

    def _cut(self, how: str) -> None:
        """End as the plan asks for; its own verdict already says that the answer is lost."""
        self._plans.popleft()
        self._end(how)

    # ---- the end ---------------------------------------------------------------------------------

    @property
    def is_answering(self) -> bool:
        """Whether an answer is under way that will come; one that hangs for ever will not."""
        return bool(self._plans) and not isinstance(self._plans[0][0].delivery, Silence)

    def _watch_idleness(self) -> None:
        if self._board.idle_seconds is not None:
            self._idle_timer = self._loop.call_later(self._board.idle_seconds, self._end, "close")

    def _end(self, how: str) -> None:
        if self._done:
            return
        self._done = True
        if how == "reset":
            self.reset()
        else:
            self._transport.close()

    def reset(self) -> None:
        """Send a RST: closing a socket that lingers for no time throws away what it holds."""
        self._done = True
        raw = self._transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def hang_up(self) -> None:
        """End at the stop of the simulator."""
        self._done = True
        self._transport.abort()
