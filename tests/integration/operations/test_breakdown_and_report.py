"""A campaign is counted by step, country, hour and reason, and reported as one page that loads and runs nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from bulksend.errors import WrongState
from bulksend.ledger import campaign_creation, campaigns
from bulksend.ledger.receipts import Receipt
from bulksend.messaging import RefusedRow
from bulksend.messaging.outcome import Refused
from bulksend.messaging.states import Kind, Status
from bulksend.operations.breakdown import break_down
from bulksend.operations.report import report
from tests.integration.ledger.conftest import Desk

HOUR_MS = 3_600_000
#: 2030-03-01T08:00:00Z
MORNING = 1_898_582_400_000


@pytest.fixture
def sent(desk: Desk) -> str:
    """A campaign with a message of each kind in two countries, one of them read; its id."""
    campaign = desk.campaign(name="spring <sale>")
    numbers = ("447700900001", "447700900002", "447700900003", "34600000001", "34600000002")
    planned = [desk.new_message(n, key=number, recipient=number) for n, number in enumerate(numbers, 1)]
    ids = desk.take(campaign, *planned, refused=[RefusedRow(9, "to", "44***", "is too short")]).ready
    lease = desk.lease()
    read, delivered, *_ = desk.accepted(ids[:3], lease)
    desk.receive(Receipt(read, "read", 5), Receipt(delivered, "delivered", 5))
    (opening,) = desk.sent(lease, [ids[3]])
    desk.settle(opening, Refused("131026", "34600000001 cannot be delivered (#131026)"), status=Status.FAILED)
    hours = {0: MORNING, 1: MORNING + HOUR_MS, 2: MORNING + 3 * HOUR_MS}
    for n, at in hours.items():
        desk.sql("UPDATE messages SET accepted_at = :at WHERE id = :id", at=at, id=ids[n])
    desk.sql("UPDATE messages SET delivered_at = accepted_at WHERE delivered_at IS NOT NULL")
    desk.sql("UPDATE messages SET read_at = :at WHERE read_at IS NOT NULL", at=MORNING + HOUR_MS)
    desk.sql("UPDATE messages SET ended_at = :at WHERE status = 'failed'", at=MORNING)
    return campaign.id


def test_a_breakdown_counts_how_far_the_rows_came(desk: Desk, sent: str) -> None:
    found = desk.read(break_down, sent)
    assert found["funnel"] == {
        **{"rows": 6, "refused": 1, "duplicates": 0, "messages": 5, "accepted": 3, "delivered": 2, "read": 1},
        **{"failed": 1, "unknown": 0, "unsent": 0, "open": 1, "replies": 0},
    }
    assert [(each["country"], each["messages"], each["read"]) for each in found["countries"]] == [
        ("GB", 3, 1),
        ("ES", 2, 0),
    ]
    (why,) = found["failures"]
    assert (why["status"], why["count"], why["code"]) == ("failed", 1, "#131026")


def test_a_breakdown_has_the_hours_in_which_something_happened(desk: Desk, sent: str) -> None:
    hours = {each["hour"][11:16]: each for each in desk.read(break_down, sent)["hours"]}
    assert {
        hour: (of["accepted"], of["delivered"], of["read"], of["failed"]) for hour, of in hours.items()
    } == {
        "08:00": (1, 1, 0, 1),
        "09:00": (1, 1, 1, 0),
        "11:00": (1, 0, 0, 0),
    }


def test_what_was_accepted_and_failed_afterwards_counts_as_both(desk: Desk) -> None:
    ids = desk.queued(n=1)
    (message_id,) = desk.accepted(ids)
    desk.receive(Receipt(message_id, "failed", 5, "131026", "not on WhatsApp"))
    funnel = desk.read(break_down, str(desk.row(ids[0])["campaign_id"]))["funnel"]
    assert (funnel["accepted"], funnel["failed"], funnel["delivered"]) == (1, 1, 0)


def test_the_campaign_of_single_sends_has_no_breakdown(desk: Desk) -> None:
    standing = desk.write(campaign_creation.standing_campaign, Kind.OTP)
    with pytest.raises(WrongState, match="bulksend stats"):
        desk.read(break_down, standing.id)


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [of for name, of in self.tags if name == tag]


def page_of(desk: Desk, id: str, **named: Any) -> tuple[str, Page]:
    html = report(desk.database, id, **{"timezone": "Asia/Shanghai", **named})
    return html, Page(html)


def test_a_report_is_one_file_that_loads_nothing_and_runs_nothing(desk: Desk, sent: str) -> None:
    html, page = page_of(desk, sent)
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "img", "link", "iframe", "object", "embed", "base", "form", "a"}
    names = {name for _, of in page.tags for name in of}
    assert not {name for name in names if name.startswith("on")} | names & {"src", "href", "style"}
    assert "url(" not in html
    assert "@import" not in html


def test_a_report_has_no_number_of_a_recipient(desk: Desk, sent: str) -> None:
    html, _ = page_of(desk, sent)
    assert not re.search(r"(?:44770090|3460000)\d{3,}", html)


def test_each_chart_of_a_report_has_a_caption_and_a_table(desk: Desk, sent: str) -> None:
    html, page = page_of(desk, sent)
    charts = [of for of in page.all("svg") if of.get("role") == "img"]
    assert all(of["aria-label"] for of in charts)
    assert len(charts) == len(page.all("figure")) == len(page.all("figcaption")) == 4
    assert all("<table>" in part for part in html.split("</figure>")[1:])


def test_a_report_says_its_zone_and_its_times_are_in_it(desk: Desk, sent: str) -> None:
    _, page = page_of(desk, sent)
    text = " ".join(page.text)
    assert "All times are in the zone Asia/Shanghai." in text
    # 08:00, 09:00 and 11:00 UTC; the hour between them has nothing, and no row.
    assert [hour for hour in ("16:00", "17:00", "18:00", "19:00") if f"2030-03-01 {hour}" in text] == [
        *("16:00", "17:00", "19:00"),
    ]


def test_names_in_a_report_are_text(desk: Desk, sent: str) -> None:
    html, page = page_of(desk, sent)
    assert "spring <sale>" in page.text
    assert "spring <sale>" not in html


def test_a_long_campaign_is_reported_by_the_days_of_its_zone(desk: Desk, sent: str) -> None:
    desk.sql("UPDATE messages SET read_at = :at WHERE read_at IS NOT NULL", at=MORNING + 100 * HOUR_MS)
    text = " ".join(page_of(desk, sent)[1].text)
    assert "on each day" in text
    # The hundredth hour after 16:00 in Shanghai.
    assert [day for day in range(1, 8) if f"2030-03-0{day} " in text] == [1, 5]


def test_a_campaign_without_messages_has_a_report(desk: Desk) -> None:
    campaign = desk.campaign()
    text = " ".join(page_of(desk, campaign.id)[1].text)
    assert "Nothing has been sent yet." in text
    assert "No message has failed" in text
    assert desk.read(campaigns.get, campaign.id).messages == 0
