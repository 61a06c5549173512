"""Callers that send a head or a body slowly: they hold neither a connection nor a file for long."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fastapi import FastAPI, Request

from ops.http import problems
from ops.http.body_limits import PART_BYTES, BodyLimits
from ops.http.connections import Connection
from ops.http.uploads import receive
from producer.uploads import UploadStore
from tests.served import Served

PATIENCE_S = 1.0
FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'


class HurriedConnection(Connection):
    head_s = PATIENCE_S


@pytest.fixture
def store(tmp_path: Path) -> UploadStore:
    return UploadStore(tmp_path / "uploads", max_bytes=1 << 30)


@pytest.fixture
def served(store: UploadStore) -> Iterator[Served]:
    app = FastAPI()
    problems.install(app)
    app.add_middleware(BodyLimits, part_s=PATIENCE_S)

    @app.post("/v1/campaigns")
    async def post(request: Request) -> dict[str, int]:
        return {"bytes": (await receive(request, store, "an-id")).file.bytes}

    @app.get("/slow")
    def slow() -> str:
        time.sleep(2 * PATIENCE_S)
        return "done"

    server = Served(app, "off", HurriedConnection)
    server.start()
    yield server
    server.stop()


def connected(served: Served, data: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", served.port), timeout=30)
    connection.sendall(data)
    return connection


def answer(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_connection_without_a_whole_head_is_closed_and_a_slow_answer_is_not_cut(served: Served) -> None:
    whole = b"GET /%s HTTP/1.1\r\nHost: a\r\n"
    silent = connected(served, b"")
    halves = connected(served, whole % b"slow")
    kept = connected(served, whole % b"none" + b"\r\n")
    asks = connected(served, whole % b"slow" + b"Connection: close\r\n\r\n")
    time.sleep(PATIENCE_S / 4)
    # This ends the wait of a kept connection; it begins no request.
    kept.sendall(b"\r\n")
    assert answer(silent) == answer(halves) == b""
    assert answer(kept).startswith(b"HTTP/1.1 404")
    assert answer(asks).endswith(b'"done"')


@pytest.mark.parametrize("head", [b"X-A: ", b"X-A: a\r\n", b"a"], ids=["value", "headers", "address"])
def test_an_endless_head_is_refused(served: Served, head: bytes) -> None:
    begin = b"GET /" if head == b"a" else b"GET /slow HTTP/1.1\r\n"
    endless = begin + head + (b"X-A: a\r\n" if b"\r" in head else b"a" * 9) * 200_000
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.settimeout(30)
        with suppress(ConnectionError):
            connection.sendall(endless)
        with suppress(ConnectionError):
            assert connection.recv(65536).startswith(b"HTTP/1.1 400")
            assert connection.recv(65536) == b""


def test_a_body_that_trickles_is_answered_with_408_and_leaves_nothing(
    served: Served, store: UploadStore
) -> None:
    connection = connected(served, head(10_000_000) + FORM)
    began = time.monotonic()
    # More than is written at once, so that the file exists.
    connection.sendall(b"to\n" * 500_000)
    while not list(store.folder.glob("*/a.csv")):
        assert time.monotonic() < began + 30
        time.sleep(0.01)
    got = b""
    connection.settimeout(PATIENCE_S / 10)
    while not got:
        assert time.monotonic() < began + 30
        try:
            connection.sendall(b"4")
            got = connection.recv(65536)
        except TimeoutError:
            continue
    connection.settimeout(30)
    said = got
    # The byte that came after the end resets the connection: what it has not read by then may be gone.
    with suppress(ConnectionError):
        said += answer(connection)
    assert said.startswith(b"HTTP/1.1 408"), said
    assert b"connection: close" in said
    assert b'"code":"request_timeout"' in said
    assert list(store.folder.iterdir()) == []


def test_a_body_that_comes_steadily_may_take_longer(served: Served, store: UploadStore) -> None:
    rows = b"4477009000\n" * (PART_BYTES // 11 + 1)
    end = b'\r\n--b\r\nContent-Disposition: form-data; name="campaign"\r\n\r\n{}\r\n--b--\r\n'
    connection = connected(served, head(len(FORM) + 5 * len(rows) + len(end)) + FORM)
    for _ in range(5):
        time.sleep(PATIENCE_S / 4)
        connection.sendall(rows)
    connection.sendall(end)
    assert answer(connection).endswith(b'{"bytes":%d}' % (5 * len(rows)))


def head(length: int) -> bytes:
    return (
        b"POST /v1/campaigns HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n" % length
    )
