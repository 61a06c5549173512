"""Statistics: what the page sums up, its filters and zone in the address, and the file."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest

from bulksend.ledger import stats
from bulksend.ledger.stats import MEASURES
from bulksend.operations.access import Role
from tests.integration.web.conftest import ON_ONE_DATABASE, Web

SENDER = "15550100100"
#: A Sunday, 23:00 UTC: a Monday in Shanghai.
SUNDAY = datetime(2026, 11, 22, 23, tzinfo=UTC)


def bucket(at: datetime, kind: str, country: str, code: str = "", **counts: int) -> dict[str, object]:
    """A row of the roll-up."""
    zero: dict[str, object] = dict.fromkeys(MEASURES, 0)
    hour = int(at.timestamp() * 1000)
    return zero | {"hour": hour, "kind": kind, "sender": SENDER, "country": country, "code": code} | counts


@pytest.fixture
def counted(web: Web) -> Web:
    """Two hours of messages, the first long before the second."""
    rows = [
        bucket(
            SUNDAY, "marketing", "GB", accepted=900, delivered=450, read=90, answered=900, latency_ms=180_000
        ),
        bucket(SUNDAY, "marketing", "GB", "131026", failed=100),
        bucket(SUNDAY + timedelta(days=1), "otp", "US", accepted=100, delivered=99),
        bucket(SUNDAY + timedelta(days=1), "otp", "US", "<b>", failed=1),
    ]
    with web.api.ledger.write() as tx:
        stats.add(tx, rows)
    return web


WEEK = "from=2026-11-20&to=2026-11-25&zone=UTC"


def test_the_page_sums_a_time_up(counted: Web) -> None:
    html = counted.get(f"/statistics?{WEEK}", Role.VIEWER)
    assert html.text(".//*[@id='numbers']").startswith("1,000 Accepted 54.9 % Delivered 549")
    # Those that became unknown in this time, which are not those that are unknown now.
    assert "0 Unknown became unknown; some may be settled since" in html.text(".//*[@id='numbers']")
    course = html.rows(".//*[@id='by-time']//tbody/tr")
    assert len(course) == 6 * 24
    assert [row[1:] for row in course if row[1] != "0"] == [
        ["900", "450", "90", "100", "0"],
        ["100", "99", "0", "1", "0"],
    ]
    reasons = html.rows(".//*[@id='reasons']//tbody/tr")
    assert [row[0] for row in reasons] == ["131026", "<b>"]
    assert reasons[0][2] == "100 · 99 %"
    assert reasons[1][1] == "Not in the table of codes"
    assert [row[0] for row in html.rows(".//*[@id='countries']//tbody/tr")] == [
        "United Kingdom",
        "United States",
    ]
    kind = html.rows(".//*[@id='kinds']//tbody/tr")[0]
    assert kind == ["Marketing", "900", "50 %", "10 %", "10 %", "200 ms", "–"]
    assert html.rows(".//*[@id='by-sender']//tbody/tr")[0][0] == f"+{SENDER}"


def test_hours_and_weekdays_are_those_of_the_zone_in_the_address(counted: Web) -> None:
    heat = counted.get(f"/statistics?{WEEK}").rows(".//table[@class='heat']/tbody/tr")
    assert (heat[6][24], heat[0][24]) == ("900", "100")
    there = counted.get("/statistics?from=2026-11-20&to=2026-11-25&zone=Asia/Shanghai")
    heat = there.rows(".//table[@class='heat']/tbody/tr")
    assert (heat[0][8], heat[1][8]) == ("900", "100")
    assert "Asia/Shanghai" in there.text(".//*[@id='week']//caption")
    assert there.fields(".//form[@action='/statistics']")["zone"] == "Asia/Shanghai"
    by_day = counted.get("/statistics?from=2026-11-01&to=2026-11-25&zone=Asia/Shanghai")
    days = [row for row in by_day.rows(".//*[@id='by-time']//tbody/tr") if row[1] != "0"]
    assert [row[1] for row in days] == ["900", "100"]


def test_filters_are_in_the_address(counted: Web) -> None:
    html = counted.get(f"/statistics?{WEEK}&kind=otp&country=us")
    assert html.text(".//*[@id='numbers']").startswith("100 Accepted")
    assert html.fields(".//form[@action='/statistics']")["kind"] == "otp"
    code = counted.get(f"/statistics?{WEEK}&code=131026")
    assert "Only what ended with 131026." in code.text()
    assert "Nothing was sent in this time" in counted.get(f"/statistics?{WEEK}&country=FR").text()


@ON_ONE_DATABASE
@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("from=soon", "is not a date"),
        ("from=2026-11-25&to=2026-11-20", "must not be before"),
        ("from=2026-01-01&to=2026-11-20", "more than 92 days"),
    ],
)
def test_a_wrong_time_is_said_beside_its_field(web: Web, query: str, why: str) -> None:
    html = web.get(f"/statistics?{query}", status=422)
    assert why in html.text(".//form[@action='/statistics']")


def test_the_file_has_every_sum(counted: Web) -> None:
    answer = counted.ask("GET", f"/statistics/statistics.csv?{WEEK}", Role.VIEWER)
    assert answer.headers["content-disposition"].endswith('"statistics-2026-11-20-2026-11-25.csv"')
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert len(rows) == 4
    assert [row["accepted"] for row in rows if row["kind"] == "otp"] == ["100", "0"]
    assert counted.ask("GET", "/statistics/other.csv").status_code == 404
