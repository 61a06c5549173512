"""The page of figures is made from the figures, and from nothing else."""

from __future__ import annotations

import json

import pytest

from tests.faults.figures import PROMISES, Figure, Part, as_json, from_json, page, percentile, spread
from tests.faults.installation import ROOT

PART = Part(
    "./run faults keys",
    "2026-11-23",
    7,
    12.3,
    figures=[Figure("P11", "rows | POSTs", "1 / 1", "1 / 1", True), Figure("P2", "twice", "3", "0", False)],
    facts={"kills": "12"},
    tables={"Faults": [["fault", "times"], ["worker killed", "3"]]},
)


def test_the_page_in_the_docs_is_made_from_the_figures_beside_it() -> None:
    parts, machine = from_json(json.loads((ROOT / "docs" / "reliability.json").read_text()))
    assert (ROOT / "docs" / "reliability.md").read_text() == page(parts, machine)


def test_the_published_runs_hold_what_they_show_and_injected_a_thousand_faults() -> None:
    parts, _ = from_json(json.loads((ROOT / "docs" / "reliability.json").read_text()))
    assert [figure for part in parts.values() for figure in part.figures if not figure.holds] == []
    assert int(parts["storm"].facts["faults injected"].replace(",", "")) >= 1000


def test_figures_come_back_from_their_file_as_they_were() -> None:
    written = json.loads(json.dumps(as_json({"keys": PART}, {"Python": "3.11"})))
    assert from_json(written) == ({"keys": PART}, {"Python": "3.11"})


def test_what_did_not_hold_is_shown_as_such() -> None:
    text = page({"keys": PART}, {"Python": "3.11"})
    assert "**BROKEN**" in text
    assert "rows \\| POSTs" in text  # a bar in a cell must not end it
    assert not PART.holds


def test_every_promise_has_words() -> None:
    assert list(PROMISES) == [f"P{n}" for n in range(1, 23)]


def test_spreads_and_percentiles() -> None:
    assert spread([]) == "none"
    assert spread([3.0, 1.0, 2.0]) == "median 2.0 s, worst 3.0 s of 3"
    assert percentile([5.0, 1.0, 3.0], 0.5) == 3.0
    assert percentile(list(range(1000)), 0.99) == pytest.approx(990)
