"""The console in a real browser: sign-in, keys, live updates, both languages, narrow and dark, and what axe finds."""

from __future__ import annotations

import re
import threading

from playwright.sync_api import Page, Route, ViewportSize, expect

from bulksend.operations import campaigns
from bulksend.operations.access import Role
from bulksend.operations.campaigns import Act
from tests.browser.conftest import Console, OpenTab, Tab

WIDE: ViewportSize = {"width": 1000, "height": 700}


def test_a_link_signs_in_and_a_sign_out_ends_it(open_tab: OpenTab, console: Console) -> None:
    page = open_tab(None).open(f"/sign-in?next=/campaigns#{console.link()}")
    page.wait_for_url("**/campaigns")
    assert "#" not in page.url, "the token is in no address that the browser keeps"
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    page.go_back()
    page.reload()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_the_menu_fits_and_leads_to_every_page_without_scripts(open_tab: OpenTab) -> None:
    for width in (1280, 1024, 768, 360):
        page = open_tab(width=width, java_script_enabled=False).open("/plans")
        more = page.locator("#menu-more")
        expect(page.locator(".menu-bar [aria-current]")).to_have_text("Campaigns")
        more.locator("summary").click()
        more.get_by_role("link", name="API keys").click()
        current = page.locator(".menu-bar [aria-current]")
        expect(current).to_have_text("API keys")
        box, end = current.bounding_box(), page.locator("#menu-more").bounding_box()
        assert box is not None
        assert end is not None
        assert box["x"] + box["width"] <= end["x"]
        assert end["x"] + end["width"] <= width
        assert page.locator(".menu-bar").evaluate("(bar) => bar.scrollWidth <= bar.clientWidth")


def test_the_menu_closes_on_escape_on_a_click_elsewhere_and_when_the_focus_leaves(tab: Tab) -> None:
    page = tab.open("/plans")
    more, button = page.locator("#menu-more"), page.locator("#menu-more summary")
    links = more.locator("a:visible")
    button.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(links.first).to_be_focused()
    tab.check_accessible()
    page.keyboard.press("Escape")
    expect(links).to_have_count(0)
    expect(button).to_be_focused()
    button.click()
    page.locator("h1").click()
    expect(links).to_have_count(0)
    button.click()
    links.last.focus()
    page.keyboard.press("Tab")
    expect(links).to_have_count(0)
    expect(page.get_by_role("button", name="Pause updates")).to_be_focused()
    # A click within it is none elsewhere.
    button.click()
    links.first.click()
    page.wait_for_url(lambda url: not url.endswith("/plans"))


def test_keys_lead_through_the_console(tab: Tab) -> None:
    page = tab.open("/")
    page.keyboard.press("c")
    page.wait_for_url("**/campaigns")
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("gc?")
    expect(page.locator("#search")).to_have_value("gc?")
    page.locator("#main").focus()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    tab.check_accessible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.wait_for_url(re.compile(r":\d+/$"))
    page.keyboard.press("t")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_a_page_follows_the_ledger_and_keeps_what_a_person_does(tab: Tab, console: Console) -> None:
    name = console.ids["campaigns"][0]
    page = tab.open("/campaigns?name=spring")
    expect(page.get_by_role("cell", name="Running")).to_be_visible()
    page.get_by_label("Name", exact=True).fill("half a na")
    act(console, name, Act.PAUSE)
    expect(page.get_by_role("cell", name="Paused")).to_be_visible()
    expect(page.get_by_label("Name", exact=True)).to_have_value("half a na")
    assert "name=spring" in page.url
    act(console, name, Act.RESUME)
    expect(page.get_by_role("cell", name="Running")).to_be_visible()


def test_updates_are_paused_until_a_person_resumes_them(tab: Tab, console: Console) -> None:
    name = console.ids["campaigns"][0]
    page = tab.open("/campaigns?name=spring")
    page.get_by_role("button", name="Pause updates").click()
    page.reload()
    expect(page.get_by_text("Updates paused")).to_be_visible()
    act(console, name, Act.PAUSE)
    page.wait_for_timeout(3_000)
    expect(page.get_by_role("cell", name="Running")).to_be_visible()
    page.get_by_role("button", name="Resume updates").click()
    expect(page.get_by_role("cell", name="Paused")).to_be_visible()
    act(console, name, Act.RESUME)


def test_a_lost_connection_is_said_and_comes_back(tab: Tab) -> None:
    page, cut = tab.page, threading.Event()
    cut.set()
    page.route("**/live?*", lambda route: route.abort() if cut.is_set() else route.continue_())
    # What the browser says of it is what the test asks for.
    tab.open("/")
    expect(page.get_by_text("Connection lost")).to_be_visible()
    tab.check_accessible()
    cut.clear()
    expect(page.get_by_text("Live, as of")).to_be_visible()
    tab.wrong = [each for each in tab.wrong if "ERR_FAILED" not in each]


def leave_first_unanswered(page: Page, address: str) -> None:
    """The first request to this address gets no answer; the later ones go on."""
    first: list[Route] = []

    def handle(route: Route) -> None:
        if first:
            route.continue_()
        else:
            first.append(route)

    page.route(address, handle)


def test_a_connection_that_is_never_answered_is_lost_too(tab: Tab) -> None:
    page = tab.page
    page.clock.install()
    leave_first_unanswered(page, "**/live?*")
    with page.expect_request("**/live?*"):
        tab.open("/")
    page.clock.fast_forward(36_000)
    expect(page.get_by_text("Connection lost")).to_be_visible()
    page.clock.fast_forward(31_000)
    expect(page.get_by_text("Live, as of")).to_be_visible()


def test_a_page_that_is_never_answered_is_asked_for_again(tab: Tab, console: Console) -> None:
    page, name = tab.page, console.ids["campaigns"][0]
    page.clock.install()
    tab.open("/campaigns?name=spring")
    expect(page.get_by_role("cell", name="Running")).to_be_visible()
    leave_first_unanswered(page, "**/campaigns?*")
    with page.expect_request("**/campaigns?*"):
        act(console, name, Act.PAUSE)
    page.clock.fast_forward(36_000)
    expect(page.get_by_text("Connection lost")).to_be_visible()
    page.clock.fast_forward(31_000)
    expect(page.get_by_role("cell", name="Paused")).to_be_visible()
    act(console, name, Act.RESUME)


def test_without_scripts_pages_can_be_read_and_forms_sent(open_tab: OpenTab) -> None:
    page = open_tab(java_script_enabled=False).open("/")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.get_by_role("button", name="简体中文").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    page.locator("a[href='/campaigns']").first.click()
    expect(page.locator("h1")).to_have_text("活动")


def test_a_chart_is_drawn_from_the_table_beneath_it(open_tab: OpenTab) -> None:
    page = open_tab(width=360).open("/")
    figure = page.locator("#hours")
    expect(figure.locator("canvas")).to_have_count(1)
    box = figure.locator("canvas").bounding_box()
    assert box is not None
    assert 200 < box["width"] <= 360
    figure.get_by_text("As a table").click()
    expect(figure.locator("details tbody tr")).to_have_count(24)
    # It is drawn again, from the same table.
    for change in (lambda: page.emulate_media(color_scheme="dark"), lambda: page.set_viewport_size(WIDE)):
        change()
        page.wait_for_timeout(300)
        expect(figure.locator("canvas")).to_have_count(1)
        expect(figure.locator(".u-legend")).to_contain_text("Failed or expired")
    box = figure.locator("canvas").bounding_box()
    assert box is not None
    assert box["width"] > 600


def test_a_viewer_sees_no_button_that_it_may_not_use(open_tab: OpenTab) -> None:
    page = open_tab(Role.VIEWER).open("/campaigns")
    expect(page.get_by_role("link", name="New campaign")).to_have_count(0)


def act(console: Console, campaign: str, what: Act) -> None:
    campaigns.act(
        console.ledger, console.services.limiter, campaign, what, actor="test", why="test", force=True
    )
