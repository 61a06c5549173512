"""Audits over HTTP: those that are kept, page by page."""

from __future__ import annotations

from typing import Any

from bulksend.operations.access import Role
from bulksend.operations.audit import as_json, audit_and_keep


def test_audits_are_listed_from_the_newest_with_what_each_found(seeded_api: Any) -> None:
    api = seeded_api
    assert api.get("/v1/audits", Role.VIEWER).json() == {"items": [], "next": None}
    campaign = api.get("/v1/campaigns").json()["items"][0]["campaign_id"]
    audits = [audit_and_keep(api.ledger, campaign=of, actor=f"ann {of}") for of in (None, campaign, None)]
    first = api.get("/v1/audits?limit=2", Role.VIEWER).json()
    second = api.get(f"/v1/audits?limit=2&after={first['next']}", Role.VIEWER).json()
    assert second["next"] is None
    listed = first["items"] + second["items"]
    assert [each["campaign_id"] for each in listed] == [None, campaign, None]
    assert [each["by"] for each in listed] == ["ann None", f"ann {campaign}", "ann None"]
    for each, found in zip(listed, reversed(audits), strict=True):
        assert {name: each[name] for name in ("holds", "counts", "findings")} == as_json(found.report)
        assert each["broken"] == 0
    assert api.get("/v1/audits?after=01978c5e-0000-7000-8000-000000000001").status_code == 422
