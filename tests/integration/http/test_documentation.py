"""docs/http.md and the API have the same endpoints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.integration.http.conftest import ON_ONE_DATABASE

ROOT = Path(__file__).resolve().parents[3]
#: The vendor's address, which its middleware answers: no part of the API for programs.
VENDORS = {("GET", "/v1/receipts/TOKEN"), ("POST", "/v1/receipts/TOKEN")}
#: One row of a table: an endpoint and what it does.
ROW = re.compile(r"^\| `(GET|POST|PUT|PATCH|DELETE) (/[^`]*)` \| \S", re.MULTILINE)


@ON_ONE_DATABASE
def test_the_page_has_every_endpoint_and_no_other(api: Any) -> None:
    paths = api.get("/openapi.json", role=None).json()["paths"]
    served = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    documented = ROW.findall((ROOT / "docs" / "http.md").read_text())
    assert len(documented) == len(set(documented)), "an endpoint is listed twice"
    assert set(documented) - VENDORS == served


def test_the_summary_of_an_endpoint_says_what_it_does_in_a_line(api: Any) -> None:
    paths = api.get("/openapi.json", role=None).json()["paths"]
    summaries = [operation["summary"] for methods in paths.values() for operation in methods.values()]
    assert all(" " in summary and len(summary) < 120 for summary in summaries), summaries
    assert not [summary for summary in summaries if summary.endswith((".", ":", "e.g"))]
