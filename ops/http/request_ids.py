"""Each request has an id: its ``X-Request-Id``, or a new one. Logs and problems name it, and the answer returns it."""

from __future__ import annotations

import re

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bulksend.ledger.ids import new_id

HEADER = b"x-request-id"
#: What is accepted of a caller: short, and safe in a log line and a header.
_SAFE = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class RequestIds:
    """ASGI middleware. Sets ``request.state.request_id``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == HEADER), b"")
        id = given.decode("ascii") if _SAFE.fullmatch(given) else new_id()
        scope.setdefault("state", {})["request_id"] = id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=id):
            await self._app(scope, receive, send_with_id)
