"""What a person may ask of us, over HTTP: no number in an address, none in an answer that is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy import select

from bulksend.ledger.schema import metadata
from tests.integration.http.conftest import ON_ONE_DATABASE

NUMBER = "447700900123"


def test_a_person_is_exported_and_forgotten(api: Any, tmp_path: Path) -> None:
    assert api.post("/v1/suppressions", {"phone": NUMBER, "reason": "STOP"}).status_code == 201
    asked = {"phone": "+44 7700 900123", "why": "the person asked"}
    held = api.post("/v1/persons/export", asked).json()
    assert [each["scope"] for each in held["suppressions"]] == ["marketing"]
    done = api.post("/v1/persons/forget", asked)
    assert done.status_code == 200, done.text
    assert done.json()["left"] == []
    assert done.json()["complete"] is True
    assert done.json()["suppressed"] == ["marketing"]
    assert "every key of Redis" in done.json()["searched"]
    assert NUMBER not in done.text
    with api.ledger.read() as tx:
        rows = [
            str(dict(row._mapping)) for table in metadata.sorted_tables for row in tx.execute(select(table))
        ]
    assert not any(NUMBER in row for row in rows)
    acts = [row for row in rows if "'forget'" in row]
    assert len(acts) == 1
    assert "testclient" not in acts[0]
    assert api.get("/v1/suppressions", params={"phone": NUMBER}).json()["items"][0]["subject"].startswith("#")


def test_a_legal_hold_keeps_a_person_and_its_number_is_masked(api: Any) -> None:
    asked = {"phone": NUMBER, "why": "a court asks"}
    headers = {"Idempotency-Key": "hold-1"}
    made = [api.request("POST", "/v1/holds", json=asked, headers=headers) for _ in "ab"]
    assert [answer.status_code for answer in made] == [201, 201]
    hold = made[0].json()
    assert hold == made[1].json()
    assert (hold["subject"], hold["name"]) == ("4477*****123", None)
    assert api.get("/v1/holds").json() == {"items": [hold], "next": None}
    refused = api.post("/v1/persons/forget", asked)
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
    assert hold["id"] in refused.json()["detail"]
    assert NUMBER not in refused.text
    path = f"/v1/holds/{hold['id']}/remove"
    assert api.post(path, {"why": "it ended"}).json() == hold
    assert api.post(path, {"why": "it ended"}).status_code == 404
    assert api.post("/v1/persons/forget", asked).json()["complete"] is True


@ON_ONE_DATABASE
def test_what_is_wrong_is_said_without_the_number(api: Any) -> None:
    wrong = [
        ("/v1/persons/forget", {"phone": f"{NUMBER}x", "why": "asked"}, "phone"),
        ("/v1/persons/forget", {"phone": NUMBER, "why": f"+{NUMBER} asked"}, "why"),
        ("/v1/persons/forget", {"phone": NUMBER}, "why"),
        ("/v1/persons/export", {"phone": NUMBER, "why": "asked", "region": "UK"}, "region"),
        ("/v1/holds", {"why": "asked"}, ""),
        ("/v1/holds", {"why": "asked", "phone": NUMBER, "campaign": "x"}, ""),
    ]
    for path, body, field in wrong:
        answer = api.post(path, body)
        assert answer.status_code == 422, (path, answer.text)
        assert field in json.dumps(answer.json().get("errors", "")), answer.text
        assert NUMBER not in answer.text
