"""What a spreadsheet shows for a number by its format: a date, a length of time, or text such as ``10%``.

ECMA-376 part 1, 18.8.30 and 18.8.31. Only a format's section for positive numbers is used.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Kind = Literal["number", "date", "length"]

#: The formats that files give by number only.
_BUILT_IN = {
    **dict(enumerate(("General", "0", "0.00", "#,##0", "#,##0.00"))),
    **dict.fromkeys((5, 6), "$#,##0"),
    **dict.fromkeys((7, 8), "$#,##0.00"),
    **{9: "0%", 10: "0.00%", 11: "0.00E+00", 12: "# ?/?", 13: "# ??/??"},
    **dict.fromkeys((*range(14, 18), *range(27, 32), 36, *range(50, 59)), "yyyy-mm-dd"),
    **dict.fromkeys((*range(18, 22), *range(32, 36)), "h:mm:ss"),
    **{22: "yyyy-mm-dd h:mm", 45: "mm:ss", 46: "[h]:mm:ss", 47: "mm:ss.0", 48: "##0.0E+0", 49: "@"},
    **dict.fromkeys((37, 38, 41), "#,##0"),
    **dict.fromkeys((39, 40, 43), "#,##0.00"),
    **{42: "$#,##0", 44: "$#,##0.00"},
}
#: Day 0 of each date system; that of 1900 counts a 29 February that did not exist.
_EPOCH_1900 = datetime.datetime(1899, 12, 30)  # noqa: DTZ001 - a cell has no zone
_EPOCH_1904 = datetime.datetime(1904, 1, 1)  # noqa: DTZ001
_LAST_DAY = 2_958_466
_DAY_MS = 86_400_000
_SECONDS = {"h": 3600, "m": 60, "s": 1}


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How a spreadsheet shows numbers of one format."""

    kind: Kind
    prefix: str = ""
    suffix: str = ""
    scale: int = 1
    whole_digits: int = 0
    decimals: int | None = None
    """Places after the point; None shows all that the number has."""
    optional: int = 0
    """How many of them are not shown when they are zeros."""
    grouped: bool = False
    odd: bool = False
    """A fraction, power or another format that is not supported here."""
    spelled: tuple[tuple[str, str], ...] = ()
    """The parts of a length of time with their units."""
    has_day: bool = False
    """Whether a date or time shows a day, and not only a time."""

    def shown(self, number: float) -> str | None:
        """The number as the spreadsheet shows it, with a decimal point; None when it is not known."""
        if self.odd or number < 0:
            return None
        scaled = number * self.scale
        if self.decimals is None:
            text = f"{scaled:.15g}"
            return None if "e" in text else f"{self.prefix}{text}{self.suffix}"
        text = f"{float(f'{scaled:.15g}'):{',' if self.grouped else ''}.{self.decimals}f}"
        whole, point, places = text.partition(".")
        if self.optional and places:
            kept = places[: self.decimals - self.optional]
            places = kept + places[len(kept) :].rstrip("0")
        text = whole.zfill(self.whole_digits) + (point + places if places else "")
        return f"{self.prefix}{text}{self.suffix}"


#: Shows numbers unchanged.
GENERAL = NumberFormat("number")


def built_in(number: int) -> NumberFormat:
    """The format that a file gives by number."""
    return read_format(_BUILT_IN.get(number, "General"))


@lru_cache(1024)
def read_format(code: str) -> NumberFormat:
    """A format by its code, such as ``0.00%`` or ``dd/mm/yyyy``."""
    tokens = list(_tokens(code[:255]))
    marks = "".join(text for kind, text in tokens if kind == "mark")
    lower = marks.lower()
    if any(kind == "span" for kind, _ in tokens):
        return NumberFormat("length", spelled=tuple(_spelled(tokens)))
    if lower == "@":
        return GENERAL
    if "general" in lower:
        return _with_words(tokens, GENERAL)
    if any(letter in lower for letter in "ymdhs"):
        return NumberFormat("date", has_day=bool(set("yd") & set(lower)))
    return _with_words(tokens, _digits_of(marks))


def _tokens(code: str) -> Iterator[tuple[str, str]]:
    """``mark``: lays digits out; ``word``: literal text; ``span``: a length of time, as in [h]."""
    at, end = 0, len(code)
    while at < end and code[at] != ";":
        letter = code[at]
        if letter == '"':
            close = code.find('"', at + 1)
            close = end if close < 0 else close
            yield "word", code[at + 1 : close]
            at = close
        elif letter == "[":
            close = code.find("]", at)
            close = end if close < 0 else close
            yield from _in_brackets(code[at + 1 : close])
            at = close
        elif letter == "\\":
            yield "word", code[at + 1 : at + 2]
            at += 1
        elif letter in "_*":  # a gap as wide as the next letter, or filled with it
            at += 1
        elif letter in "$€£¥₹₽₩ ()+-'~":
            yield "word", letter
        else:
            yield "mark", letter
        at += 1


def _in_brackets(inner: str) -> Iterator[tuple[str, str]]:
    if inner.startswith("$"):
        yield "word", inner[1:].partition("-")[0]
    elif inner and not set(inner.lower()) - set("hms"):
        yield "span", inner


def _digits_of(marks: str) -> NumberFormat:
    """The layout of a code such as ``#,##0.00%``."""
    digits = marks.rstrip("%")
    body = digits.rstrip(",")  # each comma at the end divides by a thousand
    whole, _, places = body.partition(".")
    if set(whole) - set("#0?,") or set(places) - set("0#?") or len(body) != len(digits):
        return NumberFormat("number", odd=True)
    return NumberFormat(
        "number",
        suffix="%" * (len(marks) - len(digits)),
        scale=100 ** (len(marks) - len(digits)),
        # The first 0 shows all digits behind it: 0#### makes 00012 of 12.
        whole_digits=len(whole[whole.find("0") :].replace(",", "")) if "0" in whole else 0,
        decimals=len(places),
        optional=len(places) - places.rfind("0") - 1,
        grouped="," in whole,
        odd="?" in body,
    )


def _with_words(tokens: list[tuple[str, str]], laid_out: NumberFormat) -> NumberFormat:
    """The layout with the words before and after the digits. Words among the digits make it ``odd``."""
    places = [n for n, (kind, _) in enumerate(tokens) if kind == "mark"]
    first, last = (places[0], places[-1]) if places else (len(tokens), len(tokens))
    prefix = "".join(text for _, text in tokens[:first])
    suffix = "".join(text for _, text in tokens[last + 1 :])
    among = any(kind == "word" for kind, _ in tokens[first:last])
    return NumberFormat(
        laid_out.kind,
        prefix,
        laid_out.suffix + suffix,
        laid_out.scale,
        laid_out.whole_digits,
        laid_out.decimals,
        laid_out.optional,
        laid_out.grouped,
        laid_out.odd or among or not places,
    )


def as_instant(days: float, *, since_1904: bool) -> str | None:
    """A count of days as ISO 8601: a time below one day, a date when it is whole. None when it is no date, such as 29
    February 1900.
    """
    if not 0 <= days < _LAST_DAY:
        return None
    milliseconds = round(days * _DAY_MS)
    if not since_1904 and milliseconds // _DAY_MS == 60:
        return None
    if not since_1904 and milliseconds < 60 * _DAY_MS and days >= 1:
        milliseconds += _DAY_MS
    moment = (_EPOCH_1904 if since_1904 else _EPOCH_1900) + datetime.timedelta(milliseconds=milliseconds)
    if days < 1:
        return moment.time().isoformat()
    return (moment.date() if milliseconds % _DAY_MS == 0 else moment).isoformat()


def as_length(days: float, format: NumberFormat) -> str | None:
    """A count of days as its format shows it: 36:00 for [h]:mm, cut off below the smallest unit. None when it is longer
    than a spreadsheet shows.
    """
    if abs(days) >= _LAST_DAY:
        return None
    places = sum(len(text) for unit, text in format.spelled if unit == "0")
    left = round(abs(days) * 86_400 * 10**places)
    made = "-" if days < 0 else ""
    for unit, text in format.spelled:
        if unit in _SECONDS:
            count, left = divmod(left, _SECONDS[unit] * 10**places)
            text = f"{count:0{len(text)}}"
        elif unit == "0":
            text = f"{left:0{places}}"
        made += text
    return made


def _spelled(tokens: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """(unit, text) of each part of a length of time; the unit is 0 for a second's decimals, empty for words."""

    def unit(token: tuple[str, str]) -> str:
        kind, text = token
        letter = text[:1].lower()
        return letter if kind != "word" and letter in (*_SECONDS, "0") else ""

    for which, parts in itertools.groupby(tokens, unit):
        yield which, "".join(text for _, text in parts)
