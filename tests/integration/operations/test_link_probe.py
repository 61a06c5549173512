"""A fixed link is asked as the vendor would ask it, never a private address, and silence is a note."""

from __future__ import annotations

import ipaddress
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bulksend.errors import InvalidValue
from bulksend.messaging import MessageType
from bulksend.operations.link_probe import probe_links

JPEG = b"\xff\xd8\xff\xe0 a picture" * 1000
SECRET = "s3cr3t-831"
HERE = [ipaddress.ip_network("127.0.0.1/32")]


@contextmanager
def shop(status: int = 206, kind: str = "image/jpeg") -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A link on this machine, and the headers that it was asked with."""
    asked: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", "4096")
            self.send_header("Content-Range", f"bytes 0-4095/{len(JPEG)}")
            self.end_headers()
            self.wfile.write(JPEG[:4096])

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://media.example.com:{server.server_port}/a.jpg?key={SECRET}", asked
        finally:
            server.shutdown()
            thread.join()


def probe(link: str, *, allowed: bool = True, resolved: tuple[str, ...] = ("127.0.0.1",)) -> list[str]:
    return probe_links(
        MessageType.IMAGE,
        json.dumps({"link": link}),
        now_ms=0,
        due_ms=0,
        allowed=HERE if allowed else [],
        resolve=lambda host: resolved if host == "media.example.com" else (),
    )


def test_the_beginning_is_asked_for_by_the_links_own_name() -> None:
    with shop() as (link, asked):
        assert probe(link) == []
    (headers,) = asked
    assert headers["host"].startswith("media.example.com:")
    assert headers["range"] == "bytes=0-4095"


def test_what_the_vendor_cannot_fetch_is_refused_without_the_link_in_the_text() -> None:
    with shop(404) as (link, _), pytest.raises(InvalidValue, match=r"^link: leads to no file") as refused:
        probe(link)
    assert SECRET not in str(refused.value)


def test_no_private_address_is_asked() -> None:
    with shop() as (link, asked):
        for resolved in (("127.0.0.1",), ("93.184.215.14", "10.0.0.1"), ("169.254.169.254",), ("::1",)):
            (note,) = probe(link, allowed=False, resolved=resolved)
            assert note == "link was not checked: its host has a private address here"
    assert asked == []


def test_silence_is_a_note(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    (note,) = probe(f"http://media.example.com:{port}/a.jpg?key={SECRET}")
    assert note == "link was not checked: it does not answer (ConnectError)"
    (note,) = probe(f"https://other.example.com/a.jpg?key={SECRET}")
    assert note == "link was not checked: the name of its host was not found here"
    assert SECRET not in caplog.text


def test_a_link_of_a_row_is_not_asked() -> None:
    with shop() as (link, asked):
        assert probe(f"{link}&who={{{{name}}}}") == []
        assert probe_links(MessageType.TEXT, '{"body":"https://example.com"}', now_ms=0, due_ms=0) == []
    assert asked == []
