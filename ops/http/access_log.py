"""A line of log and a count for each request: by the template of its route, never its path or its query, which may be
private.
"""

from __future__ import annotations

import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bulksend.metrics import HttpMetrics
from bulksend.tracing import Tracing

log = structlog.get_logger(__name__)

#: The status of a request whose caller left before the answer began.
CALLER_LEFT = 499
_METHODS = frozenset({"GET", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "PUT"})


class AccessLog:
    """ASGI middleware. The id of the request is bound to the log by ``RequestIds``."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics, tracing: Tracing | None) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = CALLER_LEFT

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            seconds, route = time.perf_counter() - began, route_of(scope)
            self._metrics.count(route, _method(scope), status, seconds)
            if self._tracing is not None:
                attributes = {"http.route": route, "http.request.method": _method(scope)}
                self._tracing.record(
                    f"{_method(scope)} {route}",
                    seconds,
                    attributes | {"http.response.status_code": status},
                    headers=_trace_headers(scope),
                )
            log.info(
                "http_request",
                method=scope["method"],
                route=route,
                status=status,
                ms=round(seconds * 1000, 1),
                key=getattr(scope["state"].get("principal"), "id", None),
            )


def _trace_headers(scope: Scope) -> dict[str, str]:
    return {
        name.decode(): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in (b"traceparent", b"tracestate")
    }


def _method(scope: Scope) -> str:
    """A method of a label: a caller could otherwise make any number of labels."""
    return scope["method"] if scope["method"] in _METHODS else "other"


def route_of(scope: Scope) -> str:
    """The template of the route that took the request, such as ``/v1/messages/{id}``; ``none`` where there is none."""
    return getattr(scope.get("route"), "path", None) or "none"
