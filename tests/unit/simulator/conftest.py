"""A desk calls the vendor without sockets or clocks, a wire talks to the simulator byte by byte."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from simulator import REHEARSAL_ACCESS_KEY_ID, REHEARSAL_SECRET, Simulator, SimulatorSettings, run_in_thread
from simulator.checks import Request
from simulator.replies import Ids
from simulator.transmission import Transmission
from simulator.vendor import Vendor

SENDER = "8615000579987"
TO = "447700900123"
TEXT = {"body": "text-message-content", "preview_url": False}
#: Unix seconds at which a desk's clock stands at 0.
EPOCH = 1_800_000_000

_nonces = count(1)


def send_body(**changes: Any) -> dict[str, Any]:
    """The documented example; a change to None leaves the field out, a dict as Content is encoded."""
    body: dict[str, Any] = {
        "Action": "SendMessage",
        "AccountId": 8899,
        "BusinessPhone": SENDER,
        "To": TO,
        "Type": "text",
        "Content": TEXT,
    }
    body = {name: value for name, value in (body | changes).items() if value is not None}
    if isinstance(body.get("Content"), dict):
        body["Content"] = json.dumps(body["Content"])
    return body


def sign_flat(body: dict[str, Any], secret: str) -> str:
    """The documented signature of a flat body, written independently of the code under test."""
    text = "".join(f"{key}{body[key]}" for key in sorted(body)) + secret
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def headers_for(body: dict[str, Any], at_seconds: float, secret: str = REHEARSAL_SECRET) -> dict[str, str]:
    """Headers as the vendor's SDKs send them."""
    return {
        "content-type": "application/json",
        "x-access-key-id": REHEARSAL_ACCESS_KEY_ID,
        "x-signature": sign_flat(body, secret),
        "x-timestamp": str(int(at_seconds)),
        "x-nonce": f"nonce-{next(_nonces)}",
    }


@dataclass
class Answer:
    """A parsed reply."""

    status: int
    headers: dict[str, str]
    raw_body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw_body)

    @property
    def ret_code(self) -> int:
        return int(self.json["RetCode"])

    @property
    def message(self) -> str:
        return str(self.json["Message"])


def parse_reply(reply: bytes) -> Answer:
    head, _, body = reply.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    return Answer(int(first.split()[1]), {name.lower(): value for name, value in pairs}, body)


@dataclass
class Desk:
    """A vendor whose clock is an argument: ``at`` is seconds since the desk was opened."""

    settings: SimulatorSettings = field(default_factory=SimulatorSettings)

    def __post_init__(self) -> None:
        self.vendor = Vendor(self.settings, 0.0, Ids(b"rehears"))

    def transmission(
        self,
        body: dict[str, Any] | bytes | None = None,
        *,
        at: float = 0.0,
        method: str = "POST",
        target: str = "/api",
        headers: dict[str, str | None] | None = None,
        **changes: Any,
    ) -> Transmission:
        given = send_body(**changes) if body is None else body
        raw = given if isinstance(given, bytes) else json.dumps(given).encode()
        sent = headers_for(given if isinstance(given, dict) else {}, EPOCH + at)
        for name, value in (headers or {}).items():
            if value is None:
                sent.pop(name)
            else:
                sent[name] = value
        path, _, query = target.partition("?")
        return self.vendor.receive(Request(method, path, query, sent, raw, (EPOCH + at) * 1000, at))

    def ask(self, body: dict[str, Any] | bytes | None = None, **how: Any) -> Answer:
        return parse_reply(self.transmission(body, **how).reply)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.vendor.records.find()


@pytest.fixture
def open_desk() -> Callable[..., Desk]:
    def opened(**settings: Any) -> Desk:
        return Desk(SimulatorSettings(**settings))

    return opened


@pytest.fixture
def desk() -> Desk:
    return Desk()


class Wire:
    """One connection, byte by byte; ten seconds without progress are a failure."""

    def __init__(self, origin: str) -> None:
        where = urlsplit(origin)
        assert where.hostname
        assert where.port
        self.socket = socket.create_connection((where.hostname, where.port), timeout=60)
        self._buffer = b""

    def request_bytes(self, **changes: Any) -> bytes:
        body = send_body(**changes)
        raw = json.dumps(body).encode()
        headers = headers_for(body, time.time()) | {"host": "simulator", "content-length": str(len(raw))}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST /api?Action={body['Action']} HTTP/1.1\r\n{head}\r\n".encode() + raw

    def send(self, **changes: Any) -> None:
        self.socket.sendall(self.request_bytes(**changes))

    def ask(self, **changes: Any) -> Answer:
        self.send(**changes)
        return self.reply()

    def reply(self) -> Answer:
        """One whole reply; EOFError where it is not whole."""
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        length = int(parse_reply(head + b"\r\n\r\n").headers["content-length"])
        while len(rest) < length:
            self._buffer = head + b"\r\n\r\n" + rest
            self._more()
            rest = self._buffer[len(head) + 4 :]
        self._buffer = rest[length:]
        return parse_reply(head + b"\r\n\r\n" + rest[:length])

    def _more(self) -> None:
        read = self.socket.recv(65_536)
        if not read:
            raise EOFError
        self._buffer += read

    def rest(self) -> bytes:
        """All bytes until the other side closes."""
        while True:
            try:
                self._more()
            except EOFError:
                read, self._buffer = self._buffer, b""
                return read

    def close(self) -> None:
        self.socket.close()


class Rehearsal:
    """A running simulator, connections to it, and its inspection pages."""

    def __init__(self, settings: SimulatorSettings, stack: ExitStack) -> None:
        self._running = stack.enter_context(ExitStack())
        self.simulator: Simulator = self._running.enter_context(run_in_thread(settings))
        self._stack = stack
        self._client = stack.enter_context(
            httpx.Client(base_url=self.simulator.origin, trust_env=False, timeout=60)
        )

    def stop(self) -> None:
        """Stop the simulator before the test ends."""
        self._running.close()

    def dial(self) -> Wire:
        wire = Wire(self.simulator.origin)
        self._stack.callback(wire.close)
        return wire

    def page(self, path: str, **query: Any) -> Any:
        return self.get(path, **query).raise_for_status().json()

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self._client.get(path, params=query)

    def post(self, path: str, value: Any = None) -> httpx.Response:
        return self._client.post(path, json=value)

    def until(self, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The stats, when they are as wanted; fails after a minute."""
        deadline = time.monotonic() + 60
        while True:
            stats: dict[str, Any] = self.page("/_/stats")
            if true(stats):
                return stats
            assert time.monotonic() < deadline, stats
            time.sleep(0.005)


@pytest.fixture
def rehearse() -> Iterator[Callable[..., Rehearsal]]:
    """Start a simulator with these settings; all of them stop when the test ends."""
    with ExitStack() as stack:

        def started(**settings: Any) -> Rehearsal:
            return Rehearsal(SimulatorSettings(**settings), stack)

        yield started
