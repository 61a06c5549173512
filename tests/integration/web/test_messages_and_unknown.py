"""Messages, one message, those that may have gone out, and what people write back."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.ledger import operator_log
from bulksend.ledger.operator_log import Sought
from bulksend.messaging.outcome import Unknown
from bulksend.operations.access import Role
from tests.html_pages import Html
from tests.integration.ledger.conftest import Desk
from tests.integration.web.conftest import ON_ONE_DATABASE, Web
from tests.seeded import CODE, NUMBER, SENDER


@pytest.fixture
def seeded(seeded: Web) -> Web:
    """With one of everything, running."""
    for path in ("/v1/account/resume", f"/v1/senders/{SENDER}/resume"):
        assert seeded.api.post(path, {"why": "over"}).status_code == 200
    return seeded


@pytest.fixture
def lost(seeded: Web) -> list[str]:
    """Three messages of the second campaign, and a code, that may have gone out."""
    desk = Desk(seeded.api.ledger)
    desk.cipher = seeded.api.services.cipher
    seeded.api.post("/v1/campaigns/summer/resume", {"why": "over"})
    lease = desk.lease()
    waiting = [item["id"] for item in items(seeded, "status=queued&campaign=summer")][:3]
    code = [item["id"] for item in items(seeded, "status=queued") if item["kind"] == "otp"]
    for id in desk.sent(lease, waiting + code):
        desk.settle(id, Unknown("ReadTimeout"))
    return waiting + code


def items(web: Web, query: str) -> list[dict[str, Any]]:
    return list(web.api.get(f"/v1/messages?{query}").json()["items"])


# -- the list ------------------------------------------------------------------------------------------------


def test_the_list_is_filtered_by_its_address(seeded: Web) -> None:
    assert len(seeded.get("/messages").rows()) == 12 + 2
    for query, count in (
        ("status=delivered", 1),
        ("kind=otp", 1),
        ("kind=utility&status=queued", 1),
        ("kind=marketing&campaign=spring", 6),
        ("kind=otp&campaign=spring", 0),
        (f"sender={SENDER}", 14),
        (f"sender=%2B{SENDER}&kind=otp", 1),
        ("sender=447700900000", 0),
        ("campaign=summer&status=queued", 6),
        ("since=2026-01-01", 14),
        ("until=2026-01-01", 0),
    ):
        html = seeded.get(f"/messages?{query}")
        assert len(html.rows()) == count, query
        assert count or "No message matches" in html.text()
    form = seeded.get("/messages?status=delivered&since=2026-01-01").fields(".//form[@action='/messages']")
    assert (form["status"], form["since"]) == ("delivered", "2026-01-01")


@ON_ONE_DATABASE
def test_a_wrong_filter_stands_beside_its_field_with_what_was_typed(web: Web) -> None:
    for query, name in (
        ("status=x", "status"),
        ("since=yesterday", "since"),
        ("campaign=no", "campaign"),
        ("sender=1", "sender"),
    ):
        html = web.get(f"/messages?{query}", status=404 if name == "campaign" else 422)
        assert html.one(".//main//*[@role='alert']") is not None
        if name not in ("campaign", "status"):
            assert html.text(f".//*[@id='f-{name}-error']")
            assert html.fields(".//form[@action='/messages']")[name] == query.partition("=")[2]


@ON_ONE_DATABASE
def test_a_viewer_sees_masked_numbers_and_no_content(seeded: Web) -> None:
    for path in ("/messages", "/unknown", "/replies"):
        text = seeded.ask("GET", path, Role.VIEWER).text
        assert NUMBER not in text
        assert CODE not in text
    for each in items(seeded, "limit=50"):
        for role in Role:
            text = seeded.ask("GET", f"/messages/{each['id']}", role).text
            assert (NUMBER in text) <= (role is not Role.VIEWER)
            assert CODE not in text or (role is not Role.VIEWER and each["kind"] != "otp")


# -- one message ---------------------------------------------------------------------------------------------


def test_a_message_says_how_it_stands_what_happened_and_how_it_looks(seeded: Web) -> None:
    (delivered,) = items(seeded, "status=delivered")
    html = seeded.get(f"/messages/{delivered['id']}")
    assert "It reached the phone at" in html.text(".//*[@id='state']")
    steps = [" ".join("".join(each.itertext()).split()) for each in html.all(".//ol[@class='story']/li")]
    assert "Taken in and queued" in steps[0]
    assert "Attempt 1" in steps[1]
    assert "Accepted" in steps[2]
    assert "Delivered Receipt of the vendor" in steps[3]
    assert not [step for step in steps if "-" in step.partition("later")[0][-8:]]
    assert f"spring: {CODE}" in html.text(".//*[@class='bubble']")
    assert html.all(".//a[@href='/campaigns/" + delivered["campaign_id"] + "']")


def test_a_failed_message_says_the_code_in_words_and_what_follows(seeded: Web) -> None:
    (failed,) = [each for each in items(seeded, "status=failed") if "resolved" not in str(each["error"])]
    text = seeded.get(f"/messages/{failed['id']}").text(".//*[@id='attempts']")
    assert "Refused" in text


def test_a_message_that_waits_says_what_holds_it_and_links_there(seeded: Web) -> None:
    (waiting, *_) = items(seeded, "campaign=summer&status=queued")
    html = seeded.get(f"/messages/{waiting['id']}")
    why = html.text(".//section[@aria-labelledby='why-title']")
    assert "Campaign paused" in why
    assert "Until a person acts" in why
    assert html.all(
        ".//section[@aria-labelledby='why-title']//a[@href='/campaigns/" + waiting["campaign_id"] + "']"
    )


@ON_ONE_DATABASE
def test_an_id_that_there_is_not_is_a_page_of_its_own(web: Web) -> None:
    for id in ("0", "01978c5e-0000-7000-8000-000000000000", "%3Cscript%3E"):
        assert web.get(f"/messages/{id}", status=404).text(".//h1") == "Not found"


def test_an_unknown_message_is_settled_with_a_reason(lost: list[str], seeded: Web) -> None:
    path = f"/messages/{lost[0]}"
    html = seeded.get(path)
    assert "the person gets it twice" in html.text(".//*[@id='resolve']")
    assert not seeded.get(path, Role.VIEWER).all(f".//form[@action='{path}/resolve']")
    empty = seeded.post(f"{path}/resolve", {"as": "failed", "why": " "})
    assert empty.status_code == 422
    assert 'id="f-why-error"' in empty.text
    assert 'value="failed" required checked' in empty.text
    done = seeded.post(f"{path}/resolve", {"as": "resend", "why": "the vendor has none"}, Role.OPERATOR)
    assert "It is queued again" in seeded.said(done, Role.OPERATOR).text("html")
    with seeded.api.ledger.read() as tx:
        (act,) = operator_log.of(tx, "message", lost[0])
    assert (act.act, act.why) == ("resolve as resend", "the vendor has none")
    assert act.actor.startswith("operator-user")
    again = seeded.post(f"{path}/resolve", {"as": "failed", "why": "x"})
    assert (again.status_code, "not unknown" in again.text) == (409, True)


@ON_ONE_DATABASE
def test_a_code_is_never_sent_again(lost: list[str], seeded: Web) -> None:
    path = f"/messages/{lost[-1]}"
    html = seeded.get(path)
    values = [each.get("value") for each in html.all(".//input[@name='as']")]
    assert values == ["accepted", "failed"]
    assert "A one-time code is not sent again" in html.text()
    answer = seeded.post(f"{path}/resolve", {"as": "resend", "why": "x"})
    assert (answer.status_code, "old code is useless" in answer.text) == (409, True)


# -- unknown -------------------------------------------------------------------------------------------------


def test_unknown_messages_show_their_age_and_evidence(lost: list[str], seeded: Web) -> None:
    html = seeded.get("/unknown")
    rows = html.rows()
    assert len(rows) == 4
    assert all("No answer" in row[3] or "Odd answer" in row[3] for row in rows), rows
    assert len(seeded.get("/unknown?campaign=summer").rows()) == 3
    assert len(seeded.get("/unknown?kind=otp").rows()) == 1
    assert len(seeded.get("/unknown?trace=worker_lost").rows()) == 0
    assert not seeded.get("/unknown", Role.SENDER).all(".//form[@id='bulk']")


def test_several_are_settled_once_their_count_is_typed(lost: list[str], seeded: Web) -> None:
    chosen = {"which": "all", "as": "resend", "why": "looked up", "campaign": "", "kind": ""}
    dry = seeded.post("/unknown/resolve", chosen)
    assert dry.status_code == 200
    html = Html(dry.text)
    html.check()
    text = html.text()
    assert "Nothing has changed yet" in text
    assert "3 are sent again 1 cannot be settled so" in text
    assert "one-time code" in text
    assert "get them twice" in text
    fields = {name: value for name, value in html.fields(".//main//form").items() if name != "csrf"}
    wrong = seeded.post("/unknown/resolve", fields | {"count": "4"})
    assert (wrong.status_code, "type 3" in wrong.text) == (422, True)
    assert len(items(seeded, "status=unknown")) == 4
    # As a Chinese input method writes it.
    done = seeded.post("/unknown/resolve", fields | {"count": "３"})
    assert "3 are queued again" in seeded.said(done).text("html")
    assert [each["id"] for each in items(seeded, "status=unknown")] == [lost[-1]]


@ON_ONE_DATABASE
def test_only_those_that_are_ticked_are_settled(lost: list[str], seeded: Web) -> None:
    none = seeded.post("/unknown/resolve", {"which": "ticked", "as": "failed", "why": "x"})
    assert (none.status_code, "no message is ticked" in none.text) == (422, True)
    ticked = {"which": "ticked", "id": lost[:2], "as": "failed", "why": "x", "ids": lost[0], "count": "1"}
    done = seeded.post("/unknown/resolve", ticked)
    assert "1 are on record as failed" in seeded.said(done).text("html")
    assert len(items(seeded, "status=unknown")) == 3


# -- replies -------------------------------------------------------------------------------------------------


def test_replies_show_what_a_person_wrote_and_the_stop_word(seeded: Web) -> None:
    html = seeded.get("/replies")
    (row,) = html.rows()
    assert f"STOP {CODE}" in row[2]
    assert f"+{NUMBER}" in row[1]
    assert len(seeded.get("/replies?keyword=start").rows()) == 0
    assert "The role sender and above see texts" in seeded.get("/replies", Role.VIEWER).text()


def test_what_calls_itself_a_refresh_is_on_record_unless_its_page_was_shown(seeded: Web) -> None:
    one = f"/messages/{items(seeded, 'status=delivered')[0]['id']}"
    for path in ("/messages", "/messages?kind=otp", "/replies", one):
        for live, more in ((True, 1), (True, 0), (False, 1), (True, 0)):
            before = readings(seeded)
            assert seeded.ask("GET", path, Role.SENDER, headers={"X-Live": "1"} if live else {}).is_success
            assert readings(seeded) - before == more, (path, live)
    # What a form asks for is not in its address.
    for _ in range(2):
        before = readings(seeded)
        assert seeded.post(
            "/suppressions", {"phone": NUMBER}, Role.SENDER, headers={"X-Live": "1"}
        ).is_success
        assert readings(seeded) == before + 1


def readings(web: Web) -> int:
    with web.api.ledger.read() as tx:
        found, _ = operator_log.page(tx, Sought(scope="read", readings=True), before=None, limit=500)
    return len(found)
