"""A campaign from its file to its page, as a person makes it in a browser."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import expect

from bulksend.operations import campaigns
from tests.browser.conftest import Console, OpenTab

FILE = "Mobile,First name\n+447700900555,Ann\n12345,Ben\n"


def test_a_file_is_uploaded_composed_checked_and_sent(
    open_tab: OpenTab, console: Console, tmp_path: Path
) -> None:
    path = tmp_path / "people.csv"
    path.write_text(FILE)
    tab = open_tab(width=360)
    page = tab.open("/campaigns/new")
    tab.check_accessible()
    page.get_by_label("File with the recipients").set_input_files(path)
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url("**/campaigns/new/*-*")
    page.get_by_label("Sender", exact=True).fill("8615000579987")
    page.get_by_label("Type of message").select_option("text")
    expect(page.get_by_label("Template", exact=True)).to_be_hidden()
    page.get_by_label("Text", exact=True).fill("Hi ")
    page.get_by_role("button", name="{{First name}}").click()
    expect(page.get_by_label("Text", exact=True)).to_have_value("Hi {{First name}}")
    tab.check_accessible()
    tab.check_width()
    page.get_by_role("button", name="Check every row").click()
    page.wait_for_url("**/plans/*")
    expect(page.locator(".bubble")).to_have_text("Hi Ann")
    expect(page.locator(".bad-cell")).to_contain_text("12345")
    tab.check_accessible()
    tab.check_width()
    page.get_by_label("Type 1 to send").fill("1")
    page.get_by_role("button", name="Send 1 message", exact=True).dblclick()
    page.wait_for_url("**/campaigns/*")
    id = re.sub(r".*/", "", page.url)
    with console.ledger.read() as tx:
        made = campaigns.find_page(tx, campaigns.Filter(name="people"), limit=10).items
    assert [each["campaign_id"] for each in made] == [id]
