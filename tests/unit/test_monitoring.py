"""The alerts and the dashboard ask for metrics that exist, and each alert has its paragraph in the runbook."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from bulksend.metrics import (
    HostMetrics,
    HttpMetrics,
    LedgerGauges,
    LedgerState,
    ReceiptMetrics,
    RedisMetrics,
    SenderState,
    WebhookMetrics,
    WorkerMetrics,
    process_registry,
)

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus-rules.yml"
DASHBOARD = ROOT / "deploy" / "grafana-dashboard.json"
ALERTS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
#: What an audit writes into a file: ops/audit_metrics.py.
OF_AUDIT = {"bulksend_audit_holds", "bulksend_audit_finished_timestamp_seconds"}


def every_metric() -> dict[str, set[str]]:
    """Name of each series -> its labels, besides those of buckets."""
    registry: CollectorRegistry = process_registry()
    WorkerMetrics(registry)
    HttpMetrics(registry)
    ReceiptMetrics(registry)
    WebhookMetrics(registry)
    RedisMetrics(registry, lambda: True)
    HostMetrics(registry, Path("nowhere"))
    state = LedgerState(
        messages={("otp", "queued"): 1},
        oldest_age_s={"otp": 0.0},
        senders=[SenderState("15550100100", 80.0, 0.0, paused=False, is_red=False)],
        account_paused=False,
        quota_used=0.5,
        templates_not_approved=0,
        endpoints_disabled=0,
        workers_alive=1,
        clock_skew_s=0.0,
    )
    LedgerGauges(lambda: state).register(registry)
    found: dict[str, set[str]] = {name: set() for name in OF_AUDIT}
    for family in registry.collect():
        labels = set(getattr(family, "_labelnames", ())) | {
            label for sample in family.samples for label in sample.labels
        }
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        for ending in endings:
            found[family.name + ending] = labels
    return found


METRICS = every_metric()


def asked_for(expression: str) -> Iterator[str]:
    yield from re.findall(r"\bbulksend_\w+", expression)


def queries(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_asks_for_metrics_that_exist(alert: dict[str, Any]) -> None:
    names = set(asked_for(alert["expr"]))
    assert names
    assert names <= set(METRICS)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_has_its_paragraph_in_the_runbook(alert: dict[str, Any]) -> None:
    anchor = alert["annotations"]["runbook"].rpartition("#")[2]
    assert anchor == alert["alert"].lower()
    assert f"\n## {alert['alert']}\n" in RUNBOOK
    assert alert["labels"]["severity"] in ("critical", "warning")


def test_the_runbook_has_no_other_paragraph() -> None:
    assert re.findall(r"(?m)^## (\w+)$", RUNBOOK) == [alert["alert"] for alert in ALERTS]


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    found = {name for query in queries(dashboard) for name in asked_for(query)}
    assert len(found) > 15
    assert found <= set(METRICS)
    places = [tuple(panel["gridPos"][side] for side in "xywh") for panel in dashboard["panels"]]
    assert len(places) == len(set(places))
    assert all(x + width <= 24 for x, _, width, _ in places)


def test_no_metric_has_a_label_that_could_hold_a_person() -> None:
    allowed = {
        *("kind", "status", "sender", "outcome", "code", "gate", "step", "route", "method", "version", "le"),
        "rule",
    }
    assert set().union(*METRICS.values()) <= allowed


def test_prometheus_accepts_the_rules() -> None:
    """By its own tool where that is installed."""
    for alert in ALERTS:
        assert set(alert) <= {"alert", "expr", "for", "labels", "annotations"}
        assert alert["expr"].count("(") == alert["expr"].count(")")
    if shutil.which("promtool") is None:
        return
    checked = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
