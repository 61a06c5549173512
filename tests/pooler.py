"""A pooler in transaction mode: hands each transaction of a connection to another session of a real PostgreSQL.

Like PgBouncer it knows only some startup parameters: ``options`` is refused, or left out where it is told to ignore it.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from contextlib import suppress

_SSL_REQUEST, _CANCEL = 80877103, 80877102
_IDLE = b"I"


class TransactionPooler:
    """Listens on the loopback until closed. Two sessions of the server for each connection, in turns."""

    def __init__(self, server_port: int, *, ignores_options: bool = False) -> None:
        self._server_port = server_port
        self._ignores_options = ignores_options
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        sessions: list[socket.socket] = []
        try:
            startup = self._startup(client)
            if startup is None:
                return
            for number in range(2):
                session = socket.create_connection(("127.0.0.1", self._server_port))
                sessions.append(session)
                session.sendall(startup)
                greeting = _until_ready(session)
                if number == 0 or greeting.startswith(b"E"):
                    client.sendall(greeting)
            self._in_turns(client, sessions)
        except (OSError, EOFError):
            pass
        finally:
            for each in (client, *sessions):
                each.close()

    def _startup(self, client: socket.socket) -> bytes | None:
        """The client's startup message without its options; None where it is refused or no such message."""
        while True:
            (length,) = struct.unpack("!i", _exactly(client, 4))
            body = _exactly(client, length - 4)
            (code,) = struct.unpack("!i", body[:4])
            if code == _SSL_REQUEST:
                client.sendall(b"N")
                continue
            if code == _CANCEL:
                return None
            words = body[4:].split(b"\0")
            parameters = dict(zip(words[::2], words[1::2], strict=False))
            if parameters.pop(b"options", None) is not None and not self._ignores_options:
                said = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0"
                client.sendall(b"E" + struct.pack("!i", len(said) + 4) + said)
                return None
            parameters.pop(b"", None)
            kept = body[:4] + b"".join(n + b"\0" + v + b"\0" for n, v in parameters.items()) + b"\0"
            return struct.pack("!i", len(kept) + 4) + kept

    @staticmethod
    def _in_turns(client: socket.socket, sessions: list[socket.socket]) -> None:
        turn = 0
        while True:
            session = sessions[turn % len(sessions)]
            readable, _, _ = select.select([client, session], [], [])
            if client in readable:
                data = client.recv(65536)
                if not data:
                    return
                session.sendall(data)
            if session in readable:
                kind, message = _message(session)
                # The next transaction is another session's, before the client can know that this one is over.
                if kind == b"Z" and message[-1:] == _IDLE:
                    turn += 1
                client.sendall(message)


def _until_ready(session: socket.socket) -> bytes:
    said = b""
    while True:
        kind, message = _message(session)
        said += message
        if kind in (b"Z", b"E"):
            return said


def _message(session: socket.socket) -> tuple[bytes, bytes]:
    head = _exactly(session, 5)
    (length,) = struct.unpack("!i", head[1:])
    return head[:1], head + _exactly(session, length - 4)


def _exactly(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = source.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return data
