"""What holds for every page, with an id or without: axe finds nothing, and at 320 px nothing scrolls sideways."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from bulksend.operations.access import Role
from tests.browser.conftest import Console, OpenTab
from tests.browser.pages import PAGES, of_everything


@pytest.fixture(scope="module")
def addresses(console: Console) -> list[str]:
    """Of all pages."""
    return [*PAGES, *of_everything(console.url, console.token(Role.ADMIN), console.ids).values()]


@pytest.mark.parametrize(
    ("language", "width", "dark", "other_widths"),
    [("en", 1280, False, (768, 360, 320)), ("zh-CN", 360, True, (1024,))],
)
def test_every_page_is_accessible_and_at_no_width_scrolls_sideways(
    open_tab: OpenTab,
    addresses: list[str],
    language: str,
    width: int,
    dark: bool,
    other_widths: tuple[int, ...],
) -> None:
    tab = open_tab(language=language, width=width, dark=dark)
    for path in addresses:
        page = tab.open(path)
        assert page.locator("html").get_attribute("lang") == language
        tab.check_accessible()
        tab.check_width()
        page.evaluate("for (const each of document.querySelectorAll('main details')) each.open = true")
        for other in other_widths:
            tab.resize(other)
            tab.check_width()
            tab.check_no_table_scrolls()
        tab.resize(width)
    stranger = open_tab(None, language=language, width=width, dark=dark)
    stranger.open("/sign-in")
    stranger.check_accessible()
    stranger.check_width()


def test_in_a_narrow_window_a_row_is_a_card_and_still_a_row_to_those_who_hear_it(open_tab: OpenTab) -> None:
    page = open_tab(width=360).open("/campaigns")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="spring"))
    name, status = row.get_by_role("rowheader"), row.get_by_role("cell", name="Running", exact=True)
    above, below = name.bounding_box(), status.bounding_box()
    assert above is not None
    assert below is not None
    assert above["y"] + above["height"] <= below["y"]
    shown = status.evaluate("(cell) => getComputedStyle(cell, '::before').content")
    assert shown == '"Status" / ""', "it is seen before its cell, and heard as the head of its column"
    expect(page.get_by_role("columnheader", name="Status")).to_have_count(1)
