"""A line of log and a count for each request: by the template of its route, never its path or its query, which may be
private.
"""

from __future__ import annotations

from starlette.types import Scope

from bulksend.logs import InfoLines
from bulksend.metrics import HttpMetrics
from bulksend.tracing import Tracing

#: The status of a request whose caller left before the answer began.
CALLER_LEFT = 499
_METHODS = frozenset({"GET", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "PUT"})
_lines = InfoLines(__name__, "http_request")


class AccessLog:
    """Notes each request when it has been answered."""

    def __init__(self, metrics: HttpMetrics, tracing: Tracing | None) -> None:
        self._metrics = metrics
        self._tracing = tracing

    def note(self, scope: Scope, status: int, seconds: float) -> None:
        """A request was answered, or its caller left. Its id is bound to the log."""
        route, method = route_of(scope), _method(scope)
        self._metrics.count(route, method, status, seconds)
        if self._tracing is not None:
            attributes = {"http.route": route, "http.request.method": method}
            self._tracing.record(
                f"{method} {route}",
                seconds,
                attributes | {"http.response.status_code": status},
                headers=_trace_headers(scope),
            )
        _lines.write(
            {
                "request_id": scope["state"]["request_id"],
                "method": method,
                "route": route,
                "status": status,
                "ms": round(seconds * 1000, 1),
                "key": getattr(scope["state"].get("principal"), "id", None),
            }
        )


def _trace_headers(scope: Scope) -> dict[str, str]:
    return {
        name.decode(): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in (b"traceparent", b"tracestate")
    }


def _method(scope: Scope) -> str:
    """A method of a label or a line: a caller could otherwise write there what it likes."""
    return scope["method"] if scope["method"] in _METHODS else "other"


def route_of(scope: Scope) -> str:
    """The template of the route that took the request, such as ``/v1/messages/{id}``; ``none`` where there is none."""
    return getattr(scope.get("route"), "path", None) or "none"
