"""The seam over asyncio's own sockets and httptools (Node's HTTP parser): what the hot path uses.

httpx spends about seven times the CPU on a POST (``bench/vendor_client.py`` prints it) and keeps bytes that
come after a reply for the next request's. Here one object owns one connection, so what was written and what
came back is known to the byte.
"""

from __future__ import annotations

import asyncio
import random
import re
import select
import ssl
from collections.abc import Callable, Mapping
from functools import partial

import httptools

from bulksend.errors import TransportError
from bulksend.failpoints import reach
from bulksend.gateway.address import Verify, read_address, tls_context
from bulksend.gateway.payload import USER_AGENT
from bulksend.gateway.transport import HELD, Failure, RawReply, Start, Timeouts

MAX_HEAD = 65536
"""Bytes of status line and headers. The vendor's have about 300."""

_NOT_IN_A_HEADER = re.compile(r"[^\t\x20-\x7e]")


class DisconnectedError(TransportError):
    """The connection ended before the reply did."""


class InvalidReplyError(TransportError):
    """What came back is not HTTP/1.1, or its head is too long."""


class ReadTimeoutError(TransportError):
    """Nothing came for ``Timeouts.read`` seconds."""


class WriteTimeoutError(TransportError):
    """The request was not taken off our hands within ``Timeouts.write`` seconds."""


#: A timer that goes off by so little too early is right.
_TICK_S = 0.001
#: Connections that may end, one after the other, while their POST waits for its start.
_LINES_TRIED = 3
#: Turns of the event loop in which it has surely read what waits in a socket: it looks in one, and reads in the next.
_TURNS_TO_READ = 4


class SocketTransport:
    """At most ``connections`` POSTs at once to ``url``, each over a kept-alive HTTP/1.1 connection.

    No redirects, no retries, no proxy. ``keepalive_seconds`` has to stay below the time after which the
    vendor closes an idle connection, or a POST may meet the closing one and be in doubt. After ``max_age_seconds``, or
    up to a tenth less, a connection is closed between two POSTs: its name may have another address by then, and
    connections made together need not end together. Raises ValueError for a URL that is not http(s), OSError for a
    PEM file that cannot be read.
    """

    def __init__(
        self,
        url: str,
        *,
        timeouts: Timeouts | None = None,
        connections: int = 200,
        verify: Verify = True,
        keepalive_seconds: float = 15.0,
        max_age_seconds: float = 300.0,
        max_body: int = 65536,
    ) -> None:
        address = read_address(url)
        self._tls = tls_context(verify) if address.scheme == "https" else None
        self._host = address.raw_host.decode("ascii")
        self._port = address.port or (443 if self._tls else 80)
        self._head = (
            f"POST {address.raw_path.decode('ascii')} HTTP/1.1\r\nHost: {address.netloc.decode('ascii')}\r\n"
            "Accept: application/json\r\nAccept-Encoding: identity\r\n"
        )
        self._timeouts = timeouts or Timeouts()
        self._keepalive_seconds = keepalive_seconds
        self._max_age_seconds = max_age_seconds
        self._max_body = max_body
        self._connections = max(1, connections)
        self._busy = 0
        self._waiting = 0
        self._over = asyncio.Event()
        """Set for an instant whenever a POST is over that somebody waits for."""
        self._idle: list[_Line] = []
        self._up: set[_Line] = set()
        self._closed = False

    async def post(
        self, body: bytes, headers: Mapping[str, str], start: Start | None = None
    ) -> RawReply | Failure:
        """See :class:`~bulksend.gateway.transport.Transport`."""
        request = self._request(body, headers)
        if request is None:
            return _unsent("InvalidHeader", "send", local=True)
        if self._closed:
            return _unsent("TransportClosed", "pool")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeouts.total
        if self._busy >= self._connections and not await self._wait_for_room(deadline):
            return _unsent("PoolTimeout", "pool")
        self._busy += 1
        try:
            return await self._post_on_a_line(request, deadline, start, loop)
        finally:
            self._is_over()

    def post_now(
        self,
        body: bytes,
        headers: Mapping[str, str],
        begin: Callable[[], bool],
        done: Callable[[RawReply | Failure], None],
    ) -> asyncio.Future[RawReply] | None:
        """See :class:`~bulksend.gateway.transport.Transport`."""
        if self._closed or self._busy >= self._connections:
            return None
        now = asyncio.get_running_loop().time()
        line = self._idle_line(now)
        if line is None:
            return None
        request = self._request(body, headers)
        if request is None or (line.is_tls and line.has_unread()):
            self._put_back(line, line.idle_since)
            return None
        reach("connected")
        may_begin = False
        try:
            may_begin = begin()
        finally:
            if not may_begin:
                self._put_back(line, line.idle_since)
        if not may_begin:
            return None
        self._busy += 1
        waiter = line.start(request, now + self._timeouts.total, now)
        waiter.add_done_callback(partial(self._answered, line, done))
        return waiter

    def _answered(
        self, line: _Line, done: Callable[[RawReply | Failure], None], waiter: asyncio.Future[RawReply]
    ) -> None:
        """A POST that began at once is over."""
        reached = None if waiter.cancelled() else line.reached(waiter)
        if reached is None:
            line.abort()
        else:
            self._put_back(line, asyncio.get_running_loop().time())
        self._is_over()
        if reached is not None:
            done(reached)

    def _is_over(self) -> None:
        self._busy -= 1
        if self._waiting:
            self._over.set()
            self._over.clear()

    def _put_back(self, line: _Line, now: float) -> None:
        """A connection is used no longer: the next POST may have it, if nothing is known against it."""
        if line.is_clean and not self._closed and now < line.retires_at:
            line.idle_since = now
            self._idle.append(line)
        else:
            line.abort()

    def ready(self) -> int:
        """See :class:`~bulksend.gateway.transport.Transport`."""
        now = asyncio.get_running_loop().time()
        # The one used last is at the end. What the vendor has closed leaves by itself: see _ended.
        while self._idle and not self._is_fresh(self._idle[0], now):
            self._idle.pop(0).abort()
        return len(self._idle)

    def _is_fresh(self, line: _Line, now: float) -> bool:
        """Whether an idle connection was used lately, and is not too old."""
        return line.idle_since > now - self._keepalive_seconds and now < line.retires_at

    def connected(self) -> int:
        """See :class:`~bulksend.gateway.transport.Transport`."""
        return len(self._up)

    def _ended(self, line: _Line) -> None:
        """A connection is gone: nobody shall count on it."""
        self._up.discard(line)
        if line in self._idle:
            self._idle.remove(line)

    async def aclose(self) -> None:
        """See :class:`~bulksend.gateway.transport.Transport`."""
        self._closed = True
        while self._idle:
            self._idle.pop().abort()
        # The event loop closes the sockets on its next round.
        await asyncio.sleep(0)

    async def _wait_for_room(self, deadline: float) -> bool:
        """Whether there was room in time."""
        deadline = min(deadline, asyncio.get_running_loop().time() + self._timeouts.pool)
        self._waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                while self._busy >= self._connections:
                    await self._over.wait()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
        return True

    async def _post_on_a_line(
        self, request: bytes, deadline: float, start: Start | None, loop: asyncio.AbstractEventLoop
    ) -> RawReply | Failure:
        line: _Line | None = None
        try:
            for _ in range(_LINES_TRIED):
                try:
                    line = self._idle_line(loop.time())
                    is_new = line is None
                    line = line or await self._new_line(deadline)
                except Exception as error:  # noqa: BLE001 - no connection: nothing can have left
                    stage = "tls" if isinstance(error, ssl.SSLError) else "connect"
                    return _unsent(type(error).__name__, stage, local=isinstance(error, UnicodeError))
                reach("connected")
                if start is None and (is_new or not line.is_tls):
                    return await line.exchange(request, deadline)
                if line.is_tls:
                    await line.read_what_waits()
                if start is not None and not await self._may_begin(line, start):
                    return HELD
                if not line.has_ended():
                    if start is not None:
                        deadline = loop.time() + self._timeouts.total
                        start.begin()
                    return await line.exchange(request, deadline)
                line.abort()
                line = None
            return _unsent(DisconnectedError.__name__, "start")
        finally:
            if line is not None:
                self._put_back(line, loop.time())

    async def _may_begin(self, line: _Line, start: Start) -> bool:
        """Whether ``start`` lets it, asked once more where bytes had come in meanwhile: reading them took a moment."""
        for _ in range(_LINES_TRIED):
            if not await start.wait():
                return False
            if line.has_ended() or not line.has_unread():
                break
            await line.read_what_waits()
        return True

    def _idle_line(self, now: float) -> _Line | None:
        """The connection used last that is still good; those that are not are closed."""
        while self._idle:
            line = self._idle.pop()
            if self._is_fresh(line, now) and not line.has_ended():
                return line
            line.abort()
        return None

    async def _new_line(self, deadline: float) -> _Line:
        line = _Line(self._timeouts, self._max_body, self._ended)
        deadline = min(deadline, asyncio.get_running_loop().time() + self._timeouts.connect)
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.get_running_loop().create_connection(
                    lambda: line, self._host, self._port, ssl=self._tls, happy_eyeballs_delay=0.25
                )
        except BaseException:
            line.abort()  # it may have come up just as we gave up
            raise
        line.is_clean = True
        age = self._max_age_seconds * random.uniform(0.9, 1.0)
        line.retires_at = asyncio.get_running_loop().time() + age
        self._up.add(line)
        return line

    def _request(self, body: bytes, headers: Mapping[str, str]) -> bytes | None:
        """The bytes of the request; None where HTTP cannot carry one of the headers."""
        lines = [f"{name}: {value}" for name, value in headers.items()]
        if "User-Agent" not in headers:
            lines.append(f"User-Agent: {USER_AGENT}")
        if _NOT_IN_A_HEADER.search("".join(lines)):
            return None
        lines.append(f"Content-Length: {len(body)}\r\n\r\n")
        return (self._head + "\r\n".join(lines)).encode("ascii") + body


def _unsent(error: str, stage: str, *, local: bool = False) -> Failure:
    return Failure(error, bytes_sent=False, reply_began=False, stage=stage, local=local)


class _Line(asyncio.Protocol):
    """One connection, one request at a time. The methods that httptools calls begin with ``on_``."""

    def __init__(self, timeouts: Timeouts, max_body: int, on_end: Callable[[_Line], None]) -> None:
        self._timeouts = timeouts
        self._on_end = on_end
        self._max_body = max_body
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[RawReply] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = self._late_at = 0.0
        self._late: type[Exception] = TimeoutError
        self._poll = select.poll()
        self._ended = False
        self.is_tls = False
        self.idle_since = 0.0
        self.retires_at = 0.0
        """When it is too old for another POST, in the loop's seconds."""
        self._begin()

    def _begin(self) -> None:
        """Forget the last exchange."""
        self.stage = "send"
        self.bytes_sent = False
        self.reply_began = False
        self.is_clean = False
        """Whether nothing is known against using the connection again."""
        self._parser = httptools.HttpResponseParser(self)
        self._fed = 0
        self._begin_reply()

    def _begin_reply(self) -> None:
        self._status = 0
        self._head_size = 0
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._head_is_read = False

    # -- our side ----------------------------------------------------------------------------------------

    async def exchange(self, request: bytes, deadline: float) -> RawReply | Failure:
        """Write the request and wait for its reply, until ``deadline`` at most, in the loop's seconds.

        Raises CancelledError and nothing else: whatever goes wrong, the line knows what left us.
        """
        waiter = self.start(request, deadline, self._loop.time())
        try:
            await waiter
        except Exception:  # noqa: BLE001, S110 - see ``reached``
            pass
        finally:
            self._waiter = None
        return self.reached(waiter)

    def start(self, request: bytes, deadline: float, now: float) -> asyncio.Future[RawReply]:
        """Write the request; the future of its reply, to be handed to ``reached`` when it is done."""
        self._begin()
        self._deadline = deadline
        self._waiter = waiter = self._loop.create_future()
        try:
            if self._ended or self._transport is None:
                raise DisconnectedError
            self.bytes_sent = True
            self.stage = "wait"
            self._transport.write(request)  # may call pause_writing
            reach("request_written")
            self._set_timer(now)
        except Exception as error:  # noqa: BLE001 - see ``reached``
            self._fail(error)
        return waiter

    def reached(self, waiter: asyncio.Future[RawReply]) -> RawReply | Failure:
        """What came of an exchange that is over. Whatever went wrong, the line knows what left us."""
        self._waiter = None
        try:
            reply = waiter.result()
            reach("reply_read")
        except Exception as error:  # noqa: BLE001 - see above
            return Failure(type(error).__name__, self.bytes_sent, self.reply_began, self.stage)
        return reply

    def has_ended(self) -> bool:
        """Whether the vendor hung up or spoke unasked, even if the event loop has not seen it yet.

        Over TLS what waits unread may be session tickets or new keys, which end nothing: see ``has_unread``.
        """
        if self._ended or self._transport is None or self._transport.is_closing():
            return True
        return not self.is_tls and self.has_unread()

    def has_unread(self) -> bool:
        """Whether bytes wait that the event loop has not read yet, or the connection's end."""
        return bool(self._poll.poll(0))

    async def read_what_waits(self) -> None:
        """Let the event loop read it: over TLS, ``has_ended`` knows then what it was."""
        for _ in range(_TURNS_TO_READ):
            if self.has_ended() or not self.has_unread():
                return
            await asyncio.sleep(0)

    def abort(self) -> None:
        """Hang up now."""
        if self._transport is not None:
            self._transport.abort()

    def _set_timer(self, now: float) -> None:
        """Start the timeout of the operation that is under way.

        A POST that goes well costs no timer: the connection's own goes off at the timeout of some earlier one, finds
        that it is too early, and is set anew.
        """
        is_writing = self.stage == "send"
        at = now + (self._timeouts.write if is_writing else self._timeouts.read)
        self._late = WriteTimeoutError if is_writing else ReadTimeoutError
        if self._deadline < at:
            at, self._late = self._deadline, TimeoutError
        self._late_at = at
        if self._timer is None:
            self._timer = self._loop.call_at(at, self._on_timer)
        elif self._timer.when() > at:
            self._timer.cancel()
            self._timer = self._loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() + _TICK_S < self._late_at:
            self._timer = self._loop.call_at(self._late_at, self._on_timer)
        else:
            self._fail(self._late)

    def _fail(self, error: type[Exception] | Exception) -> None:
        self.is_clean = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def _finish(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(RawReply(self._status, self._headers, bytes(self._body)))

    # -- asyncio's side ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.is_tls = transport.get_extra_info("ssl_object") is not None
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        transport.set_write_buffer_limits(high=0)

    def pause_writing(self) -> None:
        """The request did not fit into the kernel's buffer."""
        self.stage = "send"

    def resume_writing(self) -> None:
        """All of it is written."""
        self.stage = "wait"
        self._set_timer(self._loop.time())

    def data_received(self, data: bytes) -> None:
        """Feed the parser; bytes that no request asked for spoil the connection."""
        if self._waiter is None or self._waiter.done():
            self.is_clean = False
            self._ended = True
            self._on_end(self)
            return
        self.reply_began = True
        self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._finish()
            self.is_clean = False
        except httptools.HttpParserError:
            # After a whole reply only the rest is wrong, and _fail does nothing but spoil the connection.
            self._fail(InvalidReplyError)
        if not self._waiter.done():
            if not self._head_is_read and self._fed > MAX_HEAD:
                self._fail(InvalidReplyError)
            elif self.stage != "send":
                self._set_timer(self._loop.time())

    def eof_received(self) -> None:
        """The vendor says no more; returning None closes our side as well."""
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._end(exc)

    def _end(self, exc: Exception | None) -> None:
        self._ended = True
        self.is_clean = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._on_end(self)
        # Without a length, the end of the connection is the end of the body; a reset is no such end.
        if (
            exc is None
            and self._head_is_read
            and not {"content-length", "transfer-encoding"} & set(self._headers)
        ):
            self._finish()
        else:
            self._fail(exc or DisconnectedError)

    # -- httptools' side ---------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A reply begins: the one that was asked for, the one after a 1xx, or one too many."""
        if self._waiter is not None and self._waiter.done():
            self.is_clean = False
        else:
            self._begin_reply()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        if self._head_size > MAX_HEAD:
            raise InvalidReplyError
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        self._head_is_read = True
        self.stage = "read"

    def on_body(self, body: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            return
        self._body += body
        if len(self._body) > self._max_body:
            del self._body[self._max_body + 1 :]
            self.is_clean = False
            self._finish()

    def on_message_complete(self) -> None:
        if self._waiter is None or self._waiter.done():
            return
        if self._status < 200:  # the reply itself is still to come
            self._begin_reply()
            return
        # A reply that came before the request was written leaves the rest of the request in the pipe.
        all_is_written = self._transport is not None and not self._transport.get_write_buffer_size()
        self.is_clean = all_is_written and self._parser.should_keep_alive()
        self._finish()
