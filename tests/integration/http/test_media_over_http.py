"""Files over HTTP: uploaded once, named by campaigns, kept while one may send them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from bulksend.operations import api_keys, messages
from bulksend.operations.access import Role
from simulator import REHEARSAL_ACCESS_KEY_ID, REHEARSAL_SECRET, SimulatorSettings, run_in_thread
from tests.integration.http.test_campaigns_posted import OPTIONS, SENDER, rows

PICTURE = b"\xff\xd8\xff\xe0 a picture"


@pytest.fixture
def more_settings() -> Iterator[dict[str, str]]:
    with run_in_thread(SimulatorSettings(media="uploaded")) as simulator:
        yield {
            "USPEEDO_BASE_URL": f"{simulator.origin}/api",
            "USPEEDO_ACCESSKEY_ID": REHEARSAL_ACCESS_KEY_ID,
            "USPEEDO_ACCESSKEY_SECRET": REHEARSAL_SECRET,
        }


def upload(api: Any, data: bytes = PICTURE, role: Role | None = Role.SENDER, **more: Any) -> Any:
    options = {"media": (None, json.dumps(more.pop("media", {"sender": SENDER})), "application/json")}
    return api.request("POST", "/v1/media", role, files={**options, "file": ("spring.jpg", data)}, **more)


def campaign(api: Any, **more: Any) -> Any:
    given = {**OPTIONS, "type": "image", "content": {"caption": "{{name}}"}, "rows": rows(2), **more}
    return api.post("/v1/campaigns", given)


def test_a_file_is_uploaded_once_and_sent_by_its_id_until_the_campaign_has_ended(api: Any) -> None:
    first = upload(api, headers={"Idempotency-Key": "a"})
    assert first.status_code == 201, first.text
    file = first.json()
    assert first.headers["location"] == f"/v1/media/{file['id']}"
    assert (file["type"], file["bytes"], file["name"], file["repeated"]) == ("image", 14, "spring.jpg", False)
    again = upload(api, headers={"Idempotency-Key": "a"})
    assert (again.json(), again.headers["idempotent-replayed"]) == (file, "true")
    assert upload(api).json() == {**file, "repeated": True}
    # Nothing but its content for a renewal, of mode 0600.
    assert [path.name for path in api.services.uploads.store.folder.glob("**/*")] == ["media", file["id"]]

    for id in (file["id"], file["media_id"]):
        assert campaign(api, media=id, dry_run=True).json()["messages"] == 2
    sent = campaign(api, media=file["id"])
    assert sent.status_code == 202, sent.text
    id = sent.json()["campaign_id"]
    (message, _) = api.get("/v1/messages").json()["items"]
    content = api.get(f"/v1/messages/{message['id']}").json()["content"]
    ours = f"media:{file['id']}"
    assert content["id"] == ours
    with api.ledger.read() as tx:
        shown = {"type": "image", "content": content}
        assert messages.named_files(tx, shown) == {ours: f"{ours} (spring.jpg)"}
    shown = api.get(f"/v1/media/{file['id']}", role=Role.VIEWER).json()
    assert (shown["campaigns"], shown["expired"]) == ([id], False)
    refused = api.request("DELETE", f"/v1/media/{file['id']}", Role.OPERATOR)
    assert refused.status_code == 409
    assert "after the campaign has ended" in refused.json()["detail"]
    api.post(f"/v1/campaigns/{id}/cancel", {})
    deleted = api.request("DELETE", f"/v1/media/{file['id']}", Role.OPERATOR)
    assert deleted.json() == {"id": file["id"], "deleted": True}
    assert api.get("/v1/media").json() == {"items": [], "next": None}
    assert api.get(f"/v1/media/{file['id']}").status_code == 404


def test_a_row_of_a_plan_with_a_file_is_sent_as_a_test_with_that_file(api: Any) -> None:
    file = upload(api).json()
    given = {**OPTIONS, "type": "image", "content": {"caption": "{{name}}"}, "rows": rows(2)}
    plan = api.post("/v1/plans", {**given, "media": file["id"]}).json()
    (row, _) = api.get(f"/v1/plans/{plan['plan_id']}/preview").json()["items"]
    assert row["header"] == f"[image media:{file['id']} (spring.jpg)]"
    tried = api.post(f"/v1/plans/{plan['plan_id']}/test", {"to": "447700900111"})
    assert tried.status_code == 202, tried.text
    content = api.get(f"/v1/messages/{tried.json()['id']}").json()["content"]
    assert content == {"caption": "N0", "id": file["media_id"]}
    assert api.post(f"/v1/plans/{plan['plan_id']}/apply").json()["messages"] == 2


def test_a_file_that_is_deleted_between_two_pages_leaves_no_gap(api: Any) -> None:
    ids = [upload(api, PICTURE + bytes([n])).json()["id"] for n in range(3)]
    listed = [file["id"] for file in api.get("/v1/media").json()["items"]]
    assert sorted(listed) == sorted(ids)
    first = api.get("/v1/media?limit=1").json()
    assert [file["id"] for file in first["items"]] == listed[:1]
    api.request("DELETE", f"/v1/media/{listed[0]}", Role.OPERATOR)
    rest = api.get(f"/v1/media?limit=2&after={first['next']}").json()
    assert [file["id"] for file in rest["items"]] == listed[1:]
    assert rest["next"] is None
    assert api.get("/v1/media?after=x").status_code == 422


def test_what_is_wrong_with_a_file_is_said_before_anything_is_kept(api: Any) -> None:
    def error(answer: Any) -> tuple[str, str]:
        assert answer.status_code == 422, answer.text
        (found,) = answer.json()["errors"]
        return found["field"], found["why"]

    assert error(upload(api, b"GIF89a\x01"))[0] == "file"
    assert error(upload(api, media={}))[0] == "media.sender"
    assert error(upload(api, media={"sender": "12"}))[0] == "sender"
    assert upload(api, b"x" * (101 * 2**20)).status_code == 413
    with api.ledger.write() as tx:
        other = api_keys.add(tx, name="other", role=Role.SENDER, senders=["15550100"], actor="test").key
    assert upload(api, headers={"Authorization": f"Bearer {other}"}).status_code == 403
    assert api.get("/v1/media").json()["items"] == []
    assert list(api.services.uploads.store.folder.glob("*")) == []

    file = upload(api).json()
    for wrong in (
        {"media": "none"},
        {"media": file["id"], "type": "video"},
        {"media": file["id"], "type": "text"},
    ):
        assert error(campaign(api, **wrong))[0] == "media"
    field, why = error(campaign(api, media=file["id"], sender="15550100100"))
    assert (field, "for another sender;" in why and "POST /v1/media" in why) == ("content", True)
    assert api.get("/v1/campaigns").json()["items"] == []
