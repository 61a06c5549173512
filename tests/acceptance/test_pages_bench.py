"""The bench of pages asks every page of the console: what it says of them leaves none out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.routing import iter_route_contexts

from bench import console_ledger, live_tabs, pages
from bench.console import Console, console
from bench.console_ledger import Made
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.key_file import new_encryption_key
from bulksend.settings import Settings
from ops.http.server import services_of
from ops.web.app import create_console

MESSAGES = 2_000
#: The answer of the first never ends, and the tabs have it; the others lead to an issuer and back.
NO_PAGES = {"/live", "/sign-in/oidc", "/sign-in/oidc/callback"}


@pytest.fixture(scope="module")
def filled() -> Iterator[tuple[Console, Made]]:
    key = new_encryption_key()
    with console(None, "sqlite", key=key) as of:
        yield of, console_ledger.make(of.database, MESSAGES, Cipher.from_text(key))


def test_every_page_is_asked_for_and_answers(filled: tuple[Console, Made]) -> None:
    of, made = filled
    services = services_of(Settings.from_env(dict(of.environ), None))
    try:
        routes = iter_route_contexts(create_console(services).routes)
        there = {route.path for route in routes if route.methods and "GET" in route.methods}
    finally:
        services.close()
    wanted = pages.looks(of, made)
    assert {look.route for look in wanted} == there - NO_PAGES
    figures = pages.ask_all(of, wanted, times=1)
    assert {figure.name for figure in figures} == {look.name for look in wanted}
    assert all(figure.p95 >= figure.p50 > 0 and figure.cpu_p95 > 0 for figure in figures)


def test_a_first_load_is_counted_with_all_its_files(filled: tuple[Console, Made]) -> None:
    of, made = filled
    for path in ("/", f"/campaigns/{made.large}"):
        sent, answers = pages.first_load(of, path)
        assert answers >= 4
        assert 20_000 < sent < pages.MOST_BYTES


def test_tabs_hear_of_a_blast_and_ask_for_their_pages_again(filled: tuple[Console, Made]) -> None:
    of, made = filled
    watched = live_tabs.watch(of, made, tabs=4, rate=40, seconds=6)
    assert watched.sent > 0
    assert watched.refreshes >= 4
    assert watched.lost == 0
    assert watched.cores > 0
    assert watched.rss_mb[2] >= watched.rss_mb[0] > 0
