"""A masked row holds no number of its recipient, in any notation."""

from __future__ import annotations

import json

import pytest

from bulksend.operations.export import masked

TO = "447700900851"


@pytest.mark.parametrize(
    "key",
    [
        TO,
        f"+{TO}",
        "+44 (0)7700 900851",
        "0044-7700-900851",
        f"login-{TO}",
        "7700900851/3",
        "order 9008519008511",
    ],
)
def test_a_number_is_masked_in_a_key_however_it_is_written_there(key: str) -> None:
    row = masked({"to": TO, "key": key, "error": f"cannot reach {TO}", "status": "failed"})
    assert (row["to"], row["status"]) == ("4477*****851", "failed")
    told = json.dumps(row)
    assert "".join(c for c in told if c.isdecimal()).find(TO[-7:]) < 0


def test_a_key_without_the_number_stays_as_it_is() -> None:
    row = masked({"to": TO, "key": "login-83121", "error": None})
    assert (row["key"], row["error"]) == ("login-83121", None)
