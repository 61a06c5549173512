"""The page of a campaign in a browser: acts in dialogs, the chart, and what axe finds on its parts."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Console, OpenTab, Tab

PARTS = ("", "/refusals", "/timeline", "/breakdown", "/retry", "/cancel", "/settings")


def test_it_is_paused_and_resumed_in_dialogs_and_follows_the_ledger(tab: Tab, console: Console) -> None:
    id = console.ids["campaigns"][0]
    page = tab.open(f"/campaigns/{id}")
    expect(page.locator("#throughput canvas")).to_be_visible()
    # Drawn once more, as when the window changes its size, it takes its numbers from the table and not from the legend.
    page.set_viewport_size({"width": 1000, "height": 700})
    page.get_by_role("button", name="Pause", exact=True).click()
    dialog = page.get_by_role("dialog")
    tab.check_accessible()
    dialog.get_by_label("Reason").fill("a look at it")
    dialog.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("spring is paused")).to_be_visible()
    expect(page.locator("#state")).to_contain_text("a look at it")
    page.get_by_role("button", name="Resume", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause", exact=True)).to_be_visible()
    expect(page.locator("#throughput canvas")).to_be_visible()


def test_its_pages_are_accessible_and_fit(open_tab: OpenTab, console: Console) -> None:
    id = console.ids["campaigns"][0]
    tab = open_tab(language="zh-CN", width=360, dark=True)
    for path in [*(f"/campaigns/{id}{part}" for part in PARTS), f"/exports?campaign={id}"]:
        tab.open(path)
        tab.check_accessible()
        tab.check_width()
