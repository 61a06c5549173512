"""Search by the keyboard, the message that it finds, and settling one that may have gone out."""

from __future__ import annotations

from bulksend.messaging import Kind
from bulksend.messaging.outcome import Unknown
from tests.browser.conftest import Console, OpenTab
from tests.integration.ledger.conftest import Desk
from tests.seeded import NUMBER


def test_a_number_is_found_by_the_keyboard_and_back_keeps_the_list(open_tab: OpenTab) -> None:
    tab = open_tab()
    page = tab.open("/campaigns")
    page.keyboard.press("/")
    page.keyboard.type(f"+{NUMBER}")
    page.keyboard.press("Enter")
    page.wait_for_selector("h2#messages-title")
    assert NUMBER not in page.url
    tab.check_accessible()
    page.get_by_role("link", name=f"+{NUMBER}").first.click()
    page.wait_for_selector(".story")
    tab.check_accessible()
    page.go_back()
    page.wait_for_selector("h2#messages-title")


def an_unknown(console: Console, recipient: str) -> str:
    """A message that may have gone out, of another sender and account: those of the others are paused here."""
    desk = Desk(console.services.database)
    desk.cipher = console.services.cipher
    (stored,) = desk.send(desk.new_send(recipient=recipient, sender="15550100199"), kind=Kind.UTILITY)
    id, lease = stored.id, desk.lease()
    (opening,) = desk.openings(desk.claim(lease, [id], account="other"))
    desk.open(lease, [opening], account="other")
    desk.settle(opening, Unknown("ReadTimeout"))
    return id


def test_an_unknown_message_is_settled_on_a_small_screen_in_chinese(open_tab: OpenTab) -> None:
    tab = open_tab(language="zh-CN", width=360, dark=True)
    id = an_unknown(tab.console, "447700900777")
    page = tab.open(f"/messages/{id}")
    tab.check_accessible()
    tab.check_width()
    page.get_by_label("未发出").check()
    page.get_by_label("原因").fill("厂商没有记录")
    page.get_by_role("button", name="登记").click()
    page.wait_for_selector(".said")
    assert "已登记为失败" in page.inner_text(".said")
    tab.check_width()


def test_unknown_messages_are_ticked_and_settled_on_a_small_screen(open_tab: OpenTab) -> None:
    tab = open_tab(width=360)
    for recipient in ("447700900778", "447700900779"):
        an_unknown(tab.console, recipient)
    page = tab.open("/unknown?sender=15550100199")
    tab.check_accessible()
    tab.check_no_table_scrolls()
    for box in page.get_by_role("checkbox").all():
        place = box.bounding_box()
        assert place is not None
        assert min(place["width"], place["height"]) >= 24
        box.check()
    page.get_by_label("They did not go out").check()
    page.get_by_label("Reason").fill("the vendor has no record")
    page.get_by_role("button", name="Count").click()
    page.get_by_label("Type 2").fill("２")
    tab.check_accessible()
    tab.check_width()
    page.get_by_role("button", name="Put 2 messages on record as failed").click()
    page.wait_for_selector(".said")
    assert "2 are on record as failed" in page.inner_text(".said")
