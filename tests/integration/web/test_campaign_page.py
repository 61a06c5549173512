"""The page of a campaign: what it shows, and what a person may do on it."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.operations.access import Role
from tests.html_pages import Html, words_of
from tests.integration.web.conftest import ON_ONE_DATABASE, Web
from tests.seeded import NUMBER, SENDER


@pytest.fixture
def campaigns(seeded: Web) -> tuple[Web, str, str]:
    """The web, and the ids of a running and of a paused campaign."""
    spring, summer = seeded.api.ids["campaigns"]
    return seeded, spring, summer


def shown(web: Web, id: str) -> dict[str, Any]:
    return dict(web.api.get(f"/v1/campaigns/{id}").json())


def test_it_shows_how_far_it_is_and_why_messages_were_not_sent(campaigns: tuple[Web, str, str]) -> None:
    web, spring, _ = campaigns
    html = web.get(f"/campaigns/{spring}")
    assert html.text(".//h1") == "spring"
    numbers = [words_of(each) for each in html.all(".//div[@id='state']//span[@class='value']")]
    # Six messages: three accepted, one of them delivered, one refused, one resolved as failed.
    assert numbers[:2] == ["6", "3"]
    assert numbers[4:] == ["2", "0"]
    steps = {row[0]: row[1] for row in html.rows(".//section[@id='funnel']//tbody/tr")}
    assert steps == {"Rows read": "9", "Messages": "6", "Accepted": "3", "Delivered": "1", "Read": "0"}
    assert "cannot reach" in html.text(".//section[@id='why']")
    assert html.rows(".//section[@id='rows']//tbody/tr")[0][1] == "to"
    acts = html.rows(".//section[@id='record']//tbody/tr")
    assert [row[2] for row in acts][:2] == ["resume", "pause"]


def test_what_holds_it_leads_to_the_page_where_that_ends(campaigns: tuple[Web, str, str]) -> None:
    """The remedy is a command; the console has a button for it, on the page of the senders."""
    web, spring, _ = campaigns
    links = web.get(f"/campaigns/{spring}").all(".//div[@id='state']//li//a")
    assert {(words_of(each), each.get("href")) for each in links} == {
        ("account", "/senders"),
        ("sender", "/senders"),
    }


def test_a_viewer_sees_no_number_and_no_act(campaigns: tuple[Web, str, str]) -> None:
    web, spring, _ = campaigns
    for path in ("", "/refusals", "/timeline", "/breakdown"):
        text = web.ask("GET", f"/campaigns/{spring}{path}", Role.VIEWER).text
        assert NUMBER not in text
        html = web.get(f"/campaigns/{spring}{path}", Role.VIEWER)
        assert not html.all(".//main//form[@method='post']")


def test_it_is_paused_and_goes_on_with_the_reason_on_record(campaigns: tuple[Web, str, str]) -> None:
    web, spring, _ = campaigns
    html = web.said(web.post(f"/campaigns/{spring}/pause", {"why": "wrong text"}))
    assert "spring is paused" in html.text(".//*[@class='said']")
    assert html.rows(".//section[@id='record']//tbody/tr")[0][3] == "paused: no → yes"
    assert "wrong text" in html.text(".//div[@id='state']")
    act = shown(web, spring)["acts"][-1]
    assert (act["act"], act["why"], act["actor"].split()[0]) == ("pause", "wrong text", "admin-user")
    assert act["request_id"]
    again = web.said(web.post(f"/campaigns/{spring}/pause"))
    assert "Nothing changed" in again.text(".//*[@class='said']")
    web.said(web.post(f"/campaigns/{spring}/resume"))
    assert shown(web, spring)["status"] == "running"


def test_a_cancel_needs_the_count_or_the_name(campaigns: tuple[Web, str, str]) -> None:
    web, spring, _ = campaigns
    path = f"/campaigns/{spring}/cancel"
    fields = web.get(path).fields(".//main//form")
    assert fields["count"] == "1"
    for typed in ("", "2", "summer"):
        answer = web.post(path, fields | {"typed": typed, "why": "a reason"})
        assert answer.status_code == 422
        wrong = Html(answer.text)
        wrong.check()
        assert wrong.by_id("f-typed").get("aria-invalid") == "true"
        assert wrong.by_id("f-why").get("value") == "a reason"
    assert shown(web, spring)["status"] == "running"
    html = web.said(web.post(path, fields | {"typed": "\u00a01"}))
    assert "is cancelled: 1" in html.text(".//*[@class='said']")
    assert shown(web, spring)["status"] == "cancelled"
    assert html.all(f".//a[@href='/exports?campaign={spring}&what=audience%3Aunsent']")
    again = web.get(path)
    assert "It is cancelled" in again.text()


def test_a_retry_shows_first_what_it_does(campaigns: tuple[Web, str, str]) -> None:
    web, spring, _ = campaigns
    html = web.get(f"/campaigns/{spring}/retry")
    assert [row[1] for row in html.rows()] == ["2", "0", "3", "0", "0"]
    said = web.said(web.post(f"/campaigns/{spring}/retry", {"why": "now"}))
    assert "2 failed messages" in said.text(".//*[@class='said']")
    assert shown(web, spring)["statuses"].get("failed") is None


def test_settings_change_what_differs_from_the_form(campaigns: tuple[Web, str, str]) -> None:
    web, spring, _ = campaigns
    path = f"/campaigns/{spring}/settings"
    fields = web.get(path).fields(".//main//form")
    web.api.request("PATCH", f"/v1/campaigns/{spring}", json={"weight": 7})
    html = web.said(web.post(path, fields | {"rate": "30/m", "name": "<b>spring</b>", "why": "slower"}))
    assert html.text(".//h1") == "<b>spring</b>"
    found = shown(web, spring)
    # The weight that another one changed meanwhile stays.
    assert (found["rate_limit"], found["weight"]) == (0.5, 7)
    assert "rate: nothing → 0.5" in html.rows(".//section[@id='record']//tbody/tr")[0][3]
    wrong = Html(web.post(path, web.get(path).fields(".//main//form") | {"rate": "fast"}).text)
    assert wrong.by_id("f-rate").get("value") == "fast"
    assert "is not a rate" in words_of(wrong.by_id("f-rate-error"))
    wrong = Html(web.post(path, web.get(path).fields(".//main//form") | {"weight": "x"}).text)
    assert wrong.by_id("f-weight").get("value") == "x"


def test_a_time_is_read_by_the_clock_of_the_viewer(campaigns: tuple[Web, str, str]) -> None:
    web, _, _ = campaigns
    body = {
        "name": "later",
        "sender": SENDER,
        "kind": "marketing",
        "type": "text",
        "content": {"body": "hello {{name}}"},
        "send_at": "2060-01-01T00:00:00Z",
        "rows": [{"to": "4915112345678", "name": "Eva"}],
    }
    id = str(web.api.post("/v1/campaigns", body).json()["campaign_id"])
    zone = {"Cookie": "bulksend_zone=Asia/Shanghai"}
    page = web.get(f"/campaigns/{id}", headers=zone)
    assert "Scheduled" in page.text(".//div[@id='state']")
    assert "1 Jan 2060, 08:00 UTC+8" in page.text(".//div[@id='state']")
    path = f"/campaigns/{id}/settings"
    fields = web.get(path, headers=zone).fields(".//main//form")
    assert fields["send_at"] == "2060-01-01T08:00:00"
    assert web.post(path, fields | {"send_at": "2060-01-02T09:30"}, headers=zone).status_code == 303
    assert shown(web, id)["due_at"].startswith("2060-01-02T01:30:00")
    assert web.post(f"/campaigns/{id}/unschedule").status_code == 303
    page = web.get(f"/campaigns/{id}")
    assert "Not scheduled" in page.text(".//div[@id='state']")
    assert not page.all(f".//form[@action='/campaigns/{id}/resume']")


def test_what_the_page_offers_is_what_the_server_does(campaigns: tuple[Web, str, str]) -> None:
    web, spring, summer = campaigns
    for id, offered in ((spring, {"pause"}), (summer, {"resume"})):
        html = web.get(f"/campaigns/{id}")
        forms = {str(each.get("action")).rpartition("/")[2] for each in html.all(".//form[@method='post']")}
        assert forms & {"pause", "resume", "unschedule"} == offered
    said = web.get(f"/campaigns/{summer}").text(".//*[@id='impossible']")
    assert "It is paused already" in said
    assert "None of its messages failed" in said


def test_a_legal_hold_is_placed_and_ended_by_an_admin(campaigns: tuple[Web, str, str]) -> None:
    web, spring, _ = campaigns
    assert web.post(f"/campaigns/{spring}/hold", {"why": "case 7"}, Role.OPERATOR).status_code == 403
    assert web.post(f"/campaigns/{spring}/hold").status_code == 422
    html = web.said(web.post(f"/campaigns/{spring}/hold", {"why": "case 7"}))
    assert "case 7" in html.text(".//section[@id='facts']")
    hold = html.fields(f".//form[@action='/campaigns/{spring}/release']")["hold"]
    html = web.said(web.post(f"/campaigns/{spring}/release", {"hold": hold, "why": "closed"}))
    assert html.all(f".//form[@action='/campaigns/{spring}/hold']")


def test_refused_rows_are_masked_and_paged(campaigns: tuple[Web, str, str]) -> None:
    web, spring, _ = campaigns
    html = web.get(f"/campaigns/{spring}/refusals")
    assert [row[0] for row in html.rows()] == ["7", "8", "9"]
    end = web.get(f"/campaigns/{spring}/refusals?after=9")
    assert "No further row" in end.text()
    assert web.get(f"/campaigns/{spring}/refusals?after=x", status=422)


def test_the_timeline_and_the_chart_come_from_the_minutes(campaigns: tuple[Web, str, str]) -> None:
    web, spring, _ = campaigns
    html = web.get(f"/campaigns/{spring}/timeline")
    assert len(html.rows()) == 1
    assert "Accepted +2" in html.rows()[0][1]
    chart = web.get(f"/campaigns/{spring}").by_id("throughput")
    assert chart.get("data-chart") == "line"
    assert chart.find("figcaption") is not None


def test_a_breakdown_counts_by_country_and_its_report_is_a_file(campaigns: tuple[Web, str, str]) -> None:
    web, spring, _ = campaigns
    html = web.get(f"/campaigns/{spring}/breakdown")
    assert html.rows(".//section[@aria-labelledby='countries-title']//tbody/tr")[0][0] == "United Kingdom"
    chinese = web.get(f"/campaigns/{spring}/breakdown", headers={"Accept-Language": "zh-CN"})
    assert chinese.rows(".//section[@aria-labelledby='countries-title']//tbody/tr")[0][0] == "英国"
    answer = web.ask("GET", f"/campaigns/{spring}/report", Role.VIEWER)
    assert answer.headers["content-disposition"] == f'attachment; filename="campaign-{spring}.html"'
    assert NUMBER not in answer.text


def test_single_sends_have_a_page_without_what_does_not_fit(campaigns: tuple[Web, str, str]) -> None:
    web, _, _ = campaigns
    otp = next(each for each in web.api.get("/v1/campaigns?kind=otp").json()["items"])["campaign_id"]
    html = web.get(f"/campaigns/{otp}")
    assert not html.all(".//a[@class='button bad']")
    assert "single sends" in html.text(".//*[@id='impossible']")
    for path in ("/cancel", "/settings", "/breakdown", "/timeline", "/refusals"):
        assert "single sends" in web.get(f"/campaigns/{otp}{path}").text() or path in (
            "/timeline",
            "/refusals",
        )
    assert web.get(f"/campaigns/{otp}/retry", status=409)
    assert web.post(f"/campaigns/{otp}/cancel", {"typed": "0", "count": "0"}).status_code == 409


@ON_ONE_DATABASE
def test_a_campaign_that_there_is_not_is_not_found(web: Web) -> None:
    for path in ("", "/refusals", "/timeline", "/breakdown", "/report", "/retry", "/cancel", "/settings"):
        web.get(f"/campaigns/nothing{path}", status=404)
