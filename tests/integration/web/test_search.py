"""The search box: a number in any notation, ids, keys, names; the address never holds what was looked for."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bulksend.ledger import operator_log
from bulksend.operations.access import Role
from ops.web import sealed
from tests.html_pages import Html
from tests.integration.web.conftest import ON_ONE_DATABASE, Web
from tests.seeded import NUMBER, SENDER


def search(web: Web, text: str, role: Role = Role.ADMIN) -> Any:
    return web.post("/search", {"q": text}, role)


def found(web: Web, text: str, role: Role = Role.ADMIN) -> Html:
    answer = search(web, text, role)
    assert answer.status_code == 303
    return web.get(answer.headers["location"], role)


@pytest.mark.parametrize(
    "text",
    [
        f"+{NUMBER}",
        NUMBER,
        "0044 7700 900851",
        "+44 7700-900 851",
        f"tel:+{NUMBER}",
        f"https://wa.me/{NUMBER}",
        "\u202a+44 7700 900851\u202c",
        "４４７７００９００８５１",
    ],
)
def test_a_number_in_any_notation_lists_the_messages_of_its_person(seeded: Web, text: str) -> None:
    answer = search(seeded, text)
    assert NUMBER not in answer.headers["location"]
    assert not re.search(r"\d{7}", answer.headers["location"].replace("-", ""))
    html = seeded.get(answer.headers["location"])
    rows = html.rows(".//section[@aria-labelledby='messages-title']//tbody/tr")
    assert len(rows) == 4
    assert {row[0].split()[0] for row in rows} == {f"+{NUMBER}"}
    assert "This person is suppressed" in html.text()
    assert "STOP" in html.text(".//section[@aria-labelledby='replies-title']")


def test_what_there_is_once_is_opened_at_once(seeded: Web) -> None:
    message = seeded.api.get("/v1/messages?status=delivered").json()["items"][0]
    assert message["message_id"]
    for text in (message["id"], message["message_id"], f" {message['id'].upper()} "):
        assert search(seeded, text).headers["location"] == f"/messages/{message['id']}", text
    campaign = seeded.api.ids["campaigns"][0]
    for text in (campaign, "spring", f"spring for {NUMBER}"):
        assert search(seeded, text).headers["location"] == f"/campaigns/{campaign}", text
    assert search(seeded, "logi").headers["location"] == "/templates/login"
    assert search(seeded, f"+{SENDER}").headers["location"] == f"/senders/{SENDER}"
    code = search(seeded, f"{NUMBER}-login").headers["location"]
    assert seeded.get(code).text(".//h1") == f"Message to +{NUMBER}"


def test_a_viewer_finds_the_same_and_sees_no_number_nor_text(seeded: Web) -> None:
    answer = search(seeded, f"+{NUMBER}", Role.VIEWER)
    text = seeded.ask("GET", answer.headers["location"], Role.VIEWER).text
    assert NUMBER not in text
    assert "4477*****851" in text
    assert "STOP" not in text


@ON_ONE_DATABASE
def test_reading_the_messages_of_a_number_is_an_act_without_the_number(seeded: Web) -> None:
    found(seeded, f"+{NUMBER}", Role.SENDER)
    found(seeded, f"+{NUMBER}", Role.VIEWER)
    with seeded.api.ledger.read() as tx:
        acts = operator_log.of(tx, "read", "find messages")
    by_users = [(act.actor.partition(" ")[0], act.why) for act in acts if "-user" in act.actor]
    assert by_users == [("sender-user", "4 messages by phone")]


@ON_ONE_DATABASE
def test_nothing_found_says_what_was_looked_for_and_what_can_be(seeded: Web) -> None:
    html = found(seeded, "wamid.nothing")
    assert "Nothing in the ledger is named “wamid.nothing”" in html.text()
    assert "a RequestId of the vendor" in html.text()
    national = found(seeded, "07700 900851", Role.VIEWER).text()
    assert "It is not taken for a phone number" in national
    assert "07700900851" not in national.replace(" ", "")
    assert seeded.get("/search").text(".//h1") == "Search"


@ON_ONE_DATABASE
def test_the_address_of_a_search_opens_in_its_own_session_only(seeded: Web) -> None:
    location = search(seeded, f"+{NUMBER}", Role.SENDER).headers["location"]
    other = seeded.get(location, Role.ADMIN)
    assert "belongs to a session that has ended" in other.text()
    assert NUMBER not in seeded.ask("GET", location, Role.ADMIN).text
    for wrong in ("/search?s=x", "/search?s=" + "A" * 200, "/search?s=%F0%9F%98%80"):
        assert "belongs to a session" in seeded.get(wrong).text()


def test_the_length_of_an_address_does_not_tell_what_was_looked_for() -> None:
    assert len({len(sealed.seal("4" * n, "token")) for n in range(5, 16)}) == 1
    assert sealed.unseal(sealed.seal("ключ 密钥", "token"), "token") == "ключ 密钥"
    assert sealed.unseal(sealed.seal("a", "token"), "other") is None


def test_other_messages_of_a_person_are_found_without_the_number_in_the_page(seeded: Web) -> None:
    message = seeded.api.get(f"/v1/messages?phone={NUMBER}").json()["items"][0]["id"]
    for role in (Role.VIEWER, Role.ADMIN):
        answer = seeded.post("/search", {"message": message}, role)
        assert NUMBER not in answer.headers["location"]
        rows = seeded.get(answer.headers["location"], role).rows(
            ".//section[@aria-labelledby='messages-title']//tbody/tr"
        )
        assert len(rows) == 4


@ON_ONE_DATABASE
@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "'; DROP TABLE messages;--", "\0", "{{7*7}}", "%"]
)
def test_nasty_text_is_text(seeded: Web, text: str) -> None:
    html = found(seeded, text)
    assert html.all(".//main//script") == []


@ON_ONE_DATABASE
def test_a_text_of_any_length_has_an_address_that_can_be_asked_for(web: Web) -> None:
    for text in ("é" * 5_000, "\U0001f600" * 400, "+44 7700 900851 " * 20_000):
        answer = search(web, text)
        assert len(answer.headers["location"]) < 2_000
        assert "Nothing" in web.get(answer.headers["location"]).text()
