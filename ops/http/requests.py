"""What every request has: an id, headers of its answer, a line in the access log. One layer, since each costs time."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, reset_contextvars

from ops.http.access_log import CALLER_LEFT, AccessLog
from ops.http.request_ids import HEADER, request_id
from ops.http.response_headers import response_headers


class Requests:
    """ASGI application around another. Sets ``request.state.request_id``."""

    def __init__(self, app: ASGIApp, access_log: AccessLog) -> None:
        self._app = app
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        id = request_id(scope["headers"])
        scope.setdefault("state", {})["request_id"] = id
        added = (*response_headers(scope["path"], scope["scheme"]), (HEADER, id.encode()))
        names = {name for name, _ in added}
        status = CALLER_LEFT

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [pair for pair in message.get("headers", ()) if pair[0] not in names]
                message = {**message, "headers": [*own, *added]}
            await send(message)

        bound = bind_contextvars(request_id=id)
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            self._access_log.note(scope, status, time.perf_counter() - began)
            reset_contextvars(**bound)
