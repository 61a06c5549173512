"""Traces by OpenTelemetry, an extra: each POST of a worker is linked to the batch that claimed its message.

A span is recorded when its work has ended, so that a worker without traces pays for one comparison a POST. No attribute
holds a phone number, a sender, a content or an id of a person.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from bulksend import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import SpanContext

Attributes = Mapping[str, str | int]


class Tracing:
    """Records spans and exports them in the background. Thread-safe."""

    def __init__(
        self, exporter: SpanExporter, service: str, *, wall_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """``service`` names this kind of process: worker, serve. ``wall_ns``: nanoseconds since the epoch."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create({"service.name": f"bulksend-{service}", "service.version": __version__})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("bulksend", __version__)
        self._wall_ns = wall_ns

    def record(
        self,
        name: str,
        seconds: float,
        attributes: Attributes,
        *,
        linked: SpanContext | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> SpanContext:
        """A span that ends now and lasted ``seconds``.

        ``linked`` is the span that it follows from; ``headers`` are those of a request, whose ``traceparent`` makes
        the caller's span its parent (W3C Trace Context).
        """
        from opentelemetry.trace import Link
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        ended_at = self._wall_ns()
        links: Sequence[Link] = () if linked is None else (Link(linked),)
        parent = None if headers is None else TraceContextTextMapPropagator().extract(headers)
        span = self._tracer.start_span(
            name,
            context=parent,
            attributes=attributes,
            links=links,
            start_time=ended_at - int(seconds * 1e9),
        )
        span.end(ended_at)
        return span.get_span_context()

    def close(self) -> None:
        """Export what is left."""
        self._provider.shutdown()
