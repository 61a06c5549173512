"""The console in a real browser: sign-in, keys, live updates, both languages, narrow and dark, and what axe finds."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import ViewportSize, expect

from bulksend.operations import campaigns
from bulksend.operations.access import Role
from bulksend.operations.campaigns import Act
from tests.browser.conftest import Console, OpenTab, Tab

WIDE: ViewportSize = {"width": 1000, "height": 700}
#: Pages that need no id. Each is looked at in both languages, wide and light, narrow and dark.
PAGES = (
    "/",
    "/campaigns",
    "/codes",
    "/messages",
    "/unknown",
    "/replies",
    "/senders",
    "/templates",
    "/media",
    "/suppressions",
    "/consents",
    "/persons",
    "/statistics",
    "/plans",
    "/search",
    "/preferences",
    "/nothing",
    "/webhooks",
    "/webhooks/new",
    "/keys",
    "/keys/new",
    "/users",
    "/users/new",
    "/account",
    "/acts",
    "/system",
)


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


@pytest.mark.parametrize(("language", "width", "dark"), [("en", 1280, False), ("zh-CN", 360, True)])
def test_every_page_is_accessible_and_fits(open_tab: OpenTab, language: str, width: int, dark: bool) -> None:
    # What axe reads is the same in each language and width, but for the colours.
    rules = ["color-contrast"] if dark else []
    tab = open_tab(language=language, width=width, dark=dark)
    for path in PAGES:
        page = tab.open(path)
        assert page.locator("html").get_attribute("lang") == language
        tab.check_accessible(*rules)
        tab.check_width()
    stranger = open_tab(None, language=language, width=width, dark=dark)
    stranger.open("/sign-in")
    stranger.check_accessible(*rules)
    stranger.check_width()


def test_the_menu_fits_and_leads_to_every_page_without_scripts(open_tab: OpenTab) -> None:
    for width in (1280, 360):
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
    page = tab.page
    page.route("**/live?*", lambda route: route.abort())
    # What the browser says of it is what the test asks for.
    tab.open("/")
    expect(page.get_by_text("Connection lost")).to_be_visible()
    tab.check_accessible()
    page.unroute("**/live?*")
    expect(page.get_by_text("Live, as of")).to_be_visible()
    tab.wrong = [each for each in tab.wrong if "ERR_FAILED" not in each]


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
