"""Templates: the list, one of them with its look and what it holds, a sync that fails."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.ledger import templates
from bulksend.ledger.templates import TemplateChange
from bulksend.messaging.template_shape import TemplateShape, TemplateText
from bulksend.operations.access import Role
from tests.integration.web.conftest import ON_ONE_DATABASE, Web

SENDER = "15550100100"
SHAPE = TemplateShape(body=TemplateText("Dear {{1}}, <b>{{2}}</b> waits", ("name", "parcel")), footer="Shop")


def tell(web: Web, **change: Any) -> None:
    """The vendor tells of the template."""
    with web.api.ledger.write() as tx:
        templates.change_template(tx, TemplateChange("parcel", "en", **change), actor="vendor")


@pytest.fixture
def used(web: Web) -> str:
    """The id of a campaign that uses the template, which was rejected since."""
    tell(web, status="APPROVED", category="UTILITY", shape=SHAPE, at=1_790_000_000_000)
    content = {
        "name": "parcel",
        "language": {"code": "en", "policy": "deterministic"},
        "components": [
            {
                "type": "body",
                "parameters": [{"type": "text", "text": "Ada"}, {"type": "text", "text": "{{parcel}}"}],
            }
        ],
    }
    body = {
        "name": "spring",
        "sender": SENDER,
        "kind": "utility",
        "type": "template",
        "content": content,
        "rows": [{"to": "447700900001", "parcel": "A1"}],
    }
    answer = web.api.post("/v1/campaigns", body)
    assert answer.status_code == 202, answer.text
    tell(web, status="REJECTED", reason="<i>spam</i>", at=1_790_000_060_000)
    return str(answer.json()["campaign_id"])


def test_the_list_is_filtered_and_tells_what_changed(web: Web, used: str) -> None:
    html = web.get("/templates", Role.VIEWER)
    row = html.rows(".//*[@id='list']//tbody/tr")[0]
    assert row[:4] == ["parcel", "en", "✕ Rejected <i>spam</i>", "Utility"]
    assert row[5] == "name, parcel"
    changes = html.rows(".//*[@id='changes']//tbody/tr")
    assert "status: Approved → Rejected" in changes[0][2]
    assert web.get("/templates?name=PARC&status=REJECTED").rows(".//*[@id='list']//tbody/tr")
    assert "No template matches" in web.get("/templates?status=APPROVED").text()


def test_one_shows_what_it_holds_its_history_and_its_users(web: Web, used: str) -> None:
    html = web.get("/templates/parcel", Role.VIEWER)
    held = html.text(".//*[@id='held']")
    assert "spring (Paused, 1 message waits): template parcel (en) is REJECTED" in held
    assert html.rows(".//*[@id='used']//tbody/tr")[0][:3] == ["spring Utility", "en", "‖ Paused"]
    assert html.one(".//*[@id='used']//tbody//a").get("href") == f"/campaigns/{used}"
    assert web.get("/templates/other", status=404)


def test_sample_values_are_shown_and_stand_in_no_address(web: Web, used: str) -> None:
    page = web.get("/templates/parcel")
    assert "Dear {{1}}, <b>{{2}}</b> waits" in page.text(".//*[@class='bubble']")
    answer = web.post(
        "/templates/parcel", {"language": "en", "v-name": "Ada <3", "v-parcel": "A1"}, Role.VIEWER
    )
    assert answer.status_code == 200
    assert "Dear Ada &lt;3, &lt;b&gt;A1&lt;/b&gt; waits" in answer.text
    assert 'value="A1"' in answer.text


@ON_ONE_DATABASE
def test_without_credentials_a_sync_says_so(web: Web) -> None:
    answer = web.post("/templates", role=Role.OPERATOR)
    assert answer.status_code == 409
    assert "cannot call the vendor" in answer.text
