"""What holds for every page, whatever it shows: sign-in, roles, headers, languages, errors."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts

from bulksend.operations.access import Role
from ops.web import csrf
from ops.web.app import create_console
from ops.web.forms import FileFormOf, FormOf
from ops.web.pages import PageOf
from tests.html_pages import Html
from tests.integration.web.conftest import ON_ONE_DATABASE, Web

#: The way to an issuer and back: no pages, but where they lead to.
AT_ISSUER = {"/sign-in/oidc", "/sign-in/oidc/callback"}
#: They need no session, and change nothing that another one has.
FOR_ALL = {
    *("/assets/{hash}/{name:path}", "/sign-in", "/sign-in/link", "/sign-in/password", "/preferences"),
    *AT_ISSUER,
}
#: Its answer never ends.
STREAM = "/live"


def routes(web: Web) -> list[Any]:
    console = create_console(web.api.services)
    return [route for route in iter_route_contexts(console.routes) if route.path and route.methods]


def checks_of(dependant: Any) -> list[Any]:
    """The checks of role and token that an endpoint depends on."""
    found = [dependant.call] if isinstance(dependant.call, PageOf | FormOf | FileFormOf) else []
    return found + [check for each in dependant.dependencies for check in checks_of(each)]


def filled(path: str) -> str:
    return re.sub(r"\{\w+(:\w+)?\}", "0", path)


@ON_ONE_DATABASE
def test_every_endpoint_has_a_role_and_each_that_changes_something_a_token(web: Web) -> None:
    without, unsafe = [], []
    for route in routes(web):
        checks = checks_of(route.route.dependant)
        if not checks and route.path not in FOR_ALL:
            without.append(route.path)
        changes = not set(route.methods) <= csrf.SAFE_METHODS
        if (
            changes
            and route.path not in FOR_ALL
            and not any(isinstance(c, FormOf | FileFormOf) for c in checks)
        ):
            unsafe.append(route.path)
    assert (without, unsafe) == ([], [])


@ON_ONE_DATABASE
def test_without_a_session_nothing_is_shown_or_done(web: Web) -> None:
    for route in routes(web):
        if route.path in FOR_ALL:
            continue
        for method in sorted(set(route.methods) - {"HEAD"}):
            answer = web.ask(method, filled(route.path), None, data={} if method == "POST" else None)
            assert answer.status_code == 303, f"{method} {route.path}: {answer.status_code}"
            assert answer.headers["location"].startswith("/sign-in")


@ON_ONE_DATABASE
def test_a_role_that_is_not_enough_is_refused_by_the_server(web: Web) -> None:
    ranks = list(Role)
    for route in routes(web):
        needed = max((ranks.index(c.role) for c in checks_of(route.route.dependant)), default=0)
        if needed == 0:
            continue
        for method in sorted(set(route.methods) - {"HEAD"}):
            too_low = ranks[needed - 1]
            path = filled(route.path)
            answer = web.ask("GET", path, too_low) if method == "GET" else web.post(path, {}, too_low)
            assert answer.status_code == 403, f"{method} {route.path} as {too_low}: {answer.status_code}"


@ON_ONE_DATABASE
@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_every_page_of_an_empty_ledger_is_whole_in_each_language(web: Web, language: str) -> None:
    for route in routes(web):
        if "GET" not in route.methods or "{" in route.path or route.path in (STREAM, *AT_ISSUER):
            continue
        html = web.get(route.path, headers={"Accept-Language": language})
        assert html.one("html").get("lang") == language
        assert html.text(".//h1")
        assert html.text(".//title").endswith("· bulksend")


@ON_ONE_DATABASE
def test_every_page_is_kept_nowhere_and_runs_only_scripts_of_ours(web: Web) -> None:
    for path in ("/", "/sign-in", "/nothing"):
        headers = web.ask("GET", path).headers
        policy = headers["content-security-policy"]
        assert "unsafe" not in policy
        for needed in (
            "default-src 'none'",
            "frame-ancestors 'none'",
            "form-action 'self'",
            "require-trusted-types-for",
        ):
            assert needed in policy
        assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
        assert (headers["referrer-policy"], headers["x-frame-options"]) == ("same-origin", "DENY")


@ON_ONE_DATABASE
def test_an_address_that_there_is_not_is_a_page_for_people_and_a_problem_for_programs(web: Web) -> None:
    html = web.get("/nothing", status=404)
    assert html.text(".//h1") == "Not found"
    assert "Campaigns" in html.text(".//nav"), "the menu of the user"
    assert web.get("/nothing", None, status=404).root.find(".//nav") is None
    answer = web.ask("GET", "/nothing", headers={"Accept": "*/*"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@ON_ONE_DATABASE
def test_files_are_kept_for_a_year_under_an_address_that_changes_with_them(web: Web) -> None:
    html = web.get("/sign-in", None)
    found = [
        str(each.get("href") or each.get("src"))
        for each in [*html.root.iter("link"), *html.root.iter("script")]
    ]
    assert len(found) >= 3
    total = 0
    for url in found:
        answer = web.api.client.get(url, headers={"Accept-Encoding": "identity"})
        assert "immutable" in answer.headers["cache-control"]
        assert "private" not in answer.headers["cache-control"]
        total += len(answer.content)
        stale = web.api.client.get(re.sub(r"/assets/\w+", "/assets/000000000000", url))
        assert (stale.status_code, stale.headers["cache-control"]) == (200, "no-cache")
    assert web.api.client.get("/assets/0/../app.py").status_code == 404
    assert total < 60_000


def test_the_first_load_is_small(web: Web) -> None:
    html_bytes = len(web.ask("GET", "/").content)
    html = Html(web.ask("GET", "/").text)
    files = [
        str(each.get("href") or each.get("src"))
        for each in [*html.root.iter("link"), *html.root.iter("script")]
    ]
    assert html_bytes + sum(len(web.api.client.get(file).content) for file in files) < 150_000


@ON_ONE_DATABASE
def test_a_refresh_gets_the_contents_alone_and_without_a_session_nothing(web: Web) -> None:
    live = {"X-Live": "1"}
    answer = web.ask("GET", "/", headers=live)
    assert answer.text.lstrip().startswith("<main")
    assert 'id="numbers"' in answer.text
    assert web.ask("GET", "/", None, headers=live).status_code == 401


@ON_ONE_DATABASE
def test_what_a_person_likes_is_kept(web: Web) -> None:
    liked = {"back": "/campaigns", "language": "zh-CN", "zone": "Asia/Shanghai", "theme": "dark"}
    answer = web.ask("POST", "/preferences", None, data=liked)
    assert (answer.status_code, answer.headers["location"]) == (303, "/campaigns")
    cookies = "; ".join(line.partition(";")[0] for line in answer.headers.get_list("set-cookie"))
    html = web.get("/", headers={"Cookie": cookies})
    root = html.one("html")
    assert (root.get("lang"), root.get("data-theme")) == ("zh-CN", "dark")
    assert html.text(".//*[@class='likes']/a") == "Asia/Shanghai"
    wrong = web.ask("POST", "/preferences", None, data={"zone": "Mars/Olympus"})
    assert wrong.status_code == 422
    assert "Mars/Olympus" in wrong.text
