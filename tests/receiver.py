"""Programs that receive webhooks, well or badly: real little HTTP servers on 127.0.0.1."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.body)
        return content


@dataclass
class Receiver:
    """``answer`` gets a request and the socket, and returns the status, or None where it has written itself."""

    answer: Callable[[Request, socket.socket], int | tuple[int, Mapping[str, str]] | None]
    requests: list[Request] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    port: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/in"

    def wait_for(self, count: int, timeout_s: float = 30) -> list[Request]:
        """The requests, once there are at least ``count``."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.requests) >= count, timeout_s), len(self.requests)
            return list(self.requests)


def ok(request: Request, connection: socket.socket) -> int:
    return 200


@contextmanager
def receiving(
    answer: Callable[[Request, socket.socket], int | tuple[int, Mapping[str, str]] | None] = ok,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Receiver]:
    """A receiver that runs."""
    receiver = Receiver(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            body = self.rfile.read(length)
            if len(body) < length:  # the client died
                self.close_connection = True
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.path, headers, body)
            with receiver.changed:
                receiver.requests.append(request)
                receiver.changed.notify_all()
            answered = receiver.answer(request, self.connection)
            if answered is None:
                self.close_connection = True
                return
            status, more = answered if isinstance(answered, tuple) else (answered, {})
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 64

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hung up is what some tests want."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        receiver.scheme = "https"
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(60)
