"""Exports in the console: asked for, followed, and fetched by the one that asked."""

from __future__ import annotations

import hashlib

import pytest

from bulksend.operations.access import Role
from tests.html_pages import Html
from tests.integration.web.conftest import Web
from tests.seeded import NUMBER
from tests.waiting import until


@pytest.fixture
def web(seeded: Web) -> Web:
    """With one of everything."""
    return seeded


@pytest.fixture
def spring(web: Web) -> str:
    """The id of a campaign."""
    return web.api.ids["campaigns"][0]


def done(web: Web, role: Role) -> Html:
    """The page when no export is under way."""

    def look() -> Html | None:
        html = web.get("/exports", role)
        rows = html.rows(".//section[@id='exports']//tbody/tr")
        return html if all("Done" in row[1] or "Failed" in row[1] for row in rows) else None

    return until(look)


def test_an_export_is_for_the_one_that_asked_and_for_admins(web: Web, spring: str) -> None:
    fields = web.get(f"/exports?campaign={spring}", Role.VIEWER).fields(".//main//form")
    assert (fields["campaign"], fields["what"], fields["format"]) == (spring, "messages", "csv")
    said = web.said(web.post("/exports", fields, Role.VIEWER), Role.VIEWER)
    assert "The export has begun" in said.text(".//*[@class='said']")
    html = done(web, Role.VIEWER)
    row = html.rows(".//section[@id='exports']//tbody/tr")[0]
    assert row[0] == "Messages, numbers masked of campaign spring"
    link = str(html.one(".//a[@class='button']").get("href"))
    answer = web.ask("GET", link, Role.VIEWER)
    assert NUMBER not in answer.text
    assert hashlib.sha256(answer.content).hexdigest() in row[4]
    assert web.ask("GET", link, Role.OPERATOR).status_code == 403
    assert web.ask("GET", link, Role.ADMIN).content == answer.content
    assert not web.get("/exports", Role.OPERATOR).rows(".//section[@id='exports']//tbody/tr")


def test_people_to_write_to_again_need_the_role_and_a_format_that_can_be_sent(web: Web, spring: str) -> None:
    viewer = web.get("/exports", Role.VIEWER)
    assert [each.get("value") for each in viewer.all(".//select[@id='f-what']/option")] == [
        "messages",
        "refused",
    ]
    people = {"campaign": spring, "what": "audience:undelivered", "format": "csv"}
    assert web.post("/exports", people, Role.VIEWER).status_code == 422
    assert web.post("/exports", people | {"format": "jsonl"}, Role.VIEWER).status_code == 403
    wrong = Html(web.post("/exports", people, Role.SENDER).text)
    wrong.check()
    assert wrong.by_id("f-format-error") is not None
    assert wrong.fields(".//main//form")["what"] == "audience:undelivered"
    web.said(web.post("/exports", people | {"format": "jsonl"}, Role.SENDER), Role.SENDER)
    code = {"what": "audience:code", "code": "131026", "format": "jsonl"}
    web.said(web.post("/exports", people | code, Role.SENDER), Role.SENDER)
    html = done(web, Role.SENDER)
    assert [row[0].split(" of ")[0] for row in html.rows(".//section[@id='exports']//tbody/tr")] == [
        "people: code=131026",
        "people: undelivered",
    ]


def test_what_cannot_be_exported_is_said_beside_its_field(web: Web, spring: str) -> None:
    for fields, field in (
        ({"campaign": "no such campaign"}, None),
        ({"what": "refused"}, "f-what"),
        ({"what": "everything"}, "f-what"),
        ({"status": "lost"}, "f-status"),
        ({"since": "2026-02-30T10:00"}, "f-since"),
    ):
        answer = web.post("/exports", {"what": "messages", "format": "csv"} | fields)
        assert answer.status_code in (404, 422)
        html = Html(answer.text)
        html.check()
        assert html.all(".//div[@class='problem']")
        if field is not None:
            assert html.by_id(f"{field}-error") is not None
    assert (
        web.post(
            "/exports", {"campaign": spring, "what": "messages", "format": "csv", "full": "1"}, Role.VIEWER
        ).status_code
        == 403
    )
