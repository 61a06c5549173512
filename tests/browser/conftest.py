"""The console in a real browser: one Chromium a module, one server with one of everything a test process.

browser        the browser
console        the server: its URL, ledger and ids, and sessions of each role
tab            a tab of an admin; at the end no error of the console, no page of another address, no answer of 500
open_tab       makes one: open_tab(role=…, language="zh-CN", width=360, dark=True)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from bulksend.ledger.database import Database
from bulksend.operations import sessions, users
from bulksend.operations.access import Origin, Role
from ops.http.services import Services
from tests.browser.finding import ARGUMENTS, NoBrowser, find
from tests.seeded import Ids
from tests.served import own_server
from tests.waiting import until

AXE = (Path(__file__).parent / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
#: What a test expects comes within this time also on a machine that is busy with other tests.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
HEIGHT = 900
#: Messages of the browser about an answer that a test asks for are no errors of the page.
_EXPECTED = "Failed to load resource: the server responded with a status of 4"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of a module and not of a session: Playwright has an event loop in this thread, where other tests run theirs."""
    with sync_playwright() as playwright:
        try:
            path = find(playwright.chromium.executable_path)
        except NoBrowser as error:
            pytest.fail(str(error), pytrace=False)
        import os

        arguments = [*ARGUMENTS, "--no-sandbox"] if os.getuid() == 0 else ARGUMENTS
        launched = playwright.chromium.launch(executable_path=path, args=arguments)
        yield launched
        launched.close()


@dataclass
class Console:
    """A server of its own, with one of everything."""

    url: str
    services: Services
    ids: Ids
    key: str
    """An API key of an admin."""
    tokens: dict[Role, str] = field(default_factory=dict)

    @property
    def ledger(self) -> Database:
        return self.services.database

    def link(self, role: Role = Role.ADMIN) -> str:
        """The token of a link that signs a user of the role in."""
        name = f"{role}-user"
        with self.ledger.read() as tx:
            known = [each["name"] for each in users.list_users(tx)]
        if name not in known:
            users.add_user(self.ledger, name=name, role=role, actor="test")
        return str(sessions.make_link(self.ledger, name, actor="test")["link_token"])

    def token(self, role: Role) -> str:
        """The token of a session of that role, made at first use."""
        if role not in self.tokens:
            self.tokens[role] = sessions.use_link(self.ledger, self.link(role), origin=Origin("127.0.0.1"))
        return self.tokens[role]


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with own_server("sqlite", tmp_path_factory.mktemp("console")) as (served, key, ids):
        yield Console(served.url, served.services, ids, key)


class Tab:
    """A tab of the browser. ``page`` is Playwright's."""

    def __init__(self, page: Page, console: Console) -> None:
        self.page, self.console = page, console
        self.wrong: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("request", self._requested)
        page.on("response", self._answered)

    def open(self, path: str) -> Page:
        """Load a page of the console."""
        self.page.goto(self.console.url + path)
        return self.page

    def resize(self, width: int) -> None:
        """Give the window that width, and wait until its charts, which are drawn again a moment later, fit into it."""
        self.page.set_viewport_size({"width": width, "height": HEIGHT})
        until(
            lambda: self.page.evaluate(
                "[...document.querySelectorAll('.plot .u-over')]"
                ".every((each) => each.getBoundingClientRect().right <= document.documentElement.clientWidth)"
            )
        )

    def check_accessible(self, *rules: str) -> None:
        """No violation that axe finds, in what is shown now; of these rules alone, of all where none is named."""
        if self.page.evaluate("typeof axe") == "undefined":
            self.page.evaluate(AXE)
        found: list[dict[str, Any]] = self.page.evaluate(
            "(rules) => axe.run(document, {resultTypes: ['violations'], ...rules}).then((found) => found.violations)",
            {"runOnly": list(rules)} if rules else {},
        )
        said = [
            f"{each['id']}: {each['help']}: {[node['html'] for node in each['nodes']][:3]}" for each in found
        ]
        assert said == [], self.page.url

    def check_width(self) -> None:
        """The page is no wider than the window; a table may be, in a box that scrolls."""
        wide = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert wide <= 0, f"{self.page.url}: {wide} px too wide"

    def check_no_table_scrolls(self) -> None:
        """Each table fits into its box, but for those of charts."""
        wide = self.page.evaluate(
            "[...document.querySelectorAll('.table-box:not(.scrolls)')]"
            ".filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.getAttribute('aria-label'))"
        )
        assert wide == [], self.page.url

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(_EXPECTED):
            self.wrong.append(f"{message.type}: {message.text}")

    def _requested(self, request: Any) -> None:
        if request.url.startswith("data:"):
            return
        if urlsplit(request.url).netloc != urlsplit(self.console.url).netloc:
            self.wrong.append(f"a request of another address: {request.url}")

    def _answered(self, response: Any) -> None:
        if response.status >= 500:
            self.wrong.append(f"{response.status}: {urlsplit(response.url).path}")


OpenTab = Callable[..., Tab]


@pytest.fixture
def open_tab(browser: Browser, console: Console) -> Iterator[OpenTab]:
    opened: list[Tab] = []

    def open(
        role: Role | None = Role.ADMIN,
        *,
        language: str = "en",
        width: int = 1280,
        dark: bool = False,
        **more: Any,
    ) -> Tab:
        size: ViewportSize = {"width": width, "height": HEIGHT}
        context = browser.new_context(
            viewport=size,
            locale=language,
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            **more,
        )
        context.set_default_timeout(PATIENCE_MS)
        if role is not None:
            port = urlsplit(console.url).port
            context.add_cookies(
                [{"name": f"bulksend_session_{port}", "value": console.token(role), "url": console.url}]
            )
        tab = Tab(context.new_page(), console)
        opened.append(tab)
        return tab

    yield open
    for tab in opened:
        tab.page.context.close()
    assert [wrong for tab in opened for wrong in tab.wrong] == []


@pytest.fixture
def tab(open_tab: OpenTab) -> Tab:
    return open_tab()
