"""A content object from JSON text. Unlike Python's parser, it refuses NaN, duplicate keys and 1e400."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from bulksend.errors import InvalidValue

#: Levels of objects and lists. A template has 6.
DEEPEST = 32
#: Far more than the longest template of WhatsApp.
MOST_CHARACTERS = 1_000_000

#: A string, or a bracket outside of one.
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
_MOST_DIGITS = 400


def load_content_json(text: str | bytes) -> dict[str, Any]:
    """The vendor's Content object from JSON text. Raises InvalidValue when it is not an object in valid JSON."""
    if isinstance(text, bytes):
        text = _decoded(text)
    text = text.removeprefix("\ufeff")
    if len(text) > MOST_CHARACTERS:
        raise _wrong(
            f"has {len(text):,} characters, at most {MOST_CHARACTERS:,} are allowed; is it the right file?"
        )
    if text.count("{") + text.count("[") > DEEPEST and _depth(text) > DEEPEST:
        raise _wrong(f"is nested more than {DEEPEST} levels deep; a Content has at most 6")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise _wrong(f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    if not isinstance(value, dict):
        raise _wrong(f"must be a JSON object, like {{…}}, not {_JSON_NAMES.get(type(value), 'a number')}")
    return value


_JSON_NAMES: dict[type, str] = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}


def _wrong(why: str) -> InvalidValue:
    return InvalidValue("content", "", why)


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _wrong(f"is not UTF-8 (byte {error.start + 1}); save the file as UTF-8") from None


def _depth(text: str) -> int:
    deepest = depth = 0
    for found in _STRING_OR_BRACKET.finditer(text):
        if found[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif found[0] in "]}":
            depth -= 1
    return deepest


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _wrong(f"has the key {key[:40]!r} twice in one object; remove the wrong one")
            seen.add(key)
    return made


def _no_constant(name: str) -> NoReturn:
    raise _wrong(f"has {name}, which is not a number in JSON")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _wrong(f"has {text[:20]}, which is too large for a number")
    return number


def _int(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise _wrong(f"has a number of {len(text):,} digits, which is too large")
    return int(text)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_float, parse_int=_int
)
