"""Spans are recorded when their work has ended, and hold no private data."""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bulksend.tracing import Tracing

NOW_NS = 1_800_000_000_000_000_000


def a_tracing() -> tuple[Tracing, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    return Tracing(exporter, "worker", wall_ns=lambda: NOW_NS), exporter


def finished(tracing: Tracing, exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    tracing.close()
    return {span.name: span for span in exporter.get_finished_spans()}


def test_a_post_is_linked_to_the_claim_of_its_batch() -> None:
    tracing, exporter = a_tracing()
    claim = tracing.record("claim", 0.02, {"bulksend.messages": 2})
    tracing.record("post", 0.5, {"bulksend.outcome": "accepted"}, linked=claim)
    spans = finished(tracing, exporter)
    assert [link.context for link in spans["post"].links] == [claim]
    assert (spans["post"].start_time, spans["post"].end_time) == (NOW_NS - 500_000_000, NOW_NS)
    assert spans["post"].resource.attributes["service.name"] == "bulksend-worker"


def test_a_request_belongs_to_the_trace_of_its_caller() -> None:
    tracing, exporter = a_tracing()
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    context = tracing.record("GET /v1/me", 0.1, {}, headers={"traceparent": parent})
    assert f"{context.trace_id:032x}" == parent.split("-")[1]
    span = finished(tracing, exporter)["GET /v1/me"]
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == parent.split("-")[2]
