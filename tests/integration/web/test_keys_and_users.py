"""Keys, receipt addresses, users and the own account: what is shown once, what ends at once, who may."""

from __future__ import annotations

import re

from bulksend.operations import api_keys, sessions, users
from bulksend.operations.access import Origin, Role
from bulksend.operations.passwords import Passwords
from tests.html_pages import Html
from tests.integration.web.conftest import ON_ONE_DATABASE, Web

NASTY = "<script>alert('x')</script>\"&"


def shown_secret(answer: object) -> str:
    html = Html(answer.text)  # type: ignore[attr-defined]
    html.check()
    return html.text(".//*[@class='secret-value']/code")


def test_a_key_is_shown_once_and_a_reload_makes_no_other(web: Web) -> None:
    form = web.get("/keys/new").fields(".//form[@action='/keys']")
    asked = {
        "once": form["once"],
        "name": NASTY,
        "role": "sender",
        "kinds": ["otp"],
        "expires": "2090-01-01T10:00",
    }
    first = web.post("/keys", asked)
    assert first.headers["cache-control"] == "no-store"
    key = shown_secret(first)
    assert key.startswith("bsk_")
    again = web.post("/keys", asked)
    assert key not in again.text
    assert "cannot be shown again" in again.text
    (row,) = web.get("/keys").rows(".//*[@id='keys-list']//tbody/tr")
    assert NASTY in row[0]
    assert "One-time code" in row[2]
    assert "1 Jan 2090, 10:00 UTC" in row[5]
    assert key not in web.ask("GET", "/keys").text
    # The same form with another name asks for another key.
    assert shown_secret(web.post("/keys", asked | {"name": "another"})) != key


def test_what_is_wrong_with_a_key_stands_beside_its_field_with_what_was_typed(web: Web) -> None:
    answer = web.post(
        "/keys", {"name": "shop", "role": "viewer", "kinds": ["otp"], "expires": "2001-01-01T00:00"}
    )
    assert answer.status_code == 422
    html = Html(answer.text)
    html.check()
    assert "has passed" in html.text(".//*[@id='f-expires-error']")
    assert html.fields(".//form[@action='/keys']")["name"] == "shop"
    assert len(html.all(".//input[@value='otp'][@checked]")) == 1
    with web.api.ledger.read() as tx:
        assert "shop" not in [key["name"] for key in api_keys.list_keys(tx)]


def test_a_revoked_key_is_refused_at_once_and_leaves_the_list(web: Web) -> None:
    made = web.api.post("/v1/keys", {"name": "shop", "role": "viewer"}).json()
    path = f"/keys/{made['id']}/revoke"
    html = web.said(web.post(path, {"why": "it leaked"}))
    assert "The key is revoked." in html.text(".//*[@class='said']")
    refused = web.api.client.get("/v1/me", headers={"Authorization": f"Bearer {made['key']}"})
    assert refused.status_code == 401
    assert made["id"] not in web.ask("GET", "/keys").text
    everything = web.get("/keys?show=all")
    assert "Revoked" in everything.text()
    assert not everything.all(f".//form[@action='{path}']")


def test_a_receipt_address_is_whole_and_replaced_without_a_gap(web: Web) -> None:
    form = web.get("/keys/receipt-tokens/new").fields(".//form[@action='/keys/receipt-tokens']")
    asked = {"once": form["once"], "name": "vendor", "ips": "203.0.113.0/24, 127.0.0.1"}
    address = shown_secret(web.post("/keys/receipt-tokens", asked))
    assert re.fullmatch(r"http://testserver/v1/receipts/bsr_\w+", address)
    (row,) = web.get("/keys").rows(".//*[@id='tokens-list']//tbody/tr")
    assert row[1] == "203.0.113.0/24, 127.0.0.1/32"
    (token,) = web.api.get("/v1/receipt-tokens").json()["items"]
    other = shown_secret(web.post(f"/keys/receipt-tokens/{token['id']}/rotate", {"once": "r"}))
    assert other != address
    both = web.api.get("/v1/receipt-tokens").json()["items"]
    assert [(each["name"], each["ips"], each["revoked_at"]) for each in both] == 2 * [
        ("vendor", token["ips"], None)
    ]
    web.said(web.post(f"/keys/receipt-tokens/{token['id']}/revoke"))
    assert len(web.get("/keys").rows(".//*[@id='tokens-list']//tbody/tr")) == 1
    wrong = web.post("/keys/receipt-tokens", {"name": "x", "ips": "nonsense"})
    assert "is not an address" in Html(wrong.text).text(".//*[@id='f-ips-error']")


def test_a_user_is_added_by_a_link_that_is_shown_once(web: Web) -> None:
    form = web.get("/users/new").fields(".//form[@action='/users']")
    asked = {"once": form["once"], "name": "ann@shop.example", "role": "operator", "kinds": ["otp"]}
    link = shown_secret(web.post("/users", asked))
    assert re.fullmatch(r"http://testserver/sign-in#bss_\w+", link)
    assert link not in web.post("/users", asked).text
    new = {"token": link, "password": "a long enough one", "again": "a long enough one"}
    assert web.ask("POST", "/sign-in/password", None, data=new).status_code == 303
    rows = {row[0]: row for row in web.get("/users").rows(".//tbody/tr")}
    assert "operator" in rows["ann@shop.example"][1]
    assert "One-time code from all senders" in rows["ann@shop.example"][2]
    assert "May sign in" in rows["ann@shop.example"][3]
    wrong = web.post("/users", {"name": NASTY, "role": "viewer"})
    assert "letters, digits" in Html(wrong.text).text(".//*[@id='f-name-error']")


def test_another_role_and_an_end_hold_from_the_next_request(web: Web) -> None:
    web.get("/", Role.VIEWER)
    path = "/users/viewer-user"
    html = web.said(web.post(f"{path}/role", {"role": "operator", "why": "on duty"}))
    assert "has the role operator" in html.text(".//*[@class='said']")
    # The token of Web is of the user whose role was viewer.
    assert web.ask("POST", "/system/audit", Role.VIEWER, data={"csrf": ""}).status_code == 403
    acts = web.get("/acts?scope=user&subject=viewer-user&act=change")
    (row,) = acts.rows(".//tbody/tr")
    assert "role: viewer → operator" in row[4]
    assert row[5] == "on duty"
    web.said(web.post(f"{path}/disable", {"why": "left"}))
    assert web.ask("GET", "/", Role.VIEWER).status_code == 303
    assert "viewer-user" not in web.get("/users").text()
    assert "Disabled" in web.get("/users?show=all").text()


@ON_ONE_DATABASE
def test_an_admin_does_not_shut_the_own_door(web: Web) -> None:
    assert "This is you" in web.get("/users/admin-user").text()
    assert web.post("/users/admin-user/disable").status_code == 409
    assert web.post("/users/admin-user/role", {"role": "viewer"}).status_code == 409
    assert web.ask("GET", "/users").status_code == 200


def test_a_reset_ends_every_session_and_shows_a_link(web: Web) -> None:
    web.get("/", Role.SENDER)
    once = web.get("/users/sender-user").fields(".//form[@action='/users/sender-user/reset']")["once"]
    assert "#bss_" in shown_secret(web.post("/users/sender-user/reset", {"once": once}))
    assert web.ask("GET", "/", Role.SENDER).status_code == 303
    assert web.post("/users/nobody/reset").status_code == 404


def test_the_account_shows_sessions_and_ends_those_elsewhere(web: Web) -> None:
    web.token(Role.VIEWER)
    database = web.api.ledger
    link = str(sessions.make_link(database, "viewer-user", actor="test")["link_token"])
    other = sessions.use_link(database, link, origin=Origin("203.0.113.9"))
    rows = web.get("/account", Role.VIEWER).rows(".//tbody/tr")
    assert [("this browser" in row[0], row[2]) for row in rows] == [
        (False, "203.0.113.9"),
        (True, "127.0.0.1"),
    ]
    html = web.said(web.post("/account/sign-out-elsewhere", role=Role.VIEWER), Role.VIEWER)
    assert "1 other session has ended." in html.text(".//*[@class='said']")
    with database.read() as tx:
        assert sessions.live_roles(tx, [sessions.hash_of(other)]) == {}
        assert [each["is_this"] for each in sessions.list_own(tx, "viewer-user", web.token(Role.VIEWER))] == [
            True
        ]


def test_a_password_is_changed_by_who_knows_the_old_one(web: Web) -> None:
    web.token(Role.VIEWER)
    database, passwords = web.api.ledger, Passwords()
    assert "You have no password" in web.get("/account", Role.VIEWER).text()
    setup = users.reset_user(database, "viewer-user", actor="test", why="")["setup_token"]
    users.set_password(database, setup, "the first password", passwords=passwords)
    web.tokens[Role.VIEWER] = sign_in(web, "the first password")
    elsewhere = sign_in(web, "the first password")
    new = {"new": "the second password", "again": "the second password"}

    def change(**fields: str) -> object:
        return web.post("/account/password", new | fields, Role.VIEWER)

    refused = change(old="a wrong password")
    assert refused.status_code == 422  # type: ignore[attr-defined]
    assert "the name or the password is wrong" in Html(refused.text).text(".//*[@id='f-old-error']")  # type: ignore[attr-defined]
    weak = change(old="the first password", new="short", again="short")
    assert "12 to 200" in Html(weak.text).text(".//*[@id='f-new-error']")  # type: ignore[attr-defined]
    other = change(old="the first password", again="another password")
    assert "not the same" in Html(other.text).text(".//*[@id='f-again-error']")  # type: ignore[attr-defined]
    html = web.said(change(old="the first password"), Role.VIEWER)
    assert "Your password is changed" in html.text(".//*[@class='said']")
    with database.read() as tx:
        live = sessions.live_roles(tx, [sessions.hash_of(elsewhere)])
    assert live == {}
    assert sign_in(web, "the second password")


def sign_in(web: Web, password: str) -> str:
    return sessions.sign_in(
        web.api.ledger, "viewer-user", password, passwords=Passwords(), origin=Origin("127.0.0.1")
    )
