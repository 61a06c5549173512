"""The page of a report from its numbers: hours or days, countries, reasons, and the words for all of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from bulksend.messaging.states import CampaignStatus, Kind
from bulksend.operations.report.page import ReportPage
from bulksend.operations.report.texts import ENGLISH

BEGIN = datetime(2030, 3, 1, 8, tzinfo=UTC)
STEPS = ("messages", "accepted", "delivered", "read", "failed", "unknown", "unsent", "open")
SHOWN: dict[str, Any] = {
    **{
        "name": "spring",
        "kind": "marketing",
        "type": "text",
        "sender": "8615000579987",
        "status": "finished",
    },
    **{"created_at": BEGIN.isoformat(), "created_by": "ann", "due_at": BEGIN.isoformat(), "ended_at": None},
    **{"pause_why": None, "paused_at": None, "attempts": 0, "refused_count": 0, "refused": [], "acts": []},
}


def page(zone: str = "UTC", shown: dict[str, Any] | None = None, **changes: Any) -> str:
    counts: dict[str, Any] = {
        **{
            "campaign_id": "c",
            "name": "spring",
            "status": "finished",
            "at": BEGIN.isoformat(),
            "timezone": None,
        },
        "funnel": dict.fromkeys(("rows", "refused", "duplicates", *STEPS, "replies"), 0),
        **{"statuses": {}, "countries": [], "hours": [], "failures": [], "failures_of": {}},
    }
    return ReportPage(SHOWN | (shown or {}), {**counts, **changes}, zone, ENGLISH).html()  # type: ignore[typeddict-item]


def hour(after: float, **counts: int) -> dict[str, Any]:
    at = BEGIN + timedelta(hours=after)
    return {"hour": at.isoformat(), **dict.fromkeys(("accepted", "delivered", "read", "failed"), 0), **counts}


def first_cells(html: str) -> list[str]:
    """The first cell of each row of the table about times."""
    part = html.split("<h2>When</h2>")[1].split("</section>")[0]
    return re.findall(r"<tr><td[^>]*>([^<]*)</td>", part)


def test_a_few_that_come_late_leave_the_hours_as_they_are() -> None:
    html = page(hours=[hour(0, accepted=95), hour(2, read=3), hour(200, read=1), hour(300, read=1)])
    assert first_cells(html) == ["2030-03-01 08:00", "2030-03-01 10:00", "later"]
    assert '<td>later</td><td class="number">0</td><td class="number">0</td><td class="number">2</td>' in html
    assert "2030-03-01 11:00" not in html


def test_when_many_come_late_days_are_shown() -> None:
    html = page("Asia/Shanghai", hours=[hour(0, accepted=50), hour(80, read=50)])
    # 80 hours after 16:00 in Shanghai it is past midnight.
    assert first_cells(html) == ["2030-03-01", "2030-03-05"]


def test_the_hour_that_comes_twice_is_one_of_both() -> None:
    # In London the clock went from 02:00 back to 01:00 at 01:00 UTC on 27 October 2030.
    twice = [datetime(2030, 10, 27, n, tzinfo=UTC) for n in (0, 1)]
    hours = [{**hour(0, accepted=1), "hour": at.isoformat()} for at in twice]
    html = page("Europe/London", hours=hours)
    assert first_cells(html) == ["2030-10-27 01:00"]
    assert "2030-10-27 01:00: Accepted 2" in html


def test_countries_have_their_names_and_many_small_ones_are_one_bar() -> None:
    def country(code: str | None, n: int) -> dict[str, Any]:
        return {"country": code, **dict.fromkeys(STEPS, 0), "messages": n, "open": n}

    codes = ["GB", "ES", "FR", "IT", "PT", "NL", "BE", "AT", "CH", "SE", "NO", "DK", "FI", None]
    html = page(countries=[country(code, 100 - n) for n, code in enumerate(codes)])
    assert ">United Kingdom</text>" in html
    assert ">2 other countries</text>" in html
    assert "<td>not shown by the number</td>" in html


def test_reasons_of_the_newest_messages_say_so() -> None:
    reason = {
        "status": "failed",
        "count": 2000,
        "error": "x",
        "code": "#131026",
        "sentence": "no",
        "remedy": "failed",
    }
    html = page(failures=[reason], failures_of={"failed": 2000}, statuses={"failed": 12_345})
    assert "Counted from the 2,000 newest of 12,345 messages: Failed." in html


def test_refused_rows_that_differ_in_a_number_are_one_reason() -> None:
    rows = [{"row": n, "field": "key", "why": f"belongs to row {n}"} for n in (7, 8)]
    html = page(shown={"refused": rows, "refused_count": 2})
    assert html.count("belongs to row") == 1


def test_each_status_and_kind_of_a_campaign_has_words() -> None:
    assert set(ENGLISH.statuses) == {status.value for status in CampaignStatus}
    assert set(ENGLISH.kinds) == {kind.value for kind in Kind}
    assert set(STEPS) <= set(ENGLISH.steps)


def test_a_paused_campaign_says_why() -> None:
    html = page(shown={"status": "paused", "paused_at": BEGIN.isoformat(), "pause_why": "a <wrong> picture"})
    assert "‖ paused</b>: a &lt;wrong&gt; picture" in html


def test_an_act_says_what_it_changed_and_a_pause_says_it_already() -> None:
    at = {"at": "2030-03-01T08:00:00.000+00:00", "actor": "ada"}
    acts = [
        {**at, "act": "set", "why": "slower", "before": {"rate": 80.0}, "after": {"rate": 40.0}},
        {
            **at,
            "act": "pause",
            "why": "wrong picture",
            "before": {"paused": False},
            "after": {"paused": True},
        },
    ]
    made = page(shown={**SHOWN, "acts": acts})
    assert "slower (rate: 80 to 40)" in made
    assert "wrong picture</td>" in made
