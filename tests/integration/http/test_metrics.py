"""What a serving process counts, and who may read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from bulksend.metrics import HostMetrics
from tests.integration.http.conftest import ON_ONE_DATABASE


@ON_ONE_DATABASE
def test_without_a_token_there_are_no_metrics(api: Any) -> None:
    assert api.get("/metrics").status_code == 404


@ON_ONE_DATABASE
@pytest.mark.parametrize("more_settings", [{"BULKSEND_METRICS_TOKEN": "m-token"}], indirect=True)
def test_metrics_are_read_with_their_own_token_and_not_with_a_key(api: Any) -> None:
    assert api.get("/metrics", role=None).status_code == 401
    assert api.get("/metrics").status_code == 401
    found = api.get("/metrics", role=None, headers={"Authorization": "Bearer m-token"})
    assert found.status_code == 200
    assert 'bulksend_info{version="' in found.text


@ON_ONE_DATABASE
def test_requests_are_counted_by_the_template_of_their_route(api: Any) -> None:
    api.get("/v1/campaigns/447700900123")
    api.get("/nowhere/447700900123")
    api.request("BREW", "/healthz", role=None)
    count = api.services.registry.get_sample_value
    for route, method, status in (
        ("/v1/campaigns/{id}", "GET", "404"),
        ("none", "GET", "404"),
        ("/healthz", "other", "405"),
    ):
        labels = {"route": route, "method": method, "status": status}
        assert count("bulksend_http_requests_total", labels) == 1, labels


def test_files_that_wait_for_the_ledger_are_counted(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    HostMetrics(registry, tmp_path / "later")
    assert registry.get_sample_value("bulksend_spooled_files") == 0
    (tmp_path / "later").mkdir()
    for name in ("results-1-ab.jsonl", "a.receipts", "flight"):
        (tmp_path / "later" / name).touch()
    assert registry.get_sample_value("bulksend_spooled_files") == 2
    assert (registry.get_sample_value("bulksend_disk_free_bytes") or 0) > 0
