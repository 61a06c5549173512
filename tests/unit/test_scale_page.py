"""The page of scale says what its data say, and what it says is within what was promised."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench import scale_page
from bench.scale_page import DOCS, WITHIN_MS, grouped


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / "scale.json").read_text())
    return found


def test_the_page_is_made_of_the_data_beside_it(data: dict[str, Any]) -> None:
    assert scale_page.page(data) == (DOCS / "scale.md").read_text()


@pytest.mark.parametrize("backend", ["postgresql", "sqlite"])
def test_every_question_was_answered_within_its_time(data: dict[str, Any], backend: str) -> None:
    of = data[backend]
    asked = of["find"] | {name: spent for name, spent in of["questions"].items() if "show" in name}
    assert {name: high for name, (_, high) in asked.items() if high > WITHIN_MS} == {}


def test_it_was_asked_of_ten_million_messages(data: dict[str, Any]) -> None:
    sizes = data["postgresql"]["sizes"]
    assert sizes["messages"]["rows"] >= 10_000_000
    assert sizes["attempts"]["rows"] >= 11_800_000


def test_forms_that_differ_in_the_status_alone_are_shown_as_slow_as_the_slowest() -> None:
    asked = {
        "a number": [1.0, 2.0],
        "status failed": [1.0, 9.0],
        "status read": [3.0, 4.0],
        "status read, a page deep down": [5.0, 6.0],
        "status read in a small campaign": [7.0, 8.0],
    }
    assert grouped(asked) == {
        "a number": [1.0, 2.0],
        "a status": [3.0, 9.0],
        "a status, a page deep down": [5.0, 6.0],
        "a status in a small campaign": [7.0, 8.0],
    }


@pytest.mark.parametrize("name", ["scale.md", "scale.json"])
def test_the_page_names_no_place_of_the_machine_that_made_it(name: str) -> None:
    text = (DOCS / name).read_text()
    assert "/tmp" not in text  # noqa: S108
    assert "/root" not in text
