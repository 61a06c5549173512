"""Signing in: by password, by a link, by a setup token; out; and who loses a session."""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import Any

import pytest

from bulksend.operations import sessions, users
from bulksend.operations.access import Role
from tests.html_pages import Html
from tests.integration.web.conftest import ON_ONE_DATABASE, ORIGIN, Web

#: What the ledger decides is tested on both in tests/integration/operations/test_users.py.
pytestmark = ON_ONE_DATABASE
PASSWORD = "correct horse battery"
COOKIE = "bulksend_session_80"


def send(web: Web, path: str, fields: dict[str, str], **headers: str) -> Any:
    """A form of a browser without a session."""
    return web.ask("POST", path, None, data=fields, headers=headers)


def cookie_of(answer: Any, name: str = COOKIE) -> str:
    found = SimpleCookie()
    for line in answer.headers.get_list("set-cookie"):
        found.load(line)
    return found[name].value if name in found else ""


def asked_with(web: Web, token: str, path: str = "/") -> Any:
    return web.ask("GET", path, None, headers={"Cookie": f"{COOKIE}={token}"})


def added(web: Web, name: str = "ann", role: Role = Role.OPERATOR) -> str:
    """The setup token of a new user."""
    return str(users.add_user(web.api.ledger, name=name, role=role, actor="test")["setup_token"])


def signed_in(web: Web) -> str:
    """The token of a session of ann, with PASSWORD."""
    fields = {"token": added(web), "password": PASSWORD, "again": PASSWORD}
    answer = send(web, "/sign-in/password", fields)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    return cookie_of(answer)


def test_a_page_asks_to_sign_in_first_and_is_shown_afterwards(web: Web) -> None:
    signed_in(web)
    answer = web.ask("GET", "/campaigns?status=paused", None)
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        "/sign-in?next=/campaigns%3Fstatus%3Dpaused",
    )
    form = Html(web.ask("GET", answer.headers["location"], None).text).fields(".//form[@action='/sign-in']")
    answer = send(web, "/sign-in", form | {"name": "ann", "password": PASSWORD})
    assert (answer.status_code, answer.headers["location"]) == (303, "/campaigns?status=paused")
    assert asked_with(web, cookie_of(answer), "/campaigns?status=paused").status_code == 200


def test_the_cookie_of_a_session_is_read_by_no_script_and_sent_by_no_other_site(web: Web) -> None:
    added(web)
    link = str(sessions.make_link(web.api.ledger, "ann", actor="test")["link_token"])
    said = send(web, "/sign-in/link", {"token": link}).headers["set-cookie"].lower()
    assert "httponly" in said
    assert "samesite=lax" in said
    assert "secure" not in said.replace("samesite", "")


def test_behind_tls_the_cookie_belongs_to_this_address_alone(web: Web) -> None:
    added(web)
    link = str(sessions.make_link(web.api.ledger, "ann", actor="test")["link_token"])
    headers = {"Origin": "https://testserver", "Accept": "text/html"}
    answer = web.api.client.post(
        "https://testserver/sign-in/link", data={"token": link}, headers=headers, follow_redirects=False
    )
    (said,) = answer.headers.get_list("set-cookie")
    assert said.startswith("__Host-bulksend=bsn_")
    assert {"Secure", "HttpOnly", "Path=/"} <= set(said.split("; "))
    assert "Domain" not in said
    assert answer.headers["strict-transport-security"]


def test_each_sign_in_has_another_session_and_ends_the_one_before(web: Web) -> None:
    old = signed_in(web)
    answer = web.ask(
        "POST",
        "/sign-in",
        None,
        data={"name": "ann", "password": PASSWORD},
        headers={"Cookie": f"{COOKIE}={old}"},
    )
    new = cookie_of(answer)
    assert new != old
    assert asked_with(web, new).status_code == 200
    assert asked_with(web, old).status_code == 303
    answer = send(
        web, "/sign-in", {"name": "ann", "password": PASSWORD}, Cookie=f"{COOKIE}=bsn_of_a_stranger"
    )
    assert cookie_of(answer).startswith("bsn_")


def test_a_link_signs_in_once(web: Web) -> None:
    added(web)
    link = str(sessions.make_link(web.api.ledger, "ann", actor="test")["link_token"])
    address = f"http://testserver/sign-in#{link}"
    assert asked_with(web, cookie_of(send(web, "/sign-in/link", {"token": address}))).status_code == 200
    answer = send(web, "/sign-in/link", {"token": link})
    assert answer.status_code == 401
    assert "bulksend users link" in Html(answer.text).text(".//*[@class='problem']")


def test_a_link_asks_before_it_ends_the_session_of_another_user(web: Web) -> None:
    form = ".//form[@action='/sign-in/link']"
    assert web.get("/sign-in", None).one(form).get("data-asks") is None
    page = web.get("/sign-in", Role.SENDER)
    assert page.one(form).get("data-asks") is not None
    assert "signed in as sender-user" in page.text()
    stale = {"Cookie": f"{COOKIE}=bsn_of_a_stranger"}
    assert web.get("/sign-in", None, headers=stale).one(form).get("data-asks") is None


def test_a_newer_link_or_a_reset_makes_a_link_void(web: Web) -> None:
    added(web)
    first = str(sessions.make_link(web.api.ledger, "ann", actor="test")["link_token"])
    second = str(sessions.make_link(web.api.ledger, "ann", actor="test")["link_token"])
    assert send(web, "/sign-in/link", {"token": first}).status_code == 401
    users.reset_user(web.api.ledger, "ann", actor="test", why="lost")
    assert send(web, "/sign-in/link", {"token": second}).status_code == 401


@pytest.mark.parametrize("way_out", ["sign out", "disable", "reset", "another password"])
def test_a_session_ends_at_once(web: Web, way_out: str) -> None:
    token = signed_in(web)
    html = Html(asked_with(web, token).text)
    match way_out:
        case "sign out":
            form = html.fields(".//form[@action='/sign-out']")
            answer = send(web, "/sign-out", form, Cookie=f"{COOKIE}={token}")
            assert (answer.status_code, cookie_of(answer)) == (303, "")
        case "disable":
            users.disable_user(web.api.ledger, "ann", actor="test", why="left")
        case "reset":
            users.reset_user(web.api.ledger, "ann", actor="test", why="lost")
        case _:
            setup = str(users.reset_user(web.api.ledger, "ann", actor="test", why="lost")["setup_token"])
            send(web, "/sign-in/password", {"token": setup, "password": PASSWORD, "again": PASSWORD})
    answer = asked_with(web, token)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    if way_out == "disable":
        added(web)
        assert asked_with(web, token).status_code == 303, "of a new user by the old name"


def test_acts_of_signing_in_and_out_are_on_record_with_their_address(web: Web) -> None:
    token = signed_in(web)
    form = Html(asked_with(web, token).text).fields(".//form[@action='/sign-out']")
    send(web, "/sign-out", form, Cookie=f"{COOKIE}={token}")
    with web.api.ledger.read() as tx:
        acts = tx.exec_driver_sql(
            "SELECT actor, act, ip, request_id FROM acts WHERE scope = 'user' ORDER BY id"
        ).all()
    assert [(actor, act) for actor, act, _, _ in acts] == [
        *(("test", "add"), ("ann", "set password"), ("ann", "sign in"), ("ann", "sign out"))
    ]
    assert all(request_id for _, act, _, request_id in acts if act.startswith("sign"))


def test_a_wrong_password_says_no_more_than_that_and_waits_longer_each_time(web: Web) -> None:
    signed_in(web)
    seen = set()
    for name in ("ann", "stranger"):
        answer = send(web, "/sign-in", {"name": name, "password": "wrong"})
        html = Html(answer.text)
        seen.add((answer.status_code, html.text(".//*[@class='problem']")))
        assert html.fields(".//form[@action='/sign-in']")["name"] == name
        assert "wrong" not in answer.text.replace("password is wrong", "")
    assert len(seen) == 1
    answers = [send(web, "/sign-in", {"name": "x", "password": "wrong"}).status_code for _ in range(12)]
    assert 429 in answers, "of an address, whatever the names"


OF_ANOTHER_SITE: tuple[dict[str, str], ...] = (
    {"Origin": "https://other.example"},
    {"Origin": "null"},
    {"Origin": "http://testserver:81"},
    {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"},
    {"Origin": ORIGIN, "Sec-Fetch-Site": "same-site"},
)


def test_a_form_of_another_site_is_refused(web: Web) -> None:
    for headers in OF_ANOTHER_SITE:
        for path in ("/sign-in", "/sign-in/link", "/preferences", "/sign-out"):
            assert web.post(path, headers=headers).status_code == 403, headers


@pytest.mark.parametrize("path", ["/v2/messages", "//v1/messages", "/message"])
def test_a_program_with_a_mistyped_address_is_told_that_there_is_none(web: Web, path: str) -> None:
    answer = web.api.client.post(f"https://testserver{path}", json={})
    assert answer.status_code == 404, answer.text
    assert "there is no such address" in answer.json()["detail"]


@pytest.mark.parametrize("token", ["", "0" * 64, "é"])
def test_a_form_without_the_token_of_its_session_is_refused(web: Web, token: str) -> None:
    answer = web.post("/sign-out", {"csrf": token})
    assert answer.status_code == 403
    web.get("/")


@pytest.mark.parametrize(
    "next",
    ["https://other.example", "//other.example", "/\\other.example", "javascript:alert(1)", "/a\nb", ""],
)
def test_a_sign_in_leads_to_no_other_site(web: Web, next: str) -> None:
    added(web)
    link = str(sessions.make_link(web.api.ledger, "ann", actor="test")["link_token"])
    answer = send(web, "/sign-in/link", {"token": link, "next": next})
    assert answer.headers["location"] == "/"


def test_a_weak_password_is_refused_beside_its_field(web: Web) -> None:
    token = added(web)
    for fields, why in (
        ({"password": "short", "again": "short"}, "12"),
        ({"password": PASSWORD, "again": "another"}, "not the same"),
    ):
        answer = send(web, "/sign-in/password", {"token": token, **fields})
        assert answer.status_code == 422
        assert why in Html(answer.text).text(".//main")


def test_without_an_issuer_there_is_no_way_to_one(web: Web) -> None:
    assert not web.get("/sign-in", None).all(".//a[@href='/sign-in/oidc']")
    for path in ("/sign-in/oidc", "/sign-in/oidc/callback?code=x&state=y"):
        assert web.ask("GET", path, None).status_code == 404
