"""A number is found in whatever way it is written, and no other number is taken for it."""

from __future__ import annotations

from base64 import b64encode

import pytest

from bulksend.messaging.number_traces import NumberTraces
from bulksend.messaging.person_hash import MARK, person_hash

NUMBER = "447700900123"
TRACES = NumberTraces(NUMBER)


@pytest.mark.parametrize(
    "written",
    [
        "447700900123",
        "+44 7700 900123",
        "07700 900123",
        "(0)77-00.900/123",
        "7700900123",
        "to=447700900123&x",
    ],
)
def test_every_notation_is_found_and_masked(written: str) -> None:
    assert TRACES.in_text(written)
    assert TRACES.in_bytes(written.encode())
    assert TRACES.in_bytes(written.encode("utf-16"))
    masked = TRACES.masked(written)
    assert not TRACES.in_text(masked)
    assert "900123" not in masked


@pytest.mark.parametrize("other", ["447700900124", "4477009001234", "44770090012", "1700900123456", ""])
def test_another_number_is_none(other: str) -> None:
    assert not TRACES.in_text(other)
    assert not TRACES.in_bytes(other.encode())


@pytest.mark.parametrize("before", [b"", b"\x1d", b"\x1d\x0b", b"\x1d\x0bA"])
def test_it_is_found_in_base64_wherever_it_begins(before: bytes) -> None:
    wamid = "wamid." + b64encode(before + NUMBER.encode() + b"\x15\x02\x00\x11").decode()
    assert TRACES.in_text(wamid)
    assert TRACES.in_bytes(wamid.encode())
    other = "wamid." + b64encode(before + b"447700900999" + b"\x15\x02\x00\x11").decode()
    assert not TRACES.in_text(other)


def test_what_sql_looks_for_is_never_less() -> None:
    for pattern in TRACES.like:
        assert pattern.startswith("%")
        assert pattern.endswith("%")
    assert all(part in b"x447700900123x" for part in TRACES.parts[:1])


def test_all_forms_of_a_person_are_one_person() -> None:
    traces = NumberTraces("551187654321")
    assert traces.forms == ("5511987654321", "551187654321")
    assert traces.in_text("+55 11 98765-4321")
    assert traces.in_text("+55 11 8765-4321")


def test_a_hash_stands_for_a_person_and_tells_no_number() -> None:
    key = bytes(range(32))
    hashed = person_hash(key, "551187654321")
    assert hashed == person_hash(key, "5511987654321") != person_hash(key, NUMBER)
    assert hashed != person_hash(key[::-1], "551187654321")
    assert hashed.startswith(MARK)
    assert len(hashed) <= 24
