"""Signing in at an issuer: a whole sign-in over a real one, every answer that is refused, and who may come in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from structlog.testing import capture_logs

from bulksend.errors import NotSignedIn
from bulksend.operations import sessions, users
from bulksend.operations.access import Origin, Principal, Role
from ops.web.sealed import seal, unseal
from tests.html_pages import Html
from tests.integration.web.conftest import ON_ONE_DATABASE, Web
from tests.issuer import (
    SECRET,
    Claims,
    FakeIssuer,
    SigningKey,
    base64url,
    by_key,
    by_secret,
    running_issuer,
    unsigned,
)

#: What the ledger decides is tested on both in tests/integration/operations/test_issuer_sign_in.py.
pytestmark = ON_ONE_DATABASE
SESSION, BEGUN = "bulksend_session_80", "bulksend_oidc_80"


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    with running_issuer() as made:
        yield made


@pytest.fixture
def more_settings(issuer: FakeIssuer, request: pytest.FixtureRequest) -> dict[str, str]:
    is_only = getattr(request, "param", "") == "only"
    return issuer.settings() | ({"BULKSEND_OIDC_ONLY": "1"} if is_only else {})


@dataclass
class Browser:
    """A browser with cookies of its own."""

    web: Web
    cookies: dict[str, str]

    def get(self, path: str, **headers: str) -> Any:
        """The answer of the console; its cookies are kept."""
        kept = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = self.web.ask("GET", path, None, headers={"Cookie": kept} | headers if kept else headers)
        for line in answer.headers.get_list("set-cookie"):
            for name, cookie in SimpleCookie(line).items():
                self.cookies[name] = cookie.value
                if cookie["max-age"] == "0":
                    del self.cookies[name]
        return answer

    def begin(self, path: str = "/sign-in/oidc") -> str:
        """Follow the button; the address at the issuer."""
        answer = self.get(path)
        assert answer.status_code == 303, answer.text[:300]
        return str(answer.headers["location"])

    def sign_in(self, path: str = "/sign-in/oidc") -> Any:
        """From the button to where the console leads after the issuer's answer."""
        return self.get(at_issuer(self.begin(path)))

    @property
    def user(self) -> Principal | None:
        """Who is signed in."""
        with self.web.api.ledger.read() as tx:
            try:
                return sessions.find(tx, self.cookies.get(SESSION, ""), Origin()).principal
            except NotSignedIn:
                return None


def at_issuer(address: str) -> str:
    """The person agrees there; the path of the console to which the browser is sent back."""
    back = urlsplit(httpx.get(address).headers["location"])
    return f"{back.path}?{back.query}"


@pytest.fixture
def browser(web: Web) -> Browser:
    return Browser(web, {})


def refusal(answer: Any) -> str:
    """The reason for a refused sign-in that the sign-in page shows."""
    assert answer.status_code == 303
    found = urlsplit(answer.headers["location"])
    assert found.path == "/sign-in"
    return parse_qs(found.query)["refusal"][0]


def added(web: Web, name: str = "ann", role: Role = Role.OPERATOR) -> None:
    users.add_user(web.api.ledger, name=name, role=role, actor="test")


def shown(web: Web, name: str = "ann") -> dict[str, Any]:
    with web.api.ledger.read() as tx:
        return users.show_user(tx, name)


def test_a_person_signs_in_at_the_issuer_and_comes_to_the_page_that_was_asked_for(browser: Browser) -> None:
    page = browser.get("/campaigns?status=paused").headers["location"]
    button = Html(browser.get(page).text).one(".//a[@class='button main']")
    assert button.text == "Sign in with Shop Login"
    answer = browser.sign_in(str(button.get("href")))
    assert (answer.status_code, answer.headers["location"]) == (303, "/campaigns?status=paused")
    assert browser.user is not None
    assert (browser.user.name, browser.user.role) == ("ann", Role.OPERATOR)
    assert browser.get("/").status_code == 200
    assert BEGUN not in browser.cookies


def test_what_the_issuer_is_asked_binds_its_answer(browser: Browser, issuer: FakeIssuer) -> None:
    first, second = (
        {name: values[0] for name, values in parse_qs(urlsplit(browser.begin()).query).items()}
        for _ in range(2)
    )
    assert first["redirect_uri"] == "http://testserver/sign-in/oidc/callback"
    assert (first["response_type"], first["code_challenge_method"]) == ("code", "S256")
    assert first["scope"] == "openid profile email"
    for name in ("state", "nonce", "code_challenge"):
        assert len(first[name]) == 43
        assert first[name] != second[name]
    assert SECRET not in json.dumps(first)


def test_the_cookie_of_a_sign_in_tells_nothing_and_is_sent_to_this_address_alone(web: Web) -> None:
    headers = {"Accept": "text/html"}
    answer = web.api.client.get("https://testserver/sign-in/oidc", headers=headers, follow_redirects=False)
    (said,) = answer.headers.get_list("set-cookie")
    assert said.startswith("__Host-bulksend_oidc=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(said.split("; "))
    assert "Domain" not in said
    asked = parse_qs(urlsplit(answer.headers["location"]).query)
    assert asked["redirect_uri"] == ["https://testserver/sign-in/oidc/callback"]
    assert not any(asked[name][0] in said for name in ("state", "nonce", "code_challenge"))


@pytest.mark.parametrize("kind", [SigningKey.rsa, SigningKey.ec])
def test_keys_of_either_kind_sign(
    browser: Browser, issuer: FakeIssuer, kind: Callable[[str], SigningKey]
) -> None:
    issuer.keys = [kind("k")]
    browser.sign_in()
    assert browser.user is not None


def test_an_issuer_may_want_the_secret_in_the_form(browser: Browser, issuer: FakeIssuer) -> None:
    issuer.document = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    browser.sign_in()
    assert browser.user is not None


def test_new_keys_of_the_issuer_are_read_at_once(browser: Browser, issuer: FakeIssuer) -> None:
    browser.sign_in()
    issuer.keys = [SigningKey.rsa("second"), issuer.keys[0]]
    issuer.seen.clear()
    assert browser.sign_in().headers["location"] == "/"
    assert issuer.seen.count("GET /keys") == 1
    issuer.seen.clear()
    browser.sign_in()
    assert "GET /keys" not in issuer.seen, "they are known now"


def test_a_withdrawn_key_signs_no_person_in_once_the_keys_were_read_again(
    browser: Browser, issuer: FakeIssuer
) -> None:
    withdrawn = issuer.keys[0]
    browser.sign_in()
    browser.cookies.clear()
    issuer.keys = [SigningKey.rsa("second")]
    browser.sign_in()
    browser.cookies.clear()
    issuer.make_token = lambda issuer, claims: by_key(withdrawn, claims)
    assert refusal(browser.sign_in()) == "invalid"
    assert browser.user is None


def by_another_key(issuer: FakeIssuer, claims: Claims) -> str:
    return by_key(SigningKey("first", SigningKey.rsa("x").private), claims)


def by_the_public_key(issuer: FakeIssuer, claims: Claims) -> str:
    """As if the public key were a shared secret."""
    return by_secret(json.dumps(issuer.keys[0].public()).encode(), claims, kid="first")


def with_its_own_key(issuer: FakeIssuer, claims: Claims) -> str:
    key = SigningKey.rsa("x")
    return by_key(key, claims, kid="first", jwk=key.public(), jku=f"{issuer.url}/keys")


def with_another_body(issuer: FakeIssuer, claims: Claims) -> str:
    head, _, signature = by_key(issuer.keys[0], claims).split(".")
    return f"{head}.{base64url(json.dumps(claims | {'groups': ['bosses']}).encode())}.{signature}"


TOKENS: dict[str, Callable[[FakeIssuer, Claims], str]] = {
    "by another key of the same id": by_another_key,
    "by a key that is not the issuer's": lambda issuer, claims: by_key(SigningKey.rsa("stranger"), claims),
    "with a key of its own": with_its_own_key,
    "without a signature": lambda issuer, claims: unsigned(claims),
    "without a signature, in other letters": lambda issuer, claims: unsigned(claims, "nOnE"),
    "by the client's secret": lambda issuer, claims: by_secret(SECRET.encode(), claims),
    "by the public key as a secret": by_the_public_key,
    "of another key's algorithm": lambda issuer, claims: by_key(issuer.keys[0], claims, alg="ES256"),
    "with an extension that must be understood": lambda issuer, claims: by_key(
        issuer.keys[0], claims, crit=["strange"], strange=1
    ),
    "with another body": with_another_body,
    "that is no token": lambda issuer, claims: "a.b",
    "that is empty": lambda issuer, claims: "",
}


@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_is_refused_that_the_issuer_did_not_sign(
    browser: Browser, issuer: FakeIssuer, kind: str
) -> None:
    issuer.make_token = TOKENS[kind]
    assert refusal(browser.sign_in()) == "invalid"
    assert browser.user is None


WRONG_CLAIMS: dict[str, Callable[[Claims], Claims]] = {
    "nonce of another sign-in": lambda claims: claims | {"nonce": "x" * 43},
    "no nonce": lambda claims: {name: value for name, value in claims.items() if name != "nonce"},
    "a nonce that is no text": lambda claims: claims | {"nonce": [claims["nonce"]]},
    "another audience": lambda claims: claims | {"aud": "another"},
    "no audience": lambda claims: claims | {"aud": None},
    "an audience that has ours in it": lambda claims: claims | {"aud": "console2"},
    "several audiences and no party": lambda claims: claims | {"aud": ["console", "another"]},
    "another party": lambda claims: claims | {"azp": "another"},
    "another issuer": lambda claims: claims | {"iss": "https://login.other.example"},
    "the issuer with a slash": lambda claims: claims | {"iss": claims["iss"] + "/"},
    "expired": lambda claims: claims | {"exp": claims["iat"] - 61, "iat": claims["iat"] - 400},
    "no end": lambda claims: {name: value for name, value in claims.items() if name != "exp"},
    "an end that is a text": lambda claims: claims | {"exp": str(claims["exp"])},
    "an endless end": lambda claims: claims | {"exp": float("inf")},
    "an end that no number of ours can be": lambda claims: claims | {"exp": 10**400},
    "an end that is true": lambda claims: claims | {"exp": True},
    "not yet": lambda claims: claims | {"nbf": claims["iat"] + 120},
    "made in the future": lambda claims: claims | {"iat": claims["iat"] + 120},
    "no subject": lambda claims: claims | {"sub": ""},
    "a subject that is a number": lambda claims: claims | {"sub": 7},
    "a subject that is too long": lambda claims: claims | {"sub": "s" * 256},
}


@pytest.mark.parametrize("kind", WRONG_CLAIMS)
def test_a_token_is_refused_that_is_not_for_this_sign_in(
    browser: Browser, issuer: FakeIssuer, kind: str
) -> None:
    issuer.change = WRONG_CLAIMS[kind]
    assert refusal(browser.sign_in()) == "invalid"
    assert browser.user is None


@pytest.mark.parametrize(
    "change",
    [
        lambda claims: claims | {"aud": ["account", "console"], "azp": "console"},
        lambda claims: claims | {"aud": ["console"]},
        lambda claims: claims | {"exp": claims["iat"] - 30},
    ],
)
def test_a_token_for_several_or_of_a_clock_that_is_a_little_off_is_taken(
    browser: Browser, issuer: FakeIssuer, change: Callable[[Claims], Claims]
) -> None:
    issuer.change = change
    browser.sign_in()
    assert browser.user is not None


def test_an_answer_that_another_browser_began_is_refused(
    web: Web, browser: Browser, issuer: FakeIssuer
) -> None:
    """Else an attacker has a person act in the attacker's name."""
    answer = at_issuer(browser.begin())
    victim = Browser(web, {})
    assert refusal(victim.get(answer)) == "expired"
    mine = victim.begin()
    assert refusal(victim.get(answer)) == "expired"
    assert "POST /token" not in issuer.seen, "the code is not even asked for"
    assert victim.get(at_issuer(mine)).headers["location"] == "/", "its own sign-in goes on"


def test_an_answer_is_good_once(browser: Browser, issuer: FakeIssuer) -> None:
    address = browser.begin()
    kept = dict(browser.cookies)
    answer = at_issuer(address)
    browser.get(answer)
    assert browser.user is not None
    assert refusal(browser.get(answer)) == "expired"
    thief = Browser(browser.web, kept)
    assert refusal(thief.get(answer)) == "invalid", "with the cookie too: the issuer takes the code once"
    assert thief.user is None


def test_a_code_of_another_sign_in_is_refused(browser: Browser, issuer: FakeIssuer) -> None:
    """PKCE: a code that was stolen is worth nothing with the thief's own cookie and state."""
    stolen = parse_qs(urlsplit(at_issuer(browser.begin())).query)["code"][0]
    thief = Browser(browser.web, {})
    mine = parse_qs(urlsplit(at_issuer(thief.begin())).query)
    query = urlencode({"code": stolen, "state": mine["state"][0], "iss": issuer.url})
    assert refusal(thief.get(f"/sign-in/oidc/callback?{query}")) == "invalid"
    assert thief.user is None


@pytest.mark.parametrize("change", ["another", "lost", "twice"])
def test_an_answer_says_which_issuer_gives_it(browser: Browser, issuer: FakeIssuer, change: str) -> None:
    """Else the code of one issuer could be brought to another (RFC 9207)."""
    answer = at_issuer(browser.begin())
    its = urlencode({"iss": issuer.url})
    other = urlencode({"iss": "https://login.other.example"})
    changed = {"another": other, "lost": "", "twice": f"{other}&{its}"}[change]
    assert refusal(browser.get(answer.replace(its, changed))) == "invalid"
    assert "POST /token" not in issuer.seen


def test_an_issuer_that_does_not_name_itself_in_answers_is_taken_without(
    browser: Browser, issuer: FakeIssuer
) -> None:
    issuer.document = {"authorization_response_iss_parameter_supported": False}
    answer = at_issuer(browser.begin()).replace(urlencode({"iss": issuer.url}), "")
    browser.get(answer)
    assert browser.user is not None


def test_a_sign_in_may_take_ten_minutes(web: Web, browser: Browser) -> None:
    provider = web.api.services.issuer
    assert provider is not None
    answer = at_issuer(browser.begin())
    kept = json.loads(str(unseal(browser.cookies[BEGUN], provider.sealing_key)))
    late = json.dumps(kept | {"expires_at": kept["expires_at"] - 600})
    browser.cookies[BEGUN] = seal(late, provider.sealing_key)
    assert refusal(browser.get(answer)) == "expired"


@pytest.mark.parametrize("cookie", ["", "x", "A" * 200])
def test_a_cookie_that_was_not_sealed_here_is_none(browser: Browser, cookie: str) -> None:
    answer = at_issuer(browser.begin())
    browser.cookies[BEGUN] = cookie
    assert refusal(browser.get(answer)) == "expired"


@pytest.mark.parametrize(
    "next", ["https://other.example", "//other.example", "/\\other.example", "javascript:alert(1)", "/a\nb"]
)
def test_a_sign_in_at_the_issuer_leads_to_no_other_site(browser: Browser, next: str) -> None:
    assert browser.sign_in(f"/sign-in/oidc?{urlencode({'next': next})}").headers["location"] == "/"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_cannot_begin_a_sign_in(browser: Browser, site: str) -> None:
    answer = browser.get("/sign-in/oidc?next=/campaigns", **{"Sec-Fetch-Site": site})
    assert answer.headers["location"] == "/sign-in?next=%2Fcampaigns"
    assert BEGUN not in browser.cookies


def test_an_issuer_that_does_not_answer_is_said_and_comes_back(browser: Browser, issuer: FakeIssuer) -> None:
    address = browser.begin()
    answer = at_issuer(address)
    issuer.is_down = True
    assert refusal(browser.get(answer)) == "unavailable"
    html = Html(browser.get("/sign-in?refusal=unavailable").text)
    assert "Shop Login does not answer" in html.text(".//*[@class='problem']")
    issuer.is_down = False
    assert browser.sign_in().headers["location"] == "/"


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://login.other.example"},
        {"token_endpoint": "http://login.shop.example/token"},
        {"jwks_uri": None},
        {"more": "x" * 1_100_000},
        {"token_endpoint_auth_methods_supported": ["private_key_jwt"]},
    ],
)
def test_an_issuer_that_says_something_else_of_itself_is_not_used(
    browser: Browser, issuer: FakeIssuer, document: Claims
) -> None:
    issuer.document = document
    assert refusal(browser.get("/sign-in/oidc")) == "unavailable"
    assert BEGUN not in browser.cookies


def test_no_redirect_is_followed_to_what_the_issuer_did_not_name(
    browser: Browser, issuer: FakeIssuer
) -> None:
    issuer.document = {"jwks_uri": f"{issuer.url}/elsewhere"}
    assert refusal(browser.get("/sign-in/oidc")) == "unavailable"
    assert "GET /keys" not in issuer.seen


def test_a_person_whom_the_issuer_refuses_is_told_so_and_no_word_of_it_is_shown(
    browser: Browser, issuer: FakeIssuer
) -> None:
    issuer.denies = True
    answer = browser.sign_in("/sign-in/oidc?next=/campaigns")
    assert refusal(answer) == "denied"
    assert "next=%2Fcampaigns" in answer.headers["location"]
    html = browser.get(answer.headers["location"]).text
    assert "Shop Login did not sign you in" in html
    assert "<b>no</b>" not in html


def test_each_sign_in_gives_the_role_of_the_claims(browser: Browser, issuer: FakeIssuer) -> None:
    roles = []
    for groups in (["readers"], ["staff", "bosses", "others"], ["staff"]):
        issuer.user["groups"] = groups
        browser.sign_in()
        assert browser.user is not None
        roles.append(browser.user.role)
    assert roles == [Role.VIEWER, Role.ADMIN, Role.OPERATOR]


def test_a_narrower_role_holds_in_every_session_at_once(web: Web, issuer: FakeIssuer) -> None:
    issuer.user["groups"] = ["bosses"]
    first = Browser(web, {})
    first.sign_in()
    assert first.get("/users").status_code == 200
    issuer.user["groups"] = ["readers"]
    Browser(web, {}).sign_in()
    assert first.get("/users").status_code == 403


@pytest.mark.parametrize("groups", [["others"], [], None, "others", [["bosses"]], {"bosses": 1}, 7])
def test_a_person_without_a_role_is_refused_and_the_sessions_of_before_end(
    web: Web, browser: Browser, issuer: FakeIssuer, groups: Any
) -> None:
    browser.sign_in()
    issuer.user["groups"] = groups
    elsewhere = Browser(web, {})
    answer = elsewhere.sign_in()
    assert refusal(answer) == "no_role"
    assert "gives you no role" in Html(elsewhere.get(answer.headers["location"]).text).text()
    assert elsewhere.user is None
    assert browser.user is None


def test_a_local_user_of_the_name_is_not_taken_over(web: Web, browser: Browser, issuer: FakeIssuer) -> None:
    added(web, role=Role.ADMIN)
    assert refusal(browser.sign_in()) == "name_taken"
    assert shown(web)["issuer"] is None
    assert browser.user is None


def test_another_subject_of_the_name_is_another_person(
    web: Web, browser: Browser, issuer: FakeIssuer
) -> None:
    browser.sign_in()
    issuer.user["sub"] = "s-2"
    other = Browser(web, {})
    assert refusal(other.sign_in()) == "name_taken"
    users.disable_user(web.api.ledger, "ann", actor="test", why="left")
    assert refusal(other.sign_in()) == "name_taken", "it would free the first one from being disabled"


def test_a_user_keeps_the_name_whatever_the_issuer_calls_it_later(
    browser: Browser, issuer: FakeIssuer
) -> None:
    browser.sign_in()
    issuer.user["preferred_username"] = "ann.smith"
    browser.sign_in()
    assert browser.user is not None
    assert browser.user.name == "ann"


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"email": "ann@shop.example", "email_verified": True}, "ann@shop.example"),
        ({"email": "ann@shop.example"}, "ann@shop.example"),
        ({"email": "boss@shop.example", "email_verified": False}, None),
        ({"preferred_username": "../users"}, None),
        ({"preferred_username": "<script>"}, None),
        ({"preferred_username": 7}, None),
        ({}, None),
    ],
)
def test_a_new_user_is_called_what_a_user_may_be_called(
    browser: Browser, issuer: FakeIssuer, claims: Claims, name: str | None
) -> None:
    issuer.user = {"sub": "s-1", "groups": ["staff"]} | claims
    answer = browser.sign_in()
    if name is None:
        assert refusal(answer) == "no_name"
    assert (None if browser.user is None else browser.user.name) == name


def test_claims_that_the_token_lacks_are_asked_for(browser: Browser, issuer: FakeIssuer) -> None:
    issuer.told_later = ("groups", "preferred_username")
    browser.sign_in()
    assert browser.user is not None
    assert issuer.seen.count("GET /userinfo") == 1


def test_claims_of_another_subject_are_refused(browser: Browser, issuer: FakeIssuer) -> None:
    issuer.told_later = ("groups",)
    issuer.change = lambda claims: claims | {"sub": "s-2"}
    assert refusal(browser.sign_in()) == "invalid"


def test_a_disabled_user_stays_out_until_an_admin_enables_it(web: Web, browser: Browser) -> None:
    browser.sign_in()
    page = web.get("/users/ann")
    assert not page.all(".//form[@action='/users/ann/reset']")
    assert not page.all(".//form[@action='/users/ann/role']")
    web.post("/users/ann/disable", {"why": "left"})
    assert browser.user is None
    assert refusal(browser.sign_in()) == "disabled"
    form = web.get("/users/ann").fields(".//form[@action='/users/ann/enable']")
    assert "ann may sign in again" in web.said(web.post("/users/ann/enable", form)).text(
        ".//*[@class='said']"
    )
    assert browser.sign_in().headers["location"] == "/"


def test_lists_and_the_own_account_say_where_a_user_comes_from(
    web: Web, browser: Browser, issuer: FakeIssuer
) -> None:
    browser.sign_in()
    host = urlsplit(issuer.url).netloc
    assert f"Signs in at {host}" in web.get("/users").text()
    html = web.get("/users/ann")
    assert issuer.url in html.text()
    assert "s-1" in html.text()
    account = Html(browser.get("/account").text)
    assert f"You sign in at {host}" in account.text()
    assert not account.all(".//form[@action='/account/password']")


def test_acts_say_that_the_issuer_made_the_user_and_who_signed_in(web: Web, browser: Browser) -> None:
    browser.sign_in()
    host = shown(web)["created_by"]
    with web.api.ledger.read() as tx:
        acts = tx.exec_driver_sql(
            "SELECT actor, act, why, ip, request_id FROM acts WHERE subject = 'ann' ORDER BY id"
        ).all()
    assert [tuple(row)[:3] for row in acts] == [
        (host, "add", "operator by the claims of its issuer"),
        ("ann", "sign in", f"at {host}"),
    ]
    assert all(row[4] for row in acts)


def test_nothing_that_is_secret_is_in_logs_addresses_or_the_ledger(
    web: Web, browser: Browser, issuer: FakeIssuer
) -> None:
    answers = []
    with capture_logs() as logged:
        answers.append(browser.sign_in())
        for change in (lambda claims: claims | {"nonce": "x"}, lambda claims: claims | {"sub": "s-9"}):
            issuer.change = change
            answers.append(browser.sign_in())
        issuer.is_down = True
        answers.append(browser.get(at_issuer_alone(issuer, browser)))
    said = str(logged) + str([answer.headers["location"] for answer in answers])
    with web.api.ledger.read() as tx:
        for every in ("SELECT * FROM acts", "SELECT * FROM users", "SELECT * FROM sessions"):
            said += str(tx.exec_driver_sql(every).all())
    assert any(each["event"] == "sign_in_refused" for each in logged)
    assert len(issuer.tokens) > 6
    assert not [secret for secret in (*issuer.tokens, SECRET) if secret in said]
    assert issuer.tokens[0] not in browser.get("/sign-in?refusal=invalid").text


def at_issuer_alone(issuer: FakeIssuer, browser: Browser) -> str:
    """The person agrees, and then the issuer goes down."""
    issuer.is_down = False
    answer = at_issuer(browser.begin())
    issuer.is_down = True
    return answer


def test_too_many_answers_that_are_no_good_make_an_address_wait(browser: Browser, issuer: FakeIssuer) -> None:
    issuer.make_token = lambda issuer, claims: unsigned(claims)
    found = [refusal(browser.sign_in()) for _ in range(13)]
    assert found[0] == "invalid"
    assert found[-1] == "too_many"


def test_people_without_a_role_do_not_make_their_office_wait(browser: Browser, issuer: FakeIssuer) -> None:
    issuer.user["groups"] = []
    assert {refusal(browser.sign_in()) for _ in range(13)} == {"no_role"}


def test_a_password_signs_in_beside_the_issuer(web: Web) -> None:
    html = web.get("/sign-in", None)
    assert html.all(".//form[@action='/sign-in']")
    assert "Shop Login" in html.text()
    assert "使用 Shop Login 登录" in web.get("/sign-in", None, headers={"Accept-Language": "zh-CN"}).text()


@pytest.mark.parametrize("refused", ["<b>", "expired&x", "nonsense"])
def test_the_sign_in_page_says_only_what_it_knows(web: Web, refused: str) -> None:
    html = web.get(f"/sign-in?{urlencode({'refusal': refused})}", None)
    assert not html.all(".//*[@class='problem']")


ONLY = pytest.mark.parametrize("more_settings", ["only"], indirect=True)


@ONLY
def test_an_installation_may_take_no_passwords_and_links_still_sign_in(web: Web, browser: Browser) -> None:
    setup = users.add_user(web.api.ledger, name="bob", role="admin", actor="test")["setup_token"]
    html = web.get("/sign-in", None)
    assert not html.all(".//form[@action='/sign-in']")
    assert not html.all(".//form[@action='/sign-in/password']")
    for path, fields in (
        ("/sign-in", {"name": "bob", "password": "correct horse battery"}),
        ("/sign-in/password", {"token": setup, "password": "correct horse battery"}),
    ):
        assert web.ask("POST", path, None, data=fields).status_code == 403
    link = str(sessions.make_link(web.api.ledger, "bob", actor="test")["link_token"])
    assert web.ask("POST", "/sign-in/link", None, data={"token": link}).headers["location"] == "/"
    assert browser.sign_in().headers["location"] == "/"
