"""Webhooks: the secret once, states, deliveries with filter and pages, one delivery, replay."""

from __future__ import annotations

import time

from bulksend.ledger import webhook_deliveries
from bulksend.ledger.webhook_deliveries import DEAD, DELIVERED, PENDING, Tried
from bulksend.operations import webhooks
from tests.html_pages import Html
from tests.integration.web.conftest import ON_ONE_DATABASE, Web

URL = "https://hooks.example.com/in?token=secret-of-theirs"


def add(web: Web, **more: object) -> str:
    """An endpoint; its id."""
    answer = web.post("/webhooks", {"once": str(time.monotonic_ns()), "url": URL, **more})
    assert answer.status_code == 200, answer.text[:300]
    return str(Html(answer.text).one(".//a[@class='button main']").get("href")).rpartition("/")[2]


def deliver(web: Web, id: str, count: int, status: str = DELIVERED, http_status: int = 200) -> list[str]:
    """Deliveries that were tried once."""
    made = [webhooks.test(web.api.ledger, id, actor="test")["id"] for _ in range(count)]
    with web.api.ledger.write() as tx:
        claimed = webhook_deliveries.claim(tx, id, limit=count, lease_ms=1000)
        error = None if status == DELIVERED else "<b>no</b>"
        webhooks.record_results(
            tx, [Tried(each, status, 60_000, http_status, error, 123.4) for each in claimed]
        )
    return made


def test_a_secret_is_shown_once_and_the_query_of_the_address_never(web: Web) -> None:
    asked = {"url": URL, "events": ["message.failed", "campaign.*"], "once": "x"}
    answer = web.post("/webhooks", asked)
    secret = Html(answer.text).text(".//*[@class='secret-value']/code")
    assert secret.startswith("whsec_")
    assert secret not in web.post("/webhooks", asked).text
    (row,) = web.get("/webhooks").rows(".//tbody/tr")
    assert row[0] == "https://hooks.example.com/in"
    assert row[5] == "campaign.*, message.failed"
    (endpoint,) = web.api.get("/v1/webhooks").json()["items"]
    page = web.ask("GET", f"/webhooks/{endpoint['id']}").text
    assert "secret-of-theirs" not in page
    assert secret not in page
    rotated = web.post(f"/webhooks/{endpoint['id']}/secret", {"once": "y"})
    new = Html(rotated.text).text(".//*[@class='secret-value']/code")
    assert new.startswith("whsec_")
    assert new != secret
    assert "The old secret signs until" in web.get(f"/webhooks/{endpoint['id']}").text()


@ON_ONE_DATABASE
def test_what_is_wrong_stands_beside_its_field(web: Web) -> None:
    answer = web.post("/webhooks", {"url": "ftp://x", "events": ["message.read"]})
    assert answer.status_code == 422
    html = Html(answer.text)
    html.check()
    assert html.text(".//*[@id='f-url-error']")
    assert html.fields(".//form[@action='/webhooks']")["url"] == "ftp://x"
    assert len(html.all(".//input[@value='message.read'][@checked]")) == 1


def test_a_list_says_state_share_queue_and_last_answer(web: Web) -> None:
    id = add(web)
    (row,) = web.get("/webhooks").rows(".//tbody/tr")
    assert (row[1], row[3], row[4]) == ("✓ Active", "0", "–")
    assert "nothing sent yet" in row[2]
    deliver(web, id, 3)
    deliver(web, id, 1, PENDING, 500)
    (row,) = web.get("/webhooks").rows(".//tbody/tr")
    assert row[1].startswith("✕ Failing has taken nothing since")
    assert row[2] == "75 % of the last 4"
    assert row[3] == "1"
    assert row[4].startswith("HTTP 500 <b>no</b> · 123 ms")


def test_deliveries_are_filtered_and_paged_and_sent_again(web: Web) -> None:
    id = add(web)
    path = f"/webhooks/{id}"
    assert "Nothing was sent" in web.get(path).text(".//*[@id='deliveries']")
    delivered, dead = deliver(web, id, 51), deliver(web, id, 2, DEAD, 410)
    first = web.get(path)
    assert len(first.rows(".//*[@id='deliveries']//tbody/tr")) == 50
    next = str(first.one(".//a[@rel='next']").get("href"))
    assert len(web.get(next).rows(".//*[@id='deliveries']//tbody/tr")) == 3
    rows = web.get(f"{path}?status=dead").rows(".//*[@id='deliveries']//tbody/tr")
    assert [row[2] for row in rows] == ["✕ Failed", "✕ Failed"]
    one = web.get(f"{path}/deliveries/{dead[0]}")
    assert "1 of 10" in one.text()
    assert "HTTP 410 <b>no</b>" in one.text()
    (tried,) = one.rows(".//*[@id='tries']//tbody/tr")
    assert tried[1:] == ["410", "<b>no</b>", "123 ms"]
    assert web.post(f"{path}/replay", {"ticked": "1"}).status_code == 422
    html = web.said(web.post(f"{path}/replay", {"ticked": "1", "ids": [delivered[0], dead[0]]}))
    assert "2 deliveries go out again." in html.text(".//*[@class='said']")
    wrong = web.post(f"{path}/replay", {"since": "yesterday"})
    assert wrong.status_code == 422
    assert Html(wrong.text).one(".//input[@id='f-since']").get("value") == "yesterday"
    none = web.said(web.post(f"{path}/replay", {"since": "2090-01-01T00:00"}))
    assert "0 deliveries" in none.text(".//*[@class='said']")
    html = web.said(web.post(f"{path}/replay", {"since": "2020-01-01T00:00"}))
    assert "1 delivery goes out again." in html.text(".//*[@class='said']")
    other = add(web)
    assert web.get(f"/webhooks/{other}/deliveries/{dead[0]}", status=404)


def test_a_delivery_shows_each_of_its_tries_the_newest_first(web: Web) -> None:
    id = add(web)
    (one,) = deliver(web, id, 1, PENDING, 500)
    with web.api.ledger.write() as tx:
        tx.exec_driver_sql("UPDATE webhook_deliveries SET next_at = 0")
        (claimed,) = webhook_deliveries.claim(tx, id, limit=1, lease_ms=1000)
        webhooks.record_results(tx, [Tried(claimed, DELIVERED, 0, 204, None, 7.0)])
    tries = web.get(f"/webhooks/{id}/deliveries/{one}").rows(".//*[@id='tries']//tbody/tr")
    assert [row[1:] for row in tries] == [["204", "–", "7 ms"], ["500", "<b>no</b>", "123 ms"]]
    (listed,) = web.api.get(f"/v1/webhooks/{id}/deliveries").json()["items"]
    assert [each["http_status"] for each in listed["tries"]] == [500, 204]
    (untried,) = [webhooks.test(web.api.ledger, id, actor="test")["id"]]
    assert "It was not tried yet." in web.get(f"/webhooks/{id}/deliveries/{untried}").text(
        ".//*[@id='tries']"
    )


def test_an_endpoint_is_changed_disabled_with_a_reason_enabled_and_removed(web: Web) -> None:
    id = add(web, events=["message.read"])
    path = f"/webhooks/{id}"
    form = web.get(f"{path}/edit").fields(f".//form[@action='{path}']")
    assert form["url"] == ""
    web.said(web.post(path, {"url": "", "events": ["message.failed"], "numbers": "1"}))
    shown = web.api.get(f"/v1{path}").json()
    assert (shown["events"], shown["numbers"], shown["url"]) == (
        ["message.failed"],
        True,
        "https://hooks.example.com/in",
    )
    html = web.said(web.post(f"{path}/disable", {"why": "their <i>deploy</i>"}))
    assert "Disabled their <i>deploy</i>" in html.text(".//*[@id='state']")
    assert not html.all(f".//form[@action='{path}/test']")
    assert web.post(f"{path}/test").status_code == 422
    html = web.said(web.post(f"{path}/enable"))
    tested = web.post(f"{path}/test")
    assert "webhook.test" in web.said(tested).text(".//h1")
    web.said(web.post(f"{path}/remove", {"why": "gone"}))
    assert web.get(path, status=404)
    acts = web.get(f"/acts?scope=webhook&subject={id}").rows(".//tbody/tr")
    assert [row[2] for row in acts] == ["remove", "test", "enable", "disable", "change", "add"]
