"""The transport of the hot path: an event loop's sockets and httptools (Node's HTTP parser).

httpx uses about seven times the CPU for a POST (``bench/vendor_client.py`` prints it) and takes bytes that follow a
reply for the next request's reply. Here one object owns one connection, so what was written and what was read is known
to the byte.
"""

from __future__ import annotations

import asyncio
import random
import re
import select
import socket
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

import httptools
from aiohappyeyeballs import start_connection

from bulksend.errors import TransportError
from bulksend.failpoints import reach
from bulksend.gateway.address import Verify, read_address, tls_context
from bulksend.gateway.payload import USER_AGENT
from bulksend.gateway.transport import Failure, RawReply, Timeouts

MAX_HEAD = 65536
"""Bytes of the status line and headers. The vendor's have about 300."""

_NOT_IN_A_HEADER = re.compile(r"[^\t\x20-\x7e]")


class DisconnectedError(TransportError):
    """The connection ended before the reply did."""


class InvalidReplyError(TransportError):
    """The reply is not HTTP/1.1, or its head is too long."""


class ReadTimeoutError(TransportError):
    """No byte of the reply came for ``Timeouts.read`` seconds."""


class WriteTimeoutError(TransportError):
    """The kernel did not take the whole request within ``Timeouts.write`` seconds."""


#: A timer that fires this much too early counts as on time.
_TICK_S = 0.001
#: A name may have an address that does not answer: after this long the next one is tried too.
_NEXT_ADDRESS_S = 0.25
#: Turns of the event loop after which it has read what waits in a socket: it polls in one and reads in the next.
_TURNS_TO_READ = 4


class SocketTransport:
    """POSTs to ``url``, each over a kept-alive HTTP/1.1 connection, of which there are at most ``connections``.

    No redirects, no retries, no proxy. ``keepalive_seconds`` must be less than the time after which the vendor closes
    an idle connection: a POST on a closing connection may end as unknown. After ``max_age_seconds``, or up to a tenth
    less, a connection is closed between two POSTs: its name may have another address by then, and connections made
    together do not end together. Raises ValueError for a URL that is not http(s), OSError for a PEM file that cannot
    be read.
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
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        """Those that are being opened too."""
        self._closed = False

    async def connect(self) -> Failure | None:
        """See :class:`~bulksend.gateway.transport.Transport`."""
        if self._closed:
            return _unsent("TransportClosed", "closed")
        if self.connections_left() <= 0:
            return None
        try:
            connection = await self._connect()
        except Exception as error:  # noqa: BLE001 - no connection: nothing was sent
            stage = "tls" if isinstance(error, ssl.SSLError) else "connect"
            return _unsent(type(error).__name__, stage, local=isinstance(error, UnicodeError))
        self._release(connection, asyncio.get_running_loop().time())
        return None

    def post(
        self,
        body: bytes,
        headers: Mapping[str, str],
        begin: Callable[[], bool],
        done: Callable[[RawReply | Failure], None],
    ) -> asyncio.Future[RawReply] | Failure | None:
        """See :class:`~bulksend.gateway.transport.Transport`."""
        if self._closed:
            return _unsent("TransportClosed", "closed")
        request = self._request(body, headers)
        if request is None:
            return _unsent("InvalidHeader", "send", local=True)
        now = asyncio.get_running_loop().time()
        connection = self._take_idle(now)
        if connection is None:
            return None
        may_begin = False
        try:
            reach("connected")
            may_begin = begin()
        finally:
            if not may_begin:
                self._release(connection, connection.idle_since)
        if not may_begin:
            return None
        waiter = connection.write(request, now + self._timeouts.total, now)
        waiter.add_done_callback(partial(self._answered, connection, done))
        return waiter

    def _answered(
        self,
        connection: _Connection,
        done: Callable[[RawReply | Failure], None],
        waiter: asyncio.Future[RawReply],
    ) -> None:
        """A POST has ended."""
        if waiter.cancelled():
            self._close(connection)
            return
        result = connection.result_of(waiter)
        self._release(connection, asyncio.get_running_loop().time())
        done(result)

    def _release(self, connection: _Connection, now: float) -> None:
        """Keep the connection for the next POST if it is sound and young enough; close it otherwise."""
        if connection.is_reusable and not self._closed and now < connection.retires_at:
            connection.idle_since = now
            self._idle.append(connection)
        else:
            self._close(connection)

    def idle_connections(self) -> int:
        """See :class:`~bulksend.gateway.transport.Transport`."""
        now = asyncio.get_running_loop().time()
        # The connection used last is at the end. One that the vendor closed is removed by ``_forget``.
        while self._idle and not self._is_fresh(self._idle[0], now):
            self._close(self._idle.pop(0))
        return len(self._idle)

    def _is_fresh(self, connection: _Connection, now: float) -> bool:
        """Whether an idle connection was used recently and is not too old."""
        return connection.idle_since > now - self._keepalive_seconds and now < connection.retires_at

    def connections_left(self) -> int:
        """See :class:`~bulksend.gateway.transport.Transport`."""
        return self._connections - len(self._open)

    def _close(self, connection: _Connection) -> None:
        """Close it. Another may be opened at once: what waits for one asks in the same turn of the loop."""
        self._open.discard(connection)
        connection.abort()

    def _forget(self, connection: _Connection) -> None:
        """A connection has ended."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    async def aclose(self) -> None:
        """See :class:`~bulksend.gateway.transport.Transport`."""
        self._closed = True
        while self._idle:
            self._close(self._idle.pop())
        # The event loop closes the sockets in its next turn.
        await asyncio.sleep(0)

    def _take_idle(self, now: float) -> _Connection | None:
        """The usable connection that was used last; unusable ones are closed. None where there is none.

        Over TLS one with bytes that the event loop has not read stays idle: they may end it or not.
        """
        unread: list[_Connection] = []
        try:
            while self._idle:
                connection = self._idle.pop()
                if not self._is_fresh(connection, now) or connection.has_ended():
                    self._close(connection)
                elif connection.is_tls and connection.has_unread():
                    unread.append(connection)
                else:
                    return connection
            return None
        finally:
            self._idle += reversed(unread)

    async def _connect(self) -> _Connection:
        connection = _Connection(self._timeouts, self._max_body, self._forget)
        self._open.add(connection)
        try:
            async with asyncio.timeout(min(self._timeouts.connect, self._timeouts.total)):
                loop = asyncio.get_running_loop()
                addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                await loop.create_connection(
                    lambda: connection,
                    sock=await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S),
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
            # A server's session tickets follow the handshake: unread, they would stand before the first POST.
            await connection.read_pending()
            if connection.has_ended():
                raise DisconnectedError
        except BaseException:
            self._close(connection)  # it may have opened at the moment of the timeout
            raise
        connection.is_reusable = True
        age = self._max_age_seconds * random.uniform(0.9, 1.0)
        connection.retires_at = asyncio.get_running_loop().time() + age
        return connection

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


class _Connection(asyncio.Protocol):
    """One TCP connection, one request at a time. The methods that httptools calls begin with ``on_``."""

    def __init__(self, timeouts: Timeouts, max_body: int, on_end: Callable[[_Connection], None]) -> None:
        self._timeouts = timeouts
        self._on_end = on_end
        self._max_body = max_body
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[RawReply] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._deadline = self._late_at = 0.0
        self._late: type[Exception] = TimeoutError
        self._poll = select.poll()
        self._ended = False
        self.is_tls = False
        self.idle_since = 0.0
        self.retires_at = 0.0
        """From this time of the loop on it is too old for another POST."""
        self._reset()

    def _reset(self) -> None:
        """Forget the last request and reply."""
        self.stage = "send"
        self.bytes_sent = False
        self.reply_began = False
        self.is_reusable = False
        """Whether the connection may be used again."""
        self._parser = httptools.HttpResponseParser(self)
        self._bytes_fed = 0
        self._begin_reply()

    def _begin_reply(self) -> None:
        self._status = 0
        self._head_size = 0
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._head_is_read = False

    # -- the transport's side ----------------------------------------------------------------------------------------

    def write(self, request: bytes, deadline: float, now: float) -> asyncio.Future[RawReply]:
        """Write the request; the future of its reply, to be handed to ``result_of`` when it is done."""
        self._reset()
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
        except Exception as error:  # noqa: BLE001 - see ``result_of``
            self._fail(error)
        return waiter

    def result_of(self, waiter: asyncio.Future[RawReply]) -> RawReply | Failure:
        """The reply to a request that has ended, or the failure with the evidence of what was sent."""
        self._waiter = None
        try:
            reply = waiter.result()
            reach("reply_read")
        except Exception as error:  # noqa: BLE001 - see above
            return Failure(type(error).__name__, self.bytes_sent, self.reply_began, self.stage)
        return reply

    def has_ended(self) -> bool:
        """Whether the vendor closed it or sent bytes unasked, even if the event loop has not read them yet.

        Over TLS, unread bytes may be session tickets or new keys, which do not end the connection: see ``has_unread``.
        """
        if self._ended or self._transport is None or self._transport.is_closing():
            return True
        return not self.is_tls and self.has_unread()

    def has_unread(self) -> bool:
        """Whether the event loop has not read everything yet: bytes, or the end of the connection."""
        return bool(self._poll.poll(0))

    async def read_pending(self) -> None:
        """Let the event loop read what waits: over TLS only then ``has_ended`` can tell.

        The handshake's last record may leave in a turn of its own.
        """
        for _ in range(_TURNS_TO_READ):
            await asyncio.sleep(0)
            if self.has_ended() or not self.has_unread():
                return

    def abort(self) -> None:
        """Close the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def _set_timer(self, now: float) -> None:
        """Start the timeout of the current operation.

        A POST usually sets no timer: the one of an earlier POST fires, finds that it is too early, and is set again.
        """
        is_writing = self.stage == "send"
        at = now + (self._timeouts.write if is_writing else self._timeouts.read)
        self._late = WriteTimeoutError if is_writing else ReadTimeoutError
        if self._deadline < at:
            at, self._late = self._deadline, TimeoutError
        self._late_at = at
        if self._timer is None:
            self._start_timer(at)
        elif self._timer_at > at:
            self._timer.cancel()
            self._start_timer(at)

    def _start_timer(self, at: float) -> None:
        # A loop's own handle need not tell when it is due: uvloop's does not always.
        self._timer, self._timer_at = self._loop.call_at(at, self._on_timer), at

    def _on_timer(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() + _TICK_S < self._late_at:
            self._start_timer(self._late_at)
        else:
            self._fail(self._late)

    def _fail(self, error: type[Exception] | Exception) -> None:
        self.is_reusable = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def _finish(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(RawReply(self._status, self._headers, bytes(self._body)))

    # -- asyncio's side ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self.is_tls = transport.get_extra_info("ssl_object") is not None
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._transport.set_write_buffer_limits(high=0)

    def pause_writing(self) -> None:
        """The request did not fit into the kernel's buffer."""
        self.stage = "send"

    def resume_writing(self) -> None:
        """All of it is written."""
        self.stage = "wait"
        self._set_timer(self._loop.time())

    def data_received(self, data: bytes) -> None:
        """Feed the parser. Bytes that answer no request make the connection unusable."""
        if self._waiter is None or self._waiter.done():
            self.is_reusable = False
            self._ended = True
            self._on_end(self)
            self.abort()
            return
        self.reply_began = True
        self._bytes_fed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._finish()
            self.is_reusable = False
        except httptools.HttpParserError:
            # After a complete reply _fail only marks the connection as unusable.
            self._fail(InvalidReplyError)
        if not self._waiter.done():
            if not self._head_is_read and self._bytes_fed > MAX_HEAD:
                self._fail(InvalidReplyError)
            elif self.stage != "send":
                self._set_timer(self._loop.time())

    def eof_received(self) -> None:
        """The vendor closed its side; returning None closes ours."""
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._end(exc)

    def _end(self, exc: Exception | None) -> None:
        self._ended = True
        self.is_reusable = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._on_end(self)
        # Without a length, the end of the connection is the end of the body; a reset is an error.
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
        """A reply begins: the one asked for, the one after a 1xx, or one too many."""
        if self._waiter is not None and self._waiter.done():
            self.is_reusable = False
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
            self.is_reusable = False
            self._finish()

    def on_message_complete(self) -> None:
        if self._waiter is None or self._waiter.done():
            return
        if self._status < 200:  # the final reply follows
            self._begin_reply()
            return
        # A reply may come before the whole request is written; the rest of the request is still in the buffer.
        all_is_written = self._transport is not None and not self._transport.get_write_buffer_size()
        self.is_reusable = all_is_written and self._parser.should_keep_alive()
        self._finish()
