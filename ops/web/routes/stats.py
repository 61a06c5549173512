"""Statistics, from the roll-up by hour alone. The address holds the time, the zone and the filters."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Response

from bulksend.errors import InvalidValue, NotFound
from bulksend.messaging.states import Kind
from bulksend.operations.senders import list_senders
from bulksend.operations.stats import COLUMNS, DRAWN, digest, show_stats
from ops.export_files import csv_lines
from ops.web.locale import known_zone
from ops.web.pages import Page, ViewerPage
from ops.web.problems import Problem, problem_of

router = APIRouter()
#: Days that a link shows up to now; without a filter the first one.
SPANS = (7, 1, 30, 90)
FILE = "statistics.csv"
_BY = ("hour", "kind", "sender", "country", "code")

Text = Annotated[str, Query(max_length=64)]


@router.get("/statistics")
def statistics(
    page: ViewerPage,
    from_: Annotated[str, Query(alias="from", max_length=10)] = "",
    to: Annotated[str, Query(max_length=10)] = "",
    zone: Text = "",
    kind: Text = "",
    sender: Text = "",
    country: Text = "",
    code: Text = "",
) -> Response:
    """Messages in the course of time, by hour and weekday, by kind, sender, country and reason."""
    only = {"kind": kind, "sender": sender.removeprefix("+"), "country": country.upper(), "code": code}
    asked = {"from": from_, "to": to, "zone": zone} | only
    shown_zone = known_zone(zone) or page.locale.zone
    problem: Problem | None = None
    try:
        begin, end = _days(from_, to, ZoneInfo(shown_zone))
        found = _digest(page, begin, end, shown_zone, only)
    except InvalidValue as error:
        problem = problem_of(error)
        begin, end = _days("", "", ZoneInfo(shown_zone))
        found = _digest(page, begin, end, shown_zone, only)
    return page.render(
        "statistics.html",
        problem=problem,
        found=found,
        asked=asked,
        zone=shown_zone,
        spans=[(days, _span(days, shown_zone)) for days in SPANS],
        is_filtered=any(only.values()),
        kinds=list(Kind),
        senders=[(each.phone, f"+{each.phone}") for each in list_senders(page.database)],
        course=[[step["at"], *(step[name] for name in DRAWN)] for step in found["course"]],
        compact=lambda value: _compact(value, page.locale.language),
        file=FILE,
        days=(begin.date().isoformat(), (end - timedelta(microseconds=1)).date().isoformat()),
    )


def _compact(value: int, language: str) -> str:
    """A number in at most five characters, for a narrow cell."""
    units = ((10_000, "万"), (1, "")) if language == "zh-CN" else ((1_000_000, "M"), (1_000, "k"), (1, ""))
    size, unit = next(each for each in units if value >= each[0] or each[0] == 1)
    amount = value / size
    return f"{amount:.1f}".removesuffix(".0") + unit if unit and amount < 100 else f"{amount:.0f}{unit}"


def _digest(page: Page, begin: datetime, end: datetime, zone: str, only: dict[str, str]) -> dict[str, Any]:
    given = {name: value for name, value in only.items() if value}
    return digest(page.database, begin=begin, end=end, zone=ZoneInfo(zone), only=given)


def _span(days: int, zone: str) -> dict[str, str]:
    today = datetime.now(ZoneInfo(zone)).date()
    return {"from": (today - timedelta(days=days - 1)).isoformat(), "to": today.isoformat()}


def _days(first: str, last: str, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """From the beginning of the first day to the end of the last one; today is the last where none is named.

    Raises InvalidValue.
    """
    end = _day(last, "to") if last else datetime.now(zone).date()
    begin = _day(first, "from") if first else end - timedelta(days=SPANS[0] - 1)
    if end < begin:
        raise InvalidValue("to", last, "must not be before from")
    return (
        datetime.combine(begin, time(), zone),
        datetime.combine(end + timedelta(days=1), time(), zone),
    )


def _day(text: str, field: str) -> date:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise InvalidValue(field, text, "is not a date, like 2026-11-30") from None
    if not 2000 <= found.year <= 9000:
        raise InvalidValue(field, text, "is no date of messages")
    return found


@router.get("/statistics/{file}")
def download(
    page: ViewerPage,
    file: str,
    from_: Annotated[str, Query(alias="from", max_length=10)] = "",
    to: Annotated[str, Query(max_length=10)] = "",
    zone: Text = "",
) -> Response:
    """All sums of this time as CSV, by hour, kind, sender, country and code. Raises InvalidValue, InvalidInput."""
    if file != FILE:
        raise NotFound("there is no such file")
    shown_zone = known_zone(zone) or page.locale.zone
    begin, end = _days(from_, to, ZoneInfo(shown_zone))
    found = show_stats(
        page.database,
        _BY,
        since=begin.isoformat(),
        until=end.isoformat(),
        timezone=shown_zone,
        fields=("from", "to"),
    )
    name = f"statistics-{begin.date()}-{(end - timedelta(days=1)).date()}.csv"
    return Response(
        b"".join(csv_lines(found["items"], COLUMNS)),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
