"""A TCP proxy between any two processes, which can delay, cut, reset after so many bytes, and swallow.

What arrives is a beginning of what was sent, as with every TCP connection: no piece overtakes another, and after one
that is lost nothing comes but the end.

All links run on one event loop in a thread of its own; what is said to a link holds for connections that are open
and for those to come.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from simulator.kernel_timestamps import arrival_time, timestamping_socket
from tests.faults.judge import Left

T = TypeVar("T")
_TO = re.compile(rb'"To": ?"(\d+)"')


class Way(StrEnum):
    """Which direction a fault holds for."""

    UP = "up"
    """From the client to the server."""
    DOWN = "down"
    """From the server."""


@dataclass(slots=True)
class State:
    """What a link does now. All quiet by default."""

    refuses: bool = False
    """New connections are reset at once."""
    swallows: frozenset[Way] = frozenset()
    """Bytes of these directions vanish, without an error on either side."""
    delay_s: float = 0.0
    """Every piece of ``delay_ways`` comes so much later."""
    delay_ways: frozenset[Way] = frozenset()
    reset_after: int | None = None
    """Once so many bytes of ``reset_way`` have passed since this was set, all is reset; then it passes again."""
    reset_way: Way = Way.UP
    passed: int = 0


class Proxies:
    """Makes links. Close it at the end."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()
        self._links: list[Link] = []

    def link(self, name: str, host: str, *ports: int) -> Link:
        """A new link to a server that may not even run yet, or to several in turn, as a load balancer's."""
        made = self.ask(Link.open(name, host, ports, self))
        self._links.append(made)
        return made

    def ask(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it on the loop, from another thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def close(self) -> None:
        """Close every link and the loop."""
        for link in self._links:
            self.ask(link.shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


class Link:
    """One listening port of ours that leads to one server, or to one of several."""

    def __init__(self, name: str, host: str, ports: tuple[int, ...], proxies: Proxies) -> None:
        self.name = name
        self._host, self._ports = host, ports
        self._turn = itertools.count()
        self._proxies = proxies
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self.state = State()
        self.port = 0
        self.requests: list[Left] = []
        """The HTTP POSTs of the client, to whom their bodies say that they go."""

    @classmethod
    async def open(cls, name: str, host: str, ports: tuple[int, ...], proxies: Proxies) -> Link:
        """Listen on a free port of 127.0.0.1."""
        link = cls(name, host, ports, proxies)
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        stamped = timestamping_socket(os.dup(listener.fileno()))
        if stamped is not None:
            listener.close()
            listener = stamped
        link._server = await loop.create_server(lambda: _Near(link), sock=listener, backlog=1024)
        link.port = link._server.sockets[0].getsockname()[1]
        return link

    # -- faults, called from any thread ----------------------------------------------------------------------

    def cut(self) -> None:
        """Reset every open connection, once."""
        self._do(self._reset_all)

    def refuse(self) -> None:
        """Reset every connection, and those that are tried, until ``heal``."""
        self._do(lambda: self._set(State(refuses=True)), self._reset_all)

    def swallow(self, *ways: Way) -> None:
        """A black hole until ``heal``: connections stand, bytes vanish. Both ways by default."""
        self._do(lambda: self._set(State(swallows=frozenset(ways or Way))))

    def delay(self, seconds: float, *ways: Way) -> None:
        """Every piece later by so much, until ``heal``. Both ways by default."""
        self._do(lambda: self._set(State(delay_s=seconds, delay_ways=frozenset(ways or Way))))

    def reset_after(self, count: int, way: Way) -> None:
        """Reset everything once, when so many more bytes have passed that way; the last piece is cut short."""
        self._do(lambda: self._set(State(reset_after=count, reset_way=way)))

    def heal(self) -> None:
        """Pass everything on. What stood in a black hole is reset: its bytes are gone for good."""
        self._do(lambda: self._set(State()))

    # -- on the loop -----------------------------------------------------------------------------------------

    def _do(self, *work: Callable[[], None]) -> None:
        async def run() -> None:
            for step in work:
                step()

        self._proxies.ask(run())

    def _set(self, state: State) -> None:
        swallowed, self.state = bool(self.state.swallows), state
        if swallowed:
            self._reset_all()

    def _reset_all(self) -> None:
        for pair in list(self._pairs):
            pair.reset()

    async def connect(self, pair: _Pair) -> bool:
        """Open our side of a pair: to the next server that listens. False where none does."""
        loop = asyncio.get_running_loop()
        first = next(self._turn)
        for step in range(len(self._ports)):
            port = self._ports[(first + step) % len(self._ports)]
            try:
                await loop.create_connection(lambda: _Far(pair), self._host, port)
                return True
            except OSError:
                continue
        return False

    def pass_on(self, way: Way, data: bytes) -> bytes:
        """What of it goes on. Where a reset is due then, nothing that comes later does."""
        state = self.state
        if way in state.swallows:
            return b""
        if state.reset_after is None or way is not state.reset_way:
            return data
        left = state.reset_after - state.passed
        state.passed += len(data)
        if len(data) < left:
            return data
        self.state = State()
        for pair in self._pairs:
            pair.reset_soon()
        return data[:left]

    async def shut(self) -> None:
        """Stop listening and drop what is open."""
        if self._server is not None:
            self._server.close()
        self._reset_all()
        await asyncio.sleep(0)


class _Pair:
    """A connection to us and ours to the server."""

    def __init__(self, link: Link, near: _Near) -> None:
        self.link = link
        self.near = near
        self.far: _Far | None = None
        self._early: list[bytes] = []
        self._late: dict[Way, deque[bytes | None]] = {way: deque() for way in Way}
        """What is delayed; None: that side has closed."""
        self._not_before = dict.fromkeys(Way, 0.0)
        self._is_over = False
        link._pairs.add(self)

    def carry(self, way: Way, data: bytes) -> None:
        if not self._is_over:
            self._in_turn(way, self.link.pass_on(way, data))

    def _in_turn(self, way: Way, data: bytes | None) -> None:
        """Pieces stay in order: what comes after a delay ends still waits for what was delayed."""
        loop, state = asyncio.get_running_loop(), self.link.state
        delay_s = state.delay_s if way in state.delay_ways else 0.0
        if not delay_s and not self._late[way]:
            self._write(way, data)
            return
        self._late[way].append(data)
        self._not_before[way] = max(self._not_before[way], loop.time() + delay_s)
        # Timers of one instant run in any order: each takes the piece whose turn it is.
        loop.call_at(self._not_before[way], lambda: self._write(way, self._late[way].popleft()))

    def _write(self, way: Way, data: bytes | None) -> None:
        side = self.near if way is Way.DOWN else self.far
        if data is None:
            if side is not None:
                side.close()
        elif side is not None:
            side.write(data)
        else:
            self._early.append(data)

    def joined(self, far: _Far) -> None:
        self.far = far
        for data in self._early:
            far.write(data)
        self._early.clear()

    def reset_soon(self) -> None:
        """After the bytes that were let through have left: a reset overtakes what is still in our hands."""
        self._is_over = True
        asyncio.get_running_loop().call_later(0.02, self.reset)

    def reset(self) -> None:
        if self in self.link._pairs:
            self.link._pairs.discard(self)
            for side in (self.near, self.far):
                if side is not None:
                    side.reset()

    def ended(self, way: Way) -> None:
        """One side has closed: what it said before still arrives at the other."""
        self.link._pairs.discard(self)
        self._in_turn(way, None)


class _Side(asyncio.Protocol):
    way: Way

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.pair: _Pair | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        if self.pair is not None:
            self.pair.carry(self.way, data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.pair is not None:
            self.pair.ended(self.way)

    def write(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def reset(self) -> None:
        """Close with a TCP RST."""
        if self.transport is not None and not self.transport.is_closing():
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    def close(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()


class _Near(_Side):
    """Whoever connected to us."""

    way = Way.UP

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link
        self._socket: object = None
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._socket = transport.get_extra_info("socket")
        if self._link.state.refuses:
            self.reset()
            return
        self.pair = _Pair(self._link, self)
        self._connecting = asyncio.get_running_loop().create_task(self._connect(self.pair))

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"POST "):
            self._link.requests.append(self._left(data))
        super().data_received(data)

    def _left(self, data: bytes) -> Left:
        """We may be late to read it; the kernel was not late to receive it."""
        named = _TO.search(data)
        at, steady_s = arrival_time(self._socket)
        return Left(named.group(1).decode() if named else "", steady_s, at * 1000)

    async def _connect(self, pair: _Pair) -> None:
        if not await self._link.connect(pair):
            pair.reset()  # no server listens there: the client must see the same


class _Far(_Side):
    """Our connection to the server."""

    way = Way.DOWN

    def __init__(self, pair: _Pair) -> None:
        super().__init__()
        self.pair = pair

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.pair is not None
        if self.pair in self.pair.link._pairs:
            self.pair.joined(self)
        else:
            transport.abort()
