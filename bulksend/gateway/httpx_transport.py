"""The seam over httpx 0.28, for what is off the hot path (``socket_transport`` is what is on it).

httpcore's pool walks all its connections for every request, which is quadratic: one pool of 200 connections
does a tenth of what 200 pools of one connection do (``bench/vendor_client.py`` prints the ratio). So each
connection here is a pool of its own, and handing them out, last used first, is ours.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from bulksend.gateway.address import Verify, read_address, tls_context
from bulksend.gateway.payload import USER_AGENT
from bulksend.gateway.transport import HELD, Failure, RawReply, Start, Timeouts

#: Beside what the caller signs. ``identity`` because a compressed bomb would be ours to inflate.
_OUR_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": USER_AGENT}

#: Raised before a byte is written, for a request that HTTP cannot carry.
_OUR_FAULT = (httpx.LocalProtocolError, httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError)


class _HeldBack(Exception):
    """Thrown through httpcore, which then closes the connection; nothing was written."""


@dataclass(slots=True)
class _Watch:
    """What httpx's trace says of one POST: an exception's name cannot tell whether a byte was written."""

    start: Start | None
    timeout: asyncio.Timeout
    total: float
    stage: str = "pool"
    bytes_sent: bool = False
    reply_began: bool = False
    raised: Exception | None = None
    """What ``start`` raised, which is nobody's failure but its own."""

    async def see(self, event: str, info: Mapping[str, Any]) -> None:
        """Called by httpcore before and after each step."""
        match event:
            case "connection.connect_tcp.started":
                self.stage = "connect"
            case "connection.start_tls.started":
                self.stage = "tls"
            case "http11.send_request_headers.started":
                await self._wait()
                self.stage, self.bytes_sent = "send", True
            case "http11.send_request_headers.failed":
                # A header that HTTP cannot carry is refused before the first byte is written.
                self.bytes_sent = type(info["exception"]).__name__ != "LocalProtocolError"
            case "http11.receive_response_headers.started":
                self.stage = "wait"
            case "http11.receive_response_headers.complete":
                self.stage, self.reply_began = "read", True

    async def _wait(self) -> None:
        """The connection is up: hold the request back until it may begin. Raises _HeldBack."""
        if self.start is None:
            return
        self.stage = "start"
        self.timeout.reschedule(None)
        try:
            may_begin = await self.start.wait()
        except Exception as error:
            self.raised = error
            raise
        if not may_begin:
            raise _HeldBack
        self.timeout.reschedule(asyncio.get_running_loop().time() + self.total)
        self.start.begin()

    def failure(self, error: Exception) -> Failure:
        """``error`` with the evidence so far. Raises what ``start`` raised."""
        if self.raised is not None:
            raise self.raised
        if isinstance(error, _HeldBack):
            return HELD
        local = not self.bytes_sent and isinstance(error, _OUR_FAULT)
        return Failure(type(error).__name__, self.bytes_sent, self.reply_began, self.stage, local)


class HttpxTransport:
    """At most ``connections`` POSTs at once to ``url``, each over a kept-alive HTTP/1.1 connection.

    No redirects, no retries, no proxy or netrc from the environment. ``keepalive_seconds`` has to stay below
    the time after which the vendor closes an idle connection, or a POST may meet the closing one and be in
    doubt. After ``max_age_seconds`` a connection is closed behind a POST. Raises ValueError for a URL that is
    not http(s), OSError for a PEM file that cannot be read.
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
        self._url = read_address(url)
        self._timeouts = timeouts or Timeouts()
        self._tls: ssl.SSLContext | bool = tls_context(verify) if self._url.scheme == "https" else False
        self._keepalive_seconds = keepalive_seconds
        self._max_age_seconds = max_age_seconds
        self._max_body = max_body
        self._room = asyncio.Semaphore(max(1, connections))
        self._idle: list[tuple[httpx.AsyncHTTPTransport, float]] = []
        """Each with when it is too old for another POST, in the loop's seconds."""
        self._closed = False

    async def post(
        self, body: bytes, headers: Mapping[str, str], start: Start | None = None
    ) -> RawReply | Failure:
        """See :class:`~bulksend.gateway.transport.Transport`."""
        timeout = asyncio.timeout(self._timeouts.total)
        watch = _Watch(start, timeout, self._timeouts.total)
        try:
            request = self._request(body, headers, watch)
            async with timeout:
                return await self._post_when_there_is_room(request, watch)
        except Exception as error:  # noqa: BLE001 - whatever a library raises, the watch says what left us
            return watch.failure(error)

    def post_now(
        self,
        body: bytes,
        headers: Mapping[str, str],
        begin: Callable[[], bool],
        done: Callable[[RawReply | Failure], None],
    ) -> None:
        """None: httpcore does not say which of its connections are up."""

    def ready(self) -> int:
        """0: httpcore does not say which of its connections are up."""
        return 0

    def connected(self) -> int:
        """0: see ``ready``."""
        return 0

    async def aclose(self) -> None:
        """See :class:`~bulksend.gateway.transport.Transport`."""
        self._closed = True
        while self._idle:
            await self._idle.pop()[0].aclose()

    def _request(self, body: bytes, headers: Mapping[str, str], watch: _Watch) -> httpx.Request:
        timeouts = self._timeouts
        return httpx.Request(
            "POST",
            self._url,
            headers={**_OUR_HEADERS, **headers},
            content=body,
            extensions={
                "timeout": {
                    "connect": timeouts.connect,
                    "read": timeouts.read,
                    "write": timeouts.write,
                    "pool": timeouts.pool,
                },
                "trace": watch.see,
            },
        )

    async def _post_when_there_is_room(self, request: httpx.Request, watch: _Watch) -> RawReply | Failure:
        if self._closed:
            return Failure("TransportClosed", bytes_sent=False, reply_began=False, stage="pool")
        try:
            async with asyncio.timeout(self._timeouts.pool if self._room.locked() else None):
                await self._room.acquire()
        except TimeoutError:
            return Failure("PoolTimeout", bytes_sent=False, reply_began=False, stage="pool")
        try:
            return await self._post_on_a_line(request, watch)
        finally:
            self._room.release()

    async def _post_on_a_line(self, request: httpx.Request, watch: _Watch) -> RawReply:
        now = asyncio.get_running_loop().time()
        line, retires_at = self._idle.pop() if self._idle else (self._new_line(), now + self._max_age_seconds)
        clean = False
        try:
            reply = await self._exchange(line, request)
            is_young = asyncio.get_running_loop().time() < retires_at
            clean = is_young and not self._closed and not _holds_more(line)
            return reply
        finally:
            # After any trouble, cancellation included, the line is thrown away: nothing of it can be trusted.
            if clean:
                self._idle.append((line, retires_at))
            else:
                await line.aclose()

    async def _exchange(self, line: httpx.AsyncHTTPTransport, request: httpx.Request) -> RawReply:
        response = await line.handle_async_request(request)
        try:
            body = bytearray()
            # The raw stream, so that nothing is inflated; `iter_raw` would count and time it as well.
            async for chunk in _raw_stream(response):
                body += chunk
                if len(body) > self._max_body:
                    break
        finally:
            await response.aclose()
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers.raw
        }
        return RawReply(response.status_code, headers, bytes(body[: self._max_body + 1]))

    def _new_line(self) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(
            verify=self._tls,
            http1=True,
            http2=False,
            trust_env=False,
            retries=0,
            limits=httpx.Limits(
                max_connections=1,
                max_keepalive_connections=1,
                keepalive_expiry=self._keepalive_seconds,
            ),
        )


def _holds_more(line: httpx.AsyncHTTPTransport) -> bool:
    """Whether bytes came in beyond the reply, which httpcore would take for the next request's reply.

    That would give one message the MessageId of another. httpcore shows it nowhere, hence the way through its
    insides; where they have changed, the answer is True, which costs the connection and nothing else.
    """
    try:
        (connection,) = line._pool.connections
        trailing, _ = connection._connection._h11_state.trailing_data  # type: ignore[attr-defined]
    except (AttributeError, TypeError, ValueError):
        return True
    return bool(trailing)


def _raw_stream(response: httpx.Response) -> httpx.AsyncByteStream:
    if not isinstance(response.stream, httpx.AsyncByteStream):
        raise TypeError("an async transport answered with a stream that is not")
    return response.stream
