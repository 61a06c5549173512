"""The first page and the list of campaigns."""

from __future__ import annotations

import pytest

from bulksend.ledger import campaigns
from bulksend.operations.access import Role
from tests.integration.ledger.conftest import Desk
from tests.integration.web.conftest import ON_ONE_DATABASE, Web
from tests.seeded import NUMBER, SENDER


def test_the_overview_shows_what_goes_on(seeded: Web) -> None:
    html = seeded.get("/")
    assert [row[0].split()[0] for row in html.rows(".//section[@id='open']//tbody/tr")] == [
        "summer",
        "spring",
    ]
    assert html.rows(".//section[@id='senders']//tbody/tr")[0][:2] == [f"+{SENDER}", "‖ Paused"]
    assert "paused" in html.text(".//*[@id='alerts']")
    assert [row[0] for row in html.rows(".//section[@id='lanes']//tbody/tr")] == [
        *("One-time code", "Utility", "Marketing")
    ]
    assert html.text(".//*[@id='numbers']").startswith("2 Open campaigns 0 Unknown messages")


def test_a_viewer_sees_no_number_of_a_person(seeded: Web) -> None:
    for path in ("/", "/campaigns"):
        assert NUMBER not in seeded.ask("GET", path, Role.VIEWER).text
    assert NUMBER in seeded.ask("GET", "/", Role.SENDER).text


def test_the_list_of_campaigns_is_filtered_and_paged_by_its_address(seeded: Web) -> None:
    html = seeded.get("/campaigns")
    names = [row[0].split()[0] for row in html.rows()]
    assert {"spring", "summer"} <= set(names)
    one = seeded.get("/campaigns?name=spring&status=running")
    assert [row[0].split()[0] for row in one.rows()] == ["spring"]
    assert one.fields(".//form[@action='/campaigns']") == {
        "name": "spring",
        "status": "running",
        "kind": "",
        "sender": "",
    }
    part = seeded.get("/campaigns?name=PRI")
    assert [row[0].split()[0] for row in part.rows()] == ["spring"]
    assert not seeded.get("/campaigns?name=%25").rows()
    none = seeded.get("/campaigns?name=winter")
    assert "No campaign matches" in none.text(".//main")


@ON_ONE_DATABASE
def test_a_viewer_is_not_offered_what_it_may_not_do(seeded: Web) -> None:
    assert not seeded.get("/campaigns", Role.VIEWER).all(".//a[@href='/campaigns/new']")
    assert seeded.get("/campaigns", Role.SENDER).all(".//a[@href='/campaigns/new']")


@ON_ONE_DATABASE
@pytest.mark.parametrize("query", ["status=nonsense", "kind=x", "sender=abc", "after=no-id"])
def test_a_wrong_filter_is_a_page_that_says_so(web: Web, query: str) -> None:
    assert web.get(f"/campaigns?{query}", status=422).text(".//h1") == "Something is not right"


def test_the_overview_counts_as_the_campaign_does_and_names_it_in_acts(seeded: Web) -> None:
    spring = seeded.api.ids["campaigns"][0]
    items = seeded.api.get(f"/v1/messages?campaign={spring}").json()["items"]
    seeded.api.post(f"/v1/campaigns/{spring}/pause", {"why": "test"})
    for path in ("account", f"senders/{SENDER}", f"campaigns/{spring}"):
        seeded.api.post(f"/v1/{path}/resume", {"why": "test"})
    desk = Desk(seeded.api.ledger)
    desk.claim(desk.lease(), [each["id"] for each in items if each["status"] == "queued"])
    assert seeded.api.get(f"/v1/campaigns/{spring}").json()["statuses"]["claimed"] == 1
    html = seeded.get("/")
    waiting = {row[0]: row[1] for row in html.rows(".//section[@id='lanes']//tbody/tr")}
    # The six of the campaign that is paused, and the one that a worker has.
    assert waiting == {"One-time code": "1", "Utility": "1", "Marketing": "7"}
    assert "9 Waiting" in html.text(".//*[@id='numbers']")
    assert "1 waits" in seeded.get(f"/campaigns/{spring}").text()
    acts = html.all(f".//section[@id='acts']//a[@href='/campaigns/{spring}']")
    assert [each.text for each in acts] == ["spring", "spring"]
    assert "scheduled" not in html.text(".//section[@id='open']"), "it began when it was made"


def test_the_overview_shows_what_became_of_campaigns_that_ended(seeded: Web) -> None:
    spring, summer = seeded.api.ids["campaigns"]
    assert not seeded.get("/").rows(".//section[@id='ended']//tbody/tr")
    seeded.api.post(f"/v1/campaigns/{summer}/cancel", {"why": "test"})
    html = seeded.get("/")
    (row,) = html.rows(".//section[@id='ended']//tbody/tr")
    assert row[0].startswith("summer")
    assert row[1] == "– Cancelled"
    assert row[2].startswith("0 of ")
    assert [each.split()[0] for each, *_ in html.rows(".//section[@id='open']//tbody/tr")] == ["spring"]
    seeded.api.post(f"/v1/campaigns/{spring}/cancel", {"why": "test"})
    html = seeded.get("/")
    assert [each.split()[0] for each, *_ in html.rows(".//section[@id='ended']//tbody/tr")] == [
        "spring",
        "summer",
    ]
    assert "No campaign is open" in html.text(".//section[@id='open']")


@ON_ONE_DATABASE
def test_a_campaign_that_waits_for_its_time_is_scheduled_in_lists(web: Web) -> None:
    desk = Desk(web.api.ledger)
    for name, due_at in (("now", 0), ("later", desk.now() + 3_600_000)):
        desk.write(campaigns.finish_intake, desk.campaign(name=name, due_at=due_at).id)
    for path in ("/", "/campaigns"):
        states = {row[0].split()[0]: row[1] for row in web.get(path).rows(".//main//tbody/tr")}
        assert (states["later"], states["now"]) == ("… Scheduled", "▶ Running")


@ON_ONE_DATABASE
def test_the_campaign_of_single_sends_is_always_open_and_not_running(web: Web) -> None:
    body = {"to": NUMBER, "sender": SENDER, "kind": "utility", "type": "text", "content": {"body": "Hi"}}
    assert web.api.post("/v1/messages", body).status_code == 202
    (row,) = web.get("/campaigns").rows()
    assert row[1] == "– Always open"
    id = web.api.get("/v1/campaigns").json()["items"][0]["campaign_id"]
    assert "Always open" in web.get(f"/campaigns/{id}").text(".//*[@class='headline']")
