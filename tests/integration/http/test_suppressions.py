"""Suppressions over HTTP: added, listed, removed, imported."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from bulksend.ledger import operator_log
from bulksend.operations.access import Role
from ops.http.body_limits import DEFAULT
from tests.integration.http.conftest import ON_ONE_DATABASE

ADA, BOB = "12025550123", "447700900123"
LIST = "/v1/suppressions"


def add(api: Any, phone: str, **more: Any) -> None:
    assert api.post(LIST, {"phone": phone, "reason": "STOP", **more}).status_code == 201


def post_import(api: Any, rows: str, role: Role = Role.OPERATOR, headers: Any = None, **options: Any) -> Any:
    files = {"import": (None, json.dumps(options), "application/json"), "file": ("out.csv", rows, "text/csv")}
    return api.request("POST", f"{LIST}/import", role, files=files, headers=headers or {})


@ON_ONE_DATABASE
def test_only_a_form_with_a_file_may_be_large(api: Any) -> None:
    headers = {"Content-Type": "application/json", "Idempotency-Key": "import-1"}
    body = iter([b" " * DEFAULT, b" "])
    assert api.request("POST", f"{LIST}/import", content=body, headers=headers).status_code == 413


def ended(api: Any, made: Any) -> dict[str, Any]:
    """The import once it ended."""
    assert made.status_code == 202, made.text
    deadline = time.monotonic() + 60
    while True:
        shown = api.get(made.headers["Location"]).json()
        if shown["status"] in ("done", "failed"):
            return dict(shown)
        assert time.monotonic() < deadline, shown
        time.sleep(0.02)


def subjects(api: Any) -> list[str]:
    return [item["subject"] for item in api.get(LIST).json()["items"]]


def test_a_suppression_is_added_listed_and_removed(api: Any) -> None:
    add(api, "+44 7700 900123", until="2099-01-01T00:00:00Z")
    add(api, "country:gb", scope="all")
    items = api.get(LIST).json()["items"]
    assert [(item["subject"], item["scope"]) for item in items] == [(BOB, "marketing"), ("country:GB", "all")]
    assert items[0]["until"] == "2099-01-01T00:00:00.000+00:00"
    assert api.get(LIST, params={"phone": BOB}).json()["items"] == items[:1]
    removed = api.request("DELETE", LIST, Role.OPERATOR, json={"phone": BOB, "why": "opted in again"})
    assert removed.json() == {"subject": BOB, "removed": 1}
    assert subjects(api) == ["country:GB"]
    with api.ledger.read() as tx:
        first, last = operator_log.of(tx, "suppression", BOB)
    assert (first.act, last.act, last.why) == ("suppress marketing", "lift suppression", "opted in again")
    assert "operator" in last.actor


def test_pages_follow_each_other_and_their_cursors_reveal_no_number(api: Any) -> None:
    for phone in (ADA, BOB, "447700900124"):
        add(api, phone)
    seen, after = [], ""
    while after is not None:
        page = api.get(LIST, Role.VIEWER, params={"limit": 1, "after": after}).json()
        seen += [item["subject"] for item in page["items"]]
        after = page["next"]
    assert seen == ["1202****123", "4477*****123", "4477*****124"]
    assert api.get(LIST, params={"after": BOB}).status_code == 422
    assert api.get(LIST, params={"limit": 1001}).status_code == 422


def test_a_repeated_post_is_done_once(api: Any) -> None:
    headers = {"Idempotency-Key": "one"}
    first = api.post(LIST, {"phone": ADA, "reason": "STOP"}, headers=headers)
    again = api.post(LIST, {"phone": ADA, "reason": "STOP"}, headers=headers)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"


@ON_ONE_DATABASE
@pytest.mark.parametrize(
    "asked",
    [
        {"phone": "12", "reason": "STOP"},
        {"phone": ADA, "reason": ""},
        {"phone": ADA, "reason": "STOP", "scope": "some"},
        {"phone": ADA, "reason": "STOP", "until": "tomorrow"},
        {"phone": "country:XX", "reason": "STOP"},
    ],
)
def test_what_is_wrong_is_refused(api: Any, asked: dict[str, Any]) -> None:
    assert api.post(LIST, asked).status_code == 422
    assert subjects(api) == []


def test_an_import_tells_first_and_then_suppresses_all(api: Any) -> None:
    add(api, ADA)
    rows = f"phone\n{ADA}\n+44 7700 900123\n{BOB}\n12\n"
    told = ended(api, post_import(api, rows, dry_run=True))
    counts = {"rows": 4, "people": 2, "added": 1, "before": 1, "refused_count": 1}
    assert {name: told["result"][name] for name in counts} == counts
    assert subjects(api) == [ADA]

    done = ended(api, post_import(api, rows, reason="old system", source="crm", scope="marketing"))
    assert {name: done["result"][name] for name in counts} == counts
    (refused,) = done["result"]["refused"]
    assert (refused["row"], refused["field"]) == (5, "to")
    assert subjects(api) == [ADA, BOB]
    assert api.get(LIST, params={"phone": BOB}).json()["items"][0]["source"] == "crm"
    assert done["progress"] == {"rows": 4, "of": 4}
    assert list((Path(api.services.settings.upload_dir) / "suppressions").iterdir()) == []


@ON_ONE_DATABASE
def test_an_import_that_cannot_be_read_fails_with_the_remedy(api: Any) -> None:
    failed = ended(api, post_import(api, "name\nAda\n"))
    assert failed["status"] == "failed"
    assert "map" in failed["error"]
    assert subjects(api) == []


def test_a_repeated_import_is_one_job(api: Any) -> None:
    headers = {"Idempotency-Key": "import-1"}
    first = post_import(api, f"phone\n{ADA}\n", headers=headers)
    ended(api, first)
    again = post_import(api, f"phone\n{ADA}\n", headers=headers)
    assert again.json()["id"] == first.json()["id"]
    other = post_import(api, f"phone\n{BOB}\n", headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert list((Path(api.services.settings.upload_dir) / "suppressions").iterdir()) == []


@ON_ONE_DATABASE
def test_only_operators_suppress(api: Any) -> None:
    assert api.post(LIST, {"phone": ADA, "reason": "x"}, role=Role.SENDER).status_code == 403
    assert post_import(api, f"phone\n{ADA}\n", role=Role.SENDER).status_code == 403
    assert api.request("DELETE", LIST, Role.SENDER, json={"phone": ADA, "why": "x"}).status_code == 403
