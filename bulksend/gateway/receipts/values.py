"""Reads values of callbacks: JSON with keys in small letters, ids, numbers of phones, instants."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from bulksend.errors import BulksendError

Fields = Mapping[str, Any]

MAX_ID = 256
#: Instants outside of these years are mistakes: milliseconds.
_EARLIEST, _LATEST = 1_230_768_000_000, 4_102_444_800_000
_MOST_DIGITS = 19
_NOT_DIGITS = re.compile(r"[^0-9]+")
_NUMERIC = re.compile(r"[0-9]{1,19}(\.[0-9]{1,9})?")


class NotJson(BulksendError, ValueError):
    """The body is not JSON that can be read; the text is not private."""


def read_json(body: bytes) -> Any:
    """The body as JSON. Keys are in small letters; of repeated keys the last counts. Raises NotJson."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        # A cut character in a text must not hide the receipts beside it.
        text = body.decode("utf-8-sig", "replace")
    return read_text(text)


def read_text(text: str) -> Any:
    """As ``read_json``, of a text. Raises NotJson."""
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise NotJson(f"it is not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise NotJson("it is nested too deep") from None
    except ValueError:
        raise NotJson("it is not JSON") from None


def _lowered(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key.strip().lower(): value for key, value in pairs}


def _integer(text: str) -> int | str:
    """An integer; one of more than 19 digits stays text: it can only be an id."""
    return int(text) if len(text) <= _MOST_DIGITS else text


#: Made once: ``json.loads`` makes a decoder in each call with hooks.
_DECODER = json.JSONDecoder(object_pairs_hook=_lowered, parse_int=_integer)


def text_of(value: object, most: int = 500) -> str:
    """A string or number as text, else empty."""
    if isinstance(value, str):
        return value[:most].strip()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return ""


def first_text(fields: Fields, names: Iterable[str], most: int = 500) -> str:
    """The first of these fields that has a text."""
    for name in names:
        value = fields.get(name)
        if value is not None and (text := text_of(value, most)):
            return text
    return ""


def id_of(value: object) -> str:
    """An id that the ledger can store whole, else empty: a shortened id could match another message."""
    if isinstance(value, str):
        value = value.strip()
        return value if value and len(value) <= MAX_ID and value.isprintable() else ""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def digits_of(value: object) -> str:
    """A phone number as digits; empty where it is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or len(value) > 40:
        return ""
    digits = value if value.isascii() and value.isdigit() else _NOT_DIGITS.sub("", value)
    return digits if 5 <= len(digits) <= 20 else ""


def first_digits(fields: Fields, names: Iterable[str]) -> str:
    """The first of these fields that holds a phone number."""
    for name in names:
        value = fields.get(name)
        if value is not None and (digits := digits_of(value)):
            return digits
    return ""


def instant_of(value: object) -> int | None:
    """An instant in milliseconds from seconds, milliseconds, micro- or nanoseconds, as number or text, or ISO 8601."""
    if isinstance(value, str):
        if value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS:
            return _in_range(int(value))
        value = value.strip()
        if not _NUMERIC.fullmatch(value):
            return _iso_instant(value)
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return _in_range(value)


def first_instant(fields: Fields, names: Iterable[str]) -> int | None:
    """The first of these fields that holds an instant."""
    for name in names:
        value = fields.get(name)
        if value is not None and (at := instant_of(value)) is not None:
            return at
    return None


def _in_range(number: int | float) -> int | None:
    if number <= 10**11:
        at = int(number * 1000)
    elif number <= 10**14:
        at = int(number)
    else:
        at = int(number // 1000 if number <= 10**17 else number // 1_000_000)
    return at if _EARLIEST <= at <= _LATEST else None


def _iso_instant(text: str) -> int | None:
    """Without an offset it is UTC."""
    if not 8 <= len(text) <= 40:
        return None
    try:
        found = datetime.fromisoformat(text)
        found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
        at = int(found.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
    return at if _EARLIEST <= at <= _LATEST else None
