"""A content file is JSON, and stricter than Python's reader (faults, section 7: 24, 36, 37, 38)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.errors import InvalidValue
from bulksend.messaging import load_content_json


def refusal(text: str | bytes) -> str:
    with pytest.raises(InvalidValue) as caught:
        load_content_json(text)
    assert caught.value.field == "content"
    return caught.value.why


def test_a_content_object_is_read_with_and_without_a_byte_order_mark() -> None:
    text = '{"body": "你好 {{name}}", "preview_url": false}'
    expected = {"body": "你好 {{name}}", "preview_url": False}
    assert load_content_json(text) == expected
    assert load_content_json("\ufeff" + text) == expected
    assert load_content_json(text.encode("utf-8-sig")) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b'{"body": "caf\xe9"}', "is not UTF-8 (byte 14); save the file as UTF-8"),
        ('{"latitude": NaN}', "has NaN, which is not a number in JSON"),
        ('{"latitude": -Infinity}', "has -Infinity, which is not a number in JSON"),
        ('{"latitude": 1e400}', "has 1e400, which is too large for a number"),
        ('{"latitude": ' + "9" * 5000 + "}", "has a number of 5,000 digits, which is too large"),
        ('{"body": "a", "body": "b"}', "has the key 'body' twice in one object; remove the wrong one"),
        ('{"a": {"x": 1, "y": 2, "x": 1}}', "has the key 'x' twice in one object; remove the wrong one"),
        ('{"body": "a",}', "is not JSON: Illegal trailing comma before end of object at line 1, column 13"),
        ('{"body":\n "a}', "is not JSON: Unterminated string starting at at line 2, column 2"),
        ('{"body": "a"} {}', "is not JSON: Extra data at line 1, column 15"),
        ("", "is not JSON: Expecting value at line 1, column 1"),
        ('["a"]', "must be a JSON object, like {…}, not a list"),
        ('"a"', "must be a JSON object, like {…}, not a string"),
        ("null", "must be a JSON object, like {…}, not null"),
        ("7", "must be a JSON object, like {…}, not a number"),
        ("[" * 10_000 + "]" * 10_000, "is nested more than 32 levels deep; a Content has at most 6"),
        ('{"a":' * 33 + "1" + "}" * 33, "is nested more than 32 levels deep; a Content has at most 6"),
        (
            '{"body": "' + "a" * 1_000_000 + '"}',
            "has 1,000,012 characters, at most 1,000,000 are allowed; is it the right file?",
        ),
    ],
)
def test_what_is_no_content_is_refused_in_a_sentence(text: str | bytes, why: str) -> None:
    if "trailing comma" in why:  # Python 3.13 has words of its own for it
        assert refusal(text).startswith("is not JSON: ")
    else:
        assert refusal(text) == why


def test_thirty_two_levels_and_any_number_of_brackets_in_strings_are_read() -> None:
    deep = '{"a":' * 32 + "1" + "}" * 32
    assert load_content_json(deep)["a"]["a"]
    assert load_content_json(json.dumps({"body": '[{"\\' * 100})) == {"body": '[{"\\' * 100}


values = st.none() | st.booleans() | st.text(max_size=9) | st.integers() | st.lists(st.integers(), max_size=3)


@given(st.dictionaries(st.text(max_size=5), values, max_size=5))
def test_what_json_wrote_is_read_back(value: dict[str, object]) -> None:
    assert load_content_json(json.dumps(value)) == value


@given(st.text() | st.binary())
def test_any_text_is_an_object_or_a_refusal(text: str | bytes) -> None:
    try:
        value = load_content_json(text)
    except InvalidValue:
        return
    assert isinstance(value, dict)
