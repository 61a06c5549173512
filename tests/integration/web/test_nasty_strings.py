"""Whatever people, programs and the vendor write is text in a page, and never an element or an attribute of it."""

from __future__ import annotations

import re

import pytest

from bulksend.operations import senders
from tests.html_pages import Html
from tests.integration.web.conftest import ON_ONE_DATABASE, Web
from tests.integration.web.test_every_page import STREAM, routes
from tests.seeded import SENDER

MARK = "zq9x"
NASTY = (
    f"<script>{MARK}()</script>",
    f'"><img src=x onerror={MARK}()>',
    f"' autofocus onfocus={MARK}() x='",
    f"javascript:{MARK}()",
    f"</title></textarea></style><svg/onload={MARK}()>",
    f"{{{{ 7*7 }}}}{{% {MARK} %}}${{7*7}}",
    f"\u202e{MARK}\u2066\u200f\x85",
    f"&lt;script&gt;{MARK}&#x3c;b&#x3e;",
    f"]]>--><!--{MARK}",
)


@pytest.fixture
def nasty(seeded: Web) -> tuple[Web, dict[str, list[str]]]:
    """One of everything, and of what people name a nasty one each."""
    api, ids = seeded.api, seeded.api.ids
    for number, text in enumerate(NASTY):
        body = {
            "name": f"{text} {number}",
            "key": f"{text}-{number}",
            "sender": SENDER,
            "kind": "marketing",
            "type": "text",
            "content": {"body": f"{text} {{{{name}}}}".replace("{{ 7*7 }}", "7")},
            "rows": [{"to": f"4477009{number:05}", "name": text}, {"to": text, "name": text}],
        }
        answer = api.post("/v1/campaigns", body)
        if answer.status_code < 300:
            ids["campaigns"].append(answer.json()["campaign_id"])
            api.post(f"/v1/campaigns/{ids['campaigns'][-1]}/pause", {"why": text})
        api.post("/v1/suppressions", {"phone": f"4477008{number:05}", "reason": text, "source": text})
        api.post("/v1/keys", {"name": text, "role": "viewer"})
        api.post("/v1/receipt-tokens", {"name": text})
        api.post("/v1/webhooks", {"url": f"https://hooks.example.com/{number}?x={text}"})
    senders.change_sender(api.ledger, SENDER, actor=NASTY[0], name=NASTY[1][:100])
    assert len(ids["campaigns"]) > len(NASTY), "most of them are names of campaigns"
    return seeded, ids


def paths(web: Web, ids: dict[str, list[str]]) -> list[str]:
    """Each page, those of one thing for each of these things."""
    found = []
    for route in routes(web):
        if "GET" not in route.methods or route.path.startswith(("/assets", STREAM)):
            continue
        names = re.findall(r"\{(\w+)\}", route.path)
        things = ids.get(route.path.split("/")[1], [])
        if not names:
            found.append(route.path)
        elif len(names) == 1:
            found += [re.sub(r"\{\w+\}", id, route.path) for id in things[-12:]]
    return found


@ON_ONE_DATABASE
def test_no_nasty_string_becomes_a_part_of_a_page(nasty: tuple[Web, dict[str, list[str]]]) -> None:
    web, ids = nasty
    seen = 0
    for path in paths(web, ids):
        answer = web.ask("GET", path)
        if "text/html" not in answer.headers.get("content-type", ""):
            continue
        assert answer.status_code in (200, 303, 404, 409), f"{path}: {answer.status_code}"
        seen += answer.text.count(MARK)
        check(path, answer.text)
    assert seen > 20, "the pages show some of them"


@ON_ONE_DATABASE
def test_what_an_address_or_a_form_brings_is_text_too(web: Web) -> None:
    for text in NASTY:
        bring(web, text)


def bring(web: Web, text: str) -> None:
    for path in ("/campaigns", "/sign-in", "/preferences", "/", "/nothing"):
        query = dict.fromkeys(("name", "status", "next", "back", "after", "q", "sender"), text)
        answer = web.ask("GET", path, params=query)
        assert answer.status_code < 500
        check(path, answer.text)
    for path in ("/sign-in", "/sign-in/link", "/sign-in/password", "/preferences"):
        data = dict.fromkeys(("name", "password", "token", "next", "zone", "language", "theme", "back"), text)
        answer = web.ask("POST", path, None, data=data)
        assert answer.status_code < 500
        assert answer.headers.get("location", "/")[:1] == "/"
        check(path, answer.text)
    cookies = (
        f"bulksend_said={text.encode().hex()}; bulksend_zone={text!r}; bulksend_language=x; bulksend_theme=x"
    )
    check(
        "/",
        web.ask("GET", "/", headers={"Cookie": cookies.encode("latin-1", "replace").decode("latin-1")}).text,
    )


def check(path: str, text: str) -> None:
    """The page is nested as its templates are, and MARK stands in text and in plain values alone."""
    if not text.strip():
        return
    html = Html(text)
    html.check()
    for element in html.root.iter():
        assert MARK not in element.tag, path
        for name, value in element.attrib.items():
            assert MARK not in name, f"{path}: an attribute {name}"
            if name in ("href", "src", "action", "formaction"):
                assert value.startswith(("/", "#", "?", "https://")), f"{path}: {name}={value[:60]}"
