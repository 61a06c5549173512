"""A report as one HTML page: head, figures, and a section each for the funnel, times, countries, failures and acts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

from bulksend import __version__
from bulksend.messaging.units import zone_of
from bulksend.operations.act_changes import change_text
from bulksend.operations.breakdown import Breakdown
from bulksend.operations.report.charts import Bar, Part, Series, bars, columns
from bulksend.operations.report.html import figure, paragraph, percent, section, table, written
from bulksend.operations.report.style import POLICY, STYLE
from bulksend.operations.report.texts import Texts

#: Up to this many hours are shown one by one, where no larger share of all came later; else days.
MOST_HOURS, MOST_LATER = 72, 0.1
#: The last hours with no larger share of all are shown together.
TAIL = 0.02
#: Bars of countries and reasons; the tables have all.
MOST_BARS = 12
#: About as many labels fit below an axis.
_LABELS = 7
_FUNNEL = ("rows", "messages", "accepted", "delivered", "read")
_OVER_TIME = ("accepted", "delivered", "read", "failed")
_HOUR = timedelta(hours=1)
#: Two reasons that differ only in a number, such as the row that a key stands for, are one reason.
_NUMBERS = re.compile(r"[0-9]+")


class ReportPage:
    """Writes the page about a campaign. ``shown`` is what ``campaigns show`` has, with all numbers masked."""

    def __init__(self, shown: Mapping[str, Any], counts: Breakdown, zone: str, texts: Texts) -> None:
        self._shown = shown
        self._counts = counts
        self._zone_name = zone
        self._zone: ZoneInfo = zone_of(zone)
        self._texts = texts

    def html(self) -> str:
        """The whole page."""
        texts = self._texts
        body = "".join(
            [
                *(self._head(), self._figures(), self._funnel(), self._times(), self._countries()),
                *(self._failures(), self._refused(), self._acts()),
                f"<footer>{written(texts.footer.format(version=__version__))}</footer>",
            ]
        )
        return (
            f'<!doctype html>\n<html lang="{texts.language}"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="robots" content="noindex"><meta name="color-scheme" content="light dark">'
            f"<title>{escape(self._shown['name'])} – {escape(texts.title)}</title>"
            f"<style>{STYLE}</style></head><body>{body}</body></html>\n"
        )

    def _head(self) -> str:
        texts, shown = self._texts, self._shown
        facts = {
            texts.kind: texts.kinds.get(shown["kind"], shown["kind"]),
            texts.type: shown["type"],
            texts.sender: shown["sender"],
            texts.created: texts.by.format(self._time(shown["created_at"]), shown["created_by"]),
            texts.due: self._time(shown["due_at"]) if shown["due_at"] else texts.not_scheduled,
            texts.ended: self._time(shown["ended_at"]) if shown["ended_at"] else texts.not_ended,
            texts.made: self._time(self._counts["at"]),
        }
        lines = "".join(f"<dt>{written(name)}</dt><dd>{written(value)}</dd>" for name, value in facts.items())
        status = texts.statuses.get(shown["status"], shown["status"])
        why = f": {shown['pause_why']}" if shown["pause_why"] and shown["paused_at"] else ""
        return (
            f'<header><p class="soft">{written(texts.title)}</p><h1>{written(shown["name"])}</h1>'
            f'<p><b>{written(status)}</b>{written(why)}</p><dl class="facts">{lines}</dl>'
            f"{paragraph(texts.zone.format(self._zone_name), soft=True)}</header>"
        )

    def _figures(self) -> str:
        texts, funnel = self._texts, self._counts["funnel"]
        all_ = funnel["messages"]
        attempts = texts.attempts.format(f"{self._shown['attempts']:,}")
        items = [(texts.steps["messages"], all_, attempts)]
        for name in ("accepted", "delivered", "read", "failed", "unknown", "unsent", "open"):
            if funnel[name] or name in _FUNNEL:
                share = texts.of_messages.format(percent(funnel[name], all_))
                items.append((texts.steps[name], funnel[name], share))
        items.append((texts.steps["replies"], funnel["replies"], texts.replies))
        lines = "".join(
            f"<li><span>{written(name)}</span><b>{written(n)}</b><span>{written(note)}</span></li>"
            for name, n, note in items
        )
        return f'<ul class="figures" aria-label="{escape(texts.figures)}">{lines}</ul>'

    def _funnel(self) -> str:
        texts, funnel = self._texts, self._counts["funnel"]
        rows, drawn = [], []
        before = None
        for name in _FUNNEL:
            label, n = texts.steps[name], funnel[name]
            of_before = "–" if before is None else percent(n, before)
            of_all = "–" if name == "rows" else percent(n, funnel["messages"])
            rows.append((label, n, of_before, of_all))
            number = f"{n:,}" if name == "rows" else f"{n:,} · {of_all}"
            drawn.append(
                Bar(label, [Part(name if name != "messages" else "rows", n, f"{label}: {n:,}")], number)
            )
            before = n
        parts = [
            figure(texts.funnel_caption, bars(drawn, texts.funnel)),
            table([texts.step, texts.count, texts.of_those_before, texts.of_all], rows),
        ]
        if funnel["refused"] or funnel["duplicates"]:
            refused, duplicates = f"{funnel['refused']:,}", f"{funnel['duplicates']:,}"
            parts.append(
                paragraph(texts.not_messages.format(refused=refused, duplicates=duplicates), soft=True)
            )
        return section(texts.funnel, *parts)

    # -- times -------------------------------------------------------------------------------------------

    def _times(self) -> str:
        texts = self._texts
        found = {datetime.fromisoformat(each["hour"]): each for each in self._counts["hours"]}
        if not found:
            return section(texts.hours, paragraph(texts.nothing_sent))
        by_hour = _share_after(found, min(found) + MOST_HOURS * _HOUR) <= MOST_LATER
        places, sums = self._by_hour(found) if by_hour else self._by_day(found)
        # What came later has a row, but no column: it is of more than an hour.
        drawn = [place for place in places if place != texts.later]
        series = [
            Series(name, texts.steps[name], [sums[place][name] for place in drawn])
            for name in _OVER_TIME
            if any(sums[place][name] for place in drawn)
        ]
        every = max(1, -(-len(drawn) // _LABELS))
        labels = [(n, place[5:]) for n, place in enumerate(drawn) if n % every == 0]
        head = [texts.hour if by_hour else texts.day, *(texts.steps[name] for name in _OVER_TIME)]
        rows = [
            (place, *(sums[place][name] for name in _OVER_TIME))
            for place in places
            if any(sums[place].values())
        ]
        caption = texts.hours_caption if by_hour else texts.days_caption
        if len(drawn) < len(places):
            caption += f" {texts.later_caption}"
        return section(
            texts.hours, figure(caption, columns(series, drawn, labels, texts.hours)), table(head, rows)
        )

    def _by_hour(
        self, found: Mapping[datetime, Mapping[str, Any]]
    ) -> tuple[list[str], Mapping[str, Counter[str]]]:
        """Each hour from the first on, by its name, and what came later; in the hour that comes twice, of both."""
        sums: dict[str, Counter[str]] = {}
        end = min(_before_tail(found), min(found) + (MOST_HOURS - 1) * _HOUR)
        for hour in _steps(min(found), end, _HOUR):
            named = f"{hour.astimezone(self._zone):%Y-%m-%d %H:%M}"
            sums.setdefault(named, Counter()).update(_counted(found.get(hour, {})))
        for hour, each in found.items():
            if hour > end:
                sums.setdefault(self._texts.later, Counter()).update(_counted(each))
        return list(sums), sums

    def _by_day(
        self, found: Mapping[datetime, Mapping[str, Any]]
    ) -> tuple[list[str], Mapping[str, Counter[str]]]:
        """Each day of the zone from the first to the last."""
        days = {hour: hour.astimezone(self._zone).date() for hour in found}
        first, last = min(days.values()), max(days.values())
        sums = {f"{first + timedelta(days=n)}": Counter[str]() for n in range((last - first).days + 1)}
        for hour, each in found.items():
            sums[f"{days[hour]}"].update(_counted(each))
        return list(sums), sums

    # -- countries, failures, rows -----------------------------------------------------------------------

    def _countries(self) -> str:
        texts, found = self._texts, self._counts["countries"]
        names = ("read", "delivered", "accepted", "failed", "unknown", "unsent", "open")
        if not found:
            return ""

        def bar(label: str, each: Mapping[str, int]) -> Bar:
            parts = [Part(name, n, f"{label}: {texts.steps[name]} {n:,}") for name, n in _ends(each).items()]
            return Bar(label, parts, f"{each['messages']:,}")

        drawn = [bar(texts.country_name(each["country"]), each) for each in found[:MOST_BARS]]
        if rest := found[MOST_BARS:]:
            total = {name: sum(each[name] for each in rest) for name in ("messages", *names)}
            drawn.append(bar(texts.other_countries.format(f"{len(rest):,}"), total))
        used = {name: texts.steps[name] for name in names if any(_ends(each)[name] for each in found)}
        head = [texts.country, *(texts.steps[name] for name in ("messages", "accepted", "delivered", "read"))]
        head += [texts.steps[name] for name in ("failed", "unknown")]
        rows = [
            (
                texts.country_name(each["country"]),
                *(each[name] for name in ("messages", "accepted", "delivered", "read", "failed", "unknown")),
            )
            for each in found
        ]
        caption = figure(texts.countries_caption, bars(drawn, texts.countries), used)
        return section(texts.countries, caption, table(head, rows))

    def _failures(self) -> str:
        texts, found = self._texts, self._counts["failures"]
        if not found:
            return section(texts.failures, paragraph(texts.nothing_failed))
        colours = {"failed": "failed", "unknown": "unknown", "expired": "unsent"}
        drawn = [
            Bar(
                " ".join(each[name] for name in ("code", "sentence") if each[name]) or each["status"],
                [Part(colours[each["status"]], each["count"], f"{each['sentence']}: {each['count']:,}")],
                f"{each['count']:,}",
            )
            for each in found[:MOST_BARS]
        ]
        rows = [
            (
                self._status(each["status"]),
                each["count"],
                each["code"] or "–",
                each["sentence"],
                each["remedy"],
            )
            for each in found
        ]
        legend = {
            colours[status]: self._status(status)
            for status in dict.fromkeys(each["status"] for each in found)
        }
        notes = [
            paragraph(
                texts.newest.format(counted=f"{n:,}", all=f"{of:,}", status=self._status(status)), soft=True
            )
            for status, n in self._counts["failures_of"].items()
            if n < (of := self._counts["statuses"].get(status, 0))
        ]
        head = ["", texts.count, texts.code, texts.reason, texts.remedy]
        chart = figure(texts.failures_caption, bars(drawn, texts.failures), legend)
        return section(texts.failures, chart, *notes, table(head, rows, words=(3, 4)))

    def _status(self, status: str) -> str:
        return self._texts.steps.get(status, status)

    def _refused(self) -> str:
        texts, shown = self._texts, self._shown
        if not shown["refused_count"]:
            return ""
        groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for row in shown["refused"]:
            groups.setdefault((row["field"], _NUMBERS.sub("0", row["why"])), []).append(row)
        rows = sorted(
            ((len(same), field, same[0]["why"], same[0]["row"]) for (field, _), same in groups.items()),
            key=lambda each: (-each[0], each[3]),
        )
        parts = [paragraph(texts.refused_caption)]
        if len(shown["refused"]) < shown["refused_count"]:
            counted, of = f"{len(shown['refused']):,}", f"{shown['refused_count']:,}"
            parts.append(paragraph(texts.refused_shown.format(shown=counted, all=of), soft=True))
        head = [texts.rows, texts.field, texts.why, texts.first_row]
        return section(texts.refused, *parts, table(head, rows, words=(2,)))

    def _acts(self) -> str:
        texts, acts = self._texts, self._shown["acts"]
        if not acts:
            return ""
        rows = [(self._time(each["at"]), each["act"], each["actor"], _why(each)) for each in acts]
        return section(texts.acts, table([texts.when, texts.act, texts.actor, texts.why], rows, words=(3,)))

    def _time(self, instant: str) -> str:
        return f"{datetime.fromisoformat(instant).astimezone(self._zone):%Y-%m-%d %H:%M:%S}"


def _why(act: Mapping[str, Any]) -> str:
    """Why it was done, and what it changed, unless the act itself says so."""
    change = "" if act["act"] in ("pause", "resume") else change_text(act.get("before"), act.get("after"))
    return f"{act['why']} ({change})" if change else str(act["why"])


def _steps(first: datetime, last: datetime, step: timedelta) -> Iterator[datetime]:
    while first <= last:
        yield first
        first += step


def _share_after(found: Mapping[datetime, Mapping[str, Any]], end: datetime) -> float:
    """Which share of all that happened came at or after ``end``."""
    sums = {hour: sum(_counted(each).values()) for hour, each in found.items()}
    return sum(n for hour, n in sums.items() if hour >= end) / max(1, sum(sums.values()))


def _before_tail(found: Mapping[datetime, Mapping[str, Any]]) -> datetime:
    """The first hour after which no more than TAIL of all came."""
    left = sum(sum(_counted(each).values()) for each in found.values())
    most = left * TAIL
    for hour in sorted(found):
        left -= sum(_counted(found[hour]).values())
        if left <= most:
            return hour
    return max(found)


def _counted(hour: Mapping[str, Any]) -> dict[str, int]:
    return {name: hour.get(name, 0) for name in _OVER_TIME}


def _ends(each: Mapping[str, int]) -> dict[str, int]:
    """The same messages by the furthest that each came, so that their sum is that of all messages."""
    sent = each["messages"] - sum(each[name] for name in ("failed", "unknown", "unsent", "open"))
    read = min(each["read"], sent)
    delivered = max(read, min(each["delivered"], sent))
    furthest = {"read": read, "delivered": delivered - read, "accepted": sent - delivered}
    return furthest | {name: each[name] for name in ("failed", "unknown", "unsent", "open")}
