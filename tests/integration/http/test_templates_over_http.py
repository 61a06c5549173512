"""What the vendor has of a template decides over HTTP as on the command line, before a message is stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bulksend.ledger import templates
from bulksend.ledger.templates import TemplateChange
from bulksend.messaging.template_shape import read_shape
from bulksend.operations.access import Role
from simulator import REHEARSAL_ACCESS_KEY_ID, REHEARSAL_SECRET, SimulatorSettings, run_in_thread
from simulator.settings import VendorTemplate
from tests.integration.http.test_campaigns_posted import OPTIONS, SENDER, rows


@pytest.fixture
def more_settings(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The simulated vendor, where a test asks for one."""
    if not hasattr(request, "param"):
        yield {}
        return
    told = VendorTemplate("sale", "en", body_parameters=1)
    with run_in_thread(SimulatorSettings(templates=(told,))) as simulator:
        yield {
            "USPEEDO_BASE_URL": f"{simulator.origin}/api",
            "USPEEDO_ACCESSKEY_ID": REHEARSAL_ACCESS_KEY_ID,
            "USPEEDO_ACCESSKEY_SECRET": REHEARSAL_SECRET,
        }


AT = 1_764_400_300_000


def tell(api: Any, at: int = AT, variables: str = "{{1}}", **more: Any) -> None:
    shape = read_shape([{"Type": "BODY", "Text": f"Hi {variables}"}])
    change = TemplateChange("sale", "en", at=at, shape=shape, synced=True, **{"status": "APPROVED", **more})
    with api.ledger.write() as tx:
        templates.change_template(tx, change, actor="sync")


def content(text: str, count: int = 1) -> dict[str, Any]:
    body = {"type": "body", "parameters": [{"type": "text", "text": text}] * count}
    language = {"code": "en", "policy": "deterministic"}
    return {"name": "sale", "language": language, "components": [body]}


def campaign(api: Any, count: int = 1, **more: Any) -> Any:
    given = {**OPTIONS, "type": "template", "content": content("{{name}}", count), "rows": rows(2), **more}
    return api.post("/v1/campaigns", given)


def test_a_content_that_does_not_fit_is_refused_and_stores_nothing(api: Any) -> None:
    tell(api)
    for refused in (campaign(api, 2), campaign(api, 2, dry_run=True)):
        assert refused.status_code == 422, refused.text
        (error,) = refused.json()["errors"]
        assert error["field"] == "content"
        assert "has 1 variable (1) in its body, and the content gives 2: give exactly 1" in error["why"]
        assert "GET /v1/templates/{name}" in error["why"]
    message = {"to": "447700900123", "sender": SENDER, "kind": "marketing", "type": "template"}
    refused = api.post("/v1/messages", {**message, "content": content("Ada", 2), "key": "a"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "content"
    many = api.post(
        "/v1/messages",
        {"messages": [{**message, "content": content("Ada", n), "key": f"k{n}"} for n in (1, 2)]},
    )
    first, second = many.json()["items"]
    assert first["status"] == "queued"
    assert "1 variable" in second["error"]["why"]
    assert len(api.get("/v1/messages").json()["items"]) == 1


def test_a_server_without_credentials_says_so(api: Any) -> None:
    refused = api.post("/v1/templates/sync", role=Role.OPERATOR)
    assert refused.status_code == 409
    assert "USPEEDO_ACCESSKEY_ID" in refused.json()["detail"]


@pytest.mark.parametrize("more_settings", ["a vendor"], indirect=True)
def test_a_sync_and_a_preview_answer_as_the_terminal(api: Any) -> None:
    assert campaign(api).status_code == 202
    done = api.post("/v1/templates/sync", role=Role.OPERATOR, headers={"Idempotency-Key": "a"})
    assert done.json() == {"templates": 1, "senders": 0, "changed": 1, "problems": []}
    again = api.post("/v1/templates/sync", role=Role.OPERATOR, headers={"Idempotency-Key": "a"})
    assert again.json() == done.json()
    assert api.post("/v1/templates/sync").json()["changed"] == 0
    preview = "/v1/templates/sale/preview"
    shown = api.post(preview, {"row": {"1": "Ada"}}, role=Role.VIEWER).json()
    assert (shown["language"], shown["missing"]) == ("en", [])
    assert "Ada" in shown["body"]
    assert api.post(preview).json()["missing"] == ["1"]
    wrong = api.post(preview, {"language": "de"})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "language")
    assert api.post("/v1/templates/none/preview").status_code == 404


def test_a_paused_campaign_resumes_when_its_template_can_be_sent_or_by_force(api: Any) -> None:
    tell(api)
    id = campaign(api).json()["campaign_id"]
    tell(api, AT + 1, status="PAUSED")
    shown = api.get(f"/v1/campaigns/{id}").json()
    assert shown["status"] == "paused"
    assert "template sale (en) is PAUSED" in shown["pause_why"]
    refused = api.post(f"/v1/campaigns/{id}/resume", {})
    assert refused.status_code == 409
    assert "stays paused" in refused.json()["detail"]
    assert api.post(f"/v1/campaigns/{id}/resume", {"force": True}).json()["status"] == "running"
    (item,) = api.get("/v1/templates/sale", role=Role.VIEWER).json()["items"]
    assert [act["after"]["status"] for act in item["history"]] == ["APPROVED", "PAUSED"]
    assert item["components"]["body"]["variables"] == ["1"]
    assert api.get("/v1/templates/none").status_code == 404
