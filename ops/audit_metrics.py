"""The audit's verdict as Prometheus metrics in a file, for node_exporter's textfile collector.

A file and not a port: an audit of millions of rows is run by a timer, not by each scrape. Written whole and
renamed, so a scrape never reads half; an audit that could not be done leaves the old file with its old time.
"""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from bulksend.ledger.audit import Report


def write_metrics(report: Report, path: Path, *, finished_at: float, seconds: float) -> None:
    """Write ``path``; ``finished_at`` in seconds since the epoch. Raises OSError where it cannot be written."""
    registry = CollectorRegistry()
    _gauge(registry, "bulksend_audit_holds", "1 where every promise holds, else 0").set(report.holds)
    _gauge(
        registry,
        "bulksend_audit_finished_timestamp_seconds",
        "When the newest audit ended; old: none was done",
    ).set(finished_at)
    _gauge(registry, "bulksend_audit_duration_seconds", "How long it took").set(seconds)
    checked = _gauge(registry, "bulksend_audit_checked", "Cases a rule looked at", "rule")
    broken = _gauge(
        registry, "bulksend_audit_broken", "Cases that break a rule; anything but 0 is an alarm", "rule"
    )
    for finding in report.findings:
        checked.labels(finding.rule).set(finding.checked)
        broken.labels(finding.rule).set(finding.broken)
    messages = _gauge(registry, "bulksend_audit_messages", "Messages in the ledger", "status")
    for status, n in report.counts.items():
        messages.labels(status).set(n)
    write_to_textfile(str(path), registry)
    # Counts and rules alone, and its reader is another user: every other file of a command is its user's own.
    path.chmod(0o644)


def _gauge(registry: CollectorRegistry, name: str, meaning: str, *labels: str) -> Gauge:
    return Gauge(name, meaning, labels, registry=registry)
