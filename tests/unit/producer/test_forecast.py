"""What a forecast counts, in little memory."""

from __future__ import annotations

from producer.forecast import SeenKeys


def test_a_key_is_new_once() -> None:
    seen = SeenKeys()
    keys = [f"4477{n:08d}" for n in range(200_000)]
    assert all(seen.add(key) for key in keys)
    assert not any(seen.add(key) for key in keys)
    assert seen.add("447700900123x")
