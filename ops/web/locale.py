"""How texts, numbers and times are written for one viewer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from markupsafe import Markup
from phonenumbers.geodata.locale import LOCALE_DATA

from bulksend.messaging.sentences import RECALLED, Sentence, filled
from ops.web import catalogues

NOTHING = "–"


def known_zone(name: str | None) -> str | None:
    """The name where it is that of a time zone, else None."""
    try:
        return name if name and ZoneInfo(name) else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


@dataclass(frozen=True)
class Locale:
    """A viewer's language and time zone."""

    language: str
    zone: str

    @cached_property
    def _texts(self) -> Mapping[str, str]:
        return catalogues.texts(self.language)

    @cached_property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.zone)

    def t(self, key: str, **values: object) -> str:
        """The text of a key with its placeholders filled; whole numbers are grouped.

        With ``count=1`` the text of ``KEY.one`` where there is one. Raises KeyError for a key that no catalogue has.
        """
        text = self._texts.get(f"{key}.one") if values.get("count") == 1 else None
        if text is None:
            text = self._texts[key]
        return (
            text.format(**{name: self._filled(value) for name, value in values.items()}) if values else text
        )

    def _filled(self, value: object) -> object:
        return self.number(value) if isinstance(value, int) and not isinstance(value, bool) else value

    def has(self, key: str) -> bool:
        """Whether the catalogues have this key."""
        return key in self._texts

    def rich(self, key: str, **values: object) -> Markup:
        """The text of a key in which what stands between backticks is code."""
        return Markup().join(
            Markup("<code>{}</code>").format(part) if number % 2 else part
            for number, part in enumerate(self.t(key, **values).split("`"))
        )

    def sentence(self, text: str | None) -> Markup:
        """What an operation says, in this language; as it is, marked as English, where it has no text in it.

        The words of the vendor and of people stay as they are: they are values of a sentence, or shown without this.
        """
        if not text:
            return Markup().join([NOTHING])
        said = self._said(text)
        if said is None:
            return Markup('<span lang="en">{}</span>').format(text)
        return Markup().join([said])

    def words(self, text: str | None) -> str:
        """Words of a person as they are, or the sentence that a rule wrote where a person writes them."""
        return self._said(text or "") or text or ""

    def _said(self, text: str) -> str | None:
        """A sentence in this language; None for other words. Where a sentence has words that were kept, those too."""
        known = catalogues.sentences(self.language)
        if not known:
            return text
        recall = catalogues.recall(self.language)
        said = text if isinstance(text, Sentence) else recall.sentence(text)
        if said is None or said.key not in known:
            return None
        values = {
            name: (self._said(value) if isinstance(value, Sentence) or name in RECALLED else None) or value
            for name, value in said.values.items()
        }
        return filled(known[said.key], values)

    def word(self, kind: str, value: object) -> str:
        """The word for a value of a closed set, such as a status: the text of ``words.KIND.VALUE``, else the value."""
        return self._texts.get(f"words.{kind}.{value}", str(value))

    def number(self, value: float | None, digits: int = 0) -> str:
        """Grouped by thousands, with at most this number of digits behind the point."""
        if value is None:
            return NOTHING
        text = f"{value:,.{digits}f}"
        return text.rstrip("0").rstrip(".") if digits else text

    def percent(self, part: float | None, whole: float | None = 1, digits: int = 1) -> str:
        """The share of a part in the whole. What is not all of it is never written as 100 %."""
        if part is None or not whole:
            return NOTHING
        share = part / whole * 100
        if part < whole:
            share = min(share, 100 - 10.0**-digits)
        if part > 0:
            share = max(share, 10.0**-digits)
        return (
            f"{self.number(share, digits)}\u202f%"
            if self.language == "en"
            else f"{self.number(share, digits)}%"
        )

    def duration(self, seconds: float | None) -> str:
        """The two largest units of a length of time, such as ``1 h 5 min``."""
        if seconds is None:
            return NOTHING
        if 0 < seconds < 1:
            return self.t("words.unit.ms", n=self.number(seconds * 1000))
        left = round(seconds)
        parts: list[str] = []
        for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
            if left >= size or (unit == "s" and not parts):
                parts.append(self.t(f"words.unit.{unit}", n=self.number(left // size)))
                left %= size
            if len(parts) == 2 or (parts and not left):
                break
        return " ".join(parts)

    def country(self, code: str | None) -> str:
        """The name of an ISO 3166 country; its code where it has none in this language."""
        if code is None:
            return self.t("words.country_unknown")
        names = LOCALE_DATA.get(code, {})
        name = names.get("zh" if self.language == "zh-CN" else "en", code)
        # "*de": the same as in German.
        return names.get(name[1:], code) if name.startswith("*") else name

    def moment(self, at: str | int | datetime) -> datetime:
        """An instant of an operation (ISO 8601, or ms since the epoch) in the viewer's zone."""
        if isinstance(at, int):
            at = datetime.fromtimestamp(at / 1000, UTC)
        return (datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone(self._zone)

    def is_coming(self, at: str) -> bool:
        """Whether an instant of an operation has not come yet."""
        return self.moment(at) > datetime.now(UTC)

    def when(self, at: str | int | datetime | None, *, zone: bool = True, seconds: bool = True) -> str:
        """An instant as text: ``29 Nov 2026, 23:16:05 UTC+1``."""
        if at is None:
            return NOTHING
        moment = self.moment(at)
        clock = moment.strftime("%H:%M:%S" if seconds else "%H:%M")
        if self.language == "en":
            date = f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year},"
        else:
            date = f"{moment.year}-{moment.month:02}-{moment.day:02}"
        return f"{date} {clock} {self.offset(moment)}" if zone else f"{date} {clock}"

    def time(self, at: str | int | datetime | None, *, zone: bool = True, seconds: bool = True) -> Markup:
        """``when`` as an element that programs can read."""
        if at is None:
            return Markup().join([NOTHING])
        machine = self.moment(at).isoformat(timespec="milliseconds")
        shown = self.when(at, zone=zone, seconds=seconds)
        return Markup('<time datetime="{}" title="{}">{}</time>').format(
            machine, f"{machine} {self.zone}", shown
        )

    def offset(self, moment: datetime) -> str:
        """How far the zone is from UTC at an instant: ``UTC``, ``UTC+5:30``."""
        minutes = round((moment.utcoffset() or moment.utcoffset()).total_seconds() / 60)  # type: ignore[union-attr]
        if not minutes:
            return "UTC"
        hours, rest = divmod(abs(minutes), 60)
        return f"UTC{'+' if minutes > 0 else '−'}{hours}{f':{rest:02}' if rest else ''}"


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
