"""Campaigns over HTTP: rows or a file become messages once, and what is wrong is said before anything changes."""

from __future__ import annotations

import json
from typing import Any

SENDER = "8615000579987"
OPTIONS: dict[str, Any] = {
    "name": "spring",
    "sender": SENDER,
    "kind": "marketing",
    "type": "text",
    "content": {"body": "Hello {{name}}"},
}


def rows(count: int, first: int = 0) -> list[dict[str, str]]:
    return [{"to": f"44770090{n:04d}", "name": f"N{n}"} for n in range(first, first + count)]


def csv(count: int, first: int = 0) -> bytes:
    return ("to,name\n" + "".join(f"{row['to']},{row['name']}\n" for row in rows(count, first))).encode()


def post_file(api: Any, data: bytes, name: str = "people.csv", **options: Any) -> Any:
    headers = options.pop("headers", {})
    campaign = json.dumps({**OPTIONS, **options})
    return api.request(
        "POST", "/v1/campaigns", data={"campaign": campaign}, files={"file": (name, data)}, headers=headers
    )


def test_rows_as_json_become_messages_and_the_bad_ones_are_listed(api: Any) -> None:
    answer = api.post("/v1/campaigns", {**OPTIONS, "rows": [*rows(3), {"to": "12", "name": "x"}, *rows(1)]})
    assert answer.status_code == 202, answer.text
    said = answer.json()
    assert (said["status"], said["rows"], said["messages"], said["duplicates"]) == ("running", 5, 3, 1)
    assert said["refused_count"] == 1
    assert said["refused"][0]["row"] == 4
    assert answer.headers["Location"] == f"/v1/campaigns/{said['campaign_id']}"
    shown = api.get(answer.headers["Location"]).json()
    assert shown["total"] == 3
    assert shown["upload"]["state"] == "done"


def test_a_file_is_taken_in_and_then_deleted(api: Any) -> None:
    answer = post_file(api, csv(50))
    assert answer.status_code == 202, answer.text
    assert answer.json()["messages"] == 50
    assert list(api.parts.uploads.store.folder.iterdir()) == []
