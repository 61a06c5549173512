"""Each file beside this one holds callbacks of one shape, made by us, and what each of them says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bulksend.gateway.receipts import Parsed, parse

HERE = Path(__file__).parent


def cases() -> list[Any]:
    return [
        pytest.param(case, id=f"{file.stem}: {case['case']}")
        for file in sorted(HERE.glob("*.json"))
        for case in json.loads(file.read_text(encoding="utf-8"))
    ]


def as_json(parsed: Parsed) -> dict[str, Any]:
    """What a body says, with the class of each notice, without fields that are empty."""
    return {
        "receipts": [_filled(each._asdict()) for each in parsed.receipts],
        "inbound": [_filled(each._asdict()) for each in parsed.inbound],
        "notices": [{"is": type(each).__name__} | _filled(each._asdict()) for each in parsed.notices],
        "unreadable": [_filled(each._asdict()) for each in parsed.unreadable],
    }


def _filled(fields: dict[str, Any]) -> dict[str, Any]:
    filled = {name: value for name, value in fields.items() if value is not None and value not in ("", ())}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in filled.items()}


@pytest.mark.parametrize("case", cases())
def test_a_callback_says_what_its_shape_says(case: dict[str, Any]) -> None:
    expected = {"receipts": [], "inbound": [], "notices": [], "unreadable": []} | case["says"]
    assert as_json(parse(json.dumps(case["body"]).encode())) == expected
