"""The peer of ``serve``: uvicorn, and one INSERT for each request, committed before its answer. Checks nothing.

    python -m bench.bare_endpoint --port 8000 [--status 202]

Into the PostgreSQL of DATABASE_URL, over as many connections as a pool usually has.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop
from psycopg import AsyncConnection

from bench.stand import Stand, listens
from ops.local.ports import free_port

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

CONNECTIONS = 16
_TABLE = (
    "CREATE TABLE bare_requests (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea NOT NULL, "
    "at timestamptz NOT NULL DEFAULT now())"
)
_INSERT = "INSERT INTO bare_requests (body) VALUES (%s)"


def start_bare_endpoint(at: Stand, *, status: int = 200) -> int:
    """Start one for a stand, as its part ``bare``; its port."""
    with at.ledger() as ledger, ledger.write() as tx:
        tx.exec_driver_sql(_TABLE)
    port = free_port()
    command = (sys.executable, "-m", "bench.bare_endpoint", "--port", str(port), "--status", str(status))
    at.start("bare", *command)
    at.wait("the bare endpoint listens", lambda: listens(port))
    return port


async def serve(port: int, status: int) -> None:
    """Until SIGTERM."""
    free: asyncio.Queue[AsyncConnection[Any]] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        url = os.environ["DATABASE_URL"].replace("+psycopg", "")
        free.put_nowait(await AsyncConnection.connect(url, autocommit=True))

    async def app(_: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        body, has_more = b"", True
        while has_more:
            message: Any = await receive()
            body += message.get("body", b"")
            has_more = message.get("more_body", False)
        connection = await free.get()
        await connection.execute(_INSERT, (body,))
        free.put_nowait(connection)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": status, "headers": headers, "trailers": False})
        await send({"type": "http.response.body", "body": b"{}", "more_body": False})

    config = uvicorn.Config(app, port=port, lifespan="off", access_log=False, log_level="warning")
    await uvicorn.Server(config).serve()


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--status", type=int, default=200)
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.status))


if __name__ == "__main__":
    main()
