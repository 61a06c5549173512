"""The page of the bench says what its data say, and a ratio is made of one round's bests."""

from __future__ import annotations

import json

import pytest

from bench import report
from bench.contest import Figure, medians, ratio
from bench.report import DOCS


def figures(*rates: tuple[str, int, float]) -> list[Figure]:
    return [Figure(name, concurrency, rate) for name, concurrency, rate in rates]


def test_the_page_and_its_picture_are_made_of_the_data_beside_them() -> None:
    data = json.loads((DOCS / "performance.json").read_text())
    found, rounds = report.read()
    assert report.page(found, data["date"], rounds, data["machine"]) == (DOCS / "performance.md").read_text()
    assert report.picture(found) == (DOCS / "performance.svg").read_text()


def test_a_ratio_is_the_median_over_the_rounds_of_best_against_best() -> None:
    round_1 = figures(("ours", 200, 100), ("ours", 400, 300), ("other", 200, 100))
    round_2 = figures(("ours", 200, 50), ("ours", 400, 40), ("other", 200, 50))
    round_3 = figures(("ours", 200, 10), ("ours", 400, 20), ("other", 200, 10))
    assert ratio(round_1 + round_2 + round_3, "ours", "other") == 2.0


def test_cpu_is_compared_at_the_fastest_run_and_without_the_vendors() -> None:
    fast = {"worker": 30.0, "database": 10.0, "vendor": 1000.0}
    slow = {"worker": 1.0, "database": 1.0, "vendor": 1.0}
    ours = [Figure("ours", 200, 50, slow), Figure("ours", 400, 100, fast)]
    other = [Figure("bullmq", 200, 50, {"worker": 60.0, "database": 20.0, "vendor": 1.0})]
    assert report.ratios(ours + other) == [
        "| ours / bullmq | 2.00 | ≥ 1.8 |",
        "| CPU of all parts, ours / bullmq | 0.50 | ≤ 0.45 |",
        "| CPU of the worker, ours / bullmq | 0.50 | ≤ 0.50 |",
    ]


def test_who_did_not_take_part_has_no_ratio() -> None:
    ours = figures(("ours", 200, 100))
    assert ratio(ours, "ours", "bullmq") != ratio(ours, "ours", "bullmq")


def test_the_middle_run_of_each_concurrency_is_shown() -> None:
    runs = figures(("ours", 200, 3), ("ours", 200, 1), ("ours", 200, 2), ("ours", 400, 9))
    assert [f.rate for f in medians(runs).values()] == [2, 9]


@pytest.mark.parametrize("name", ["performance.md", "performance.svg"])
def test_the_page_names_no_place_of_the_machine_that_made_it(name: str) -> None:
    text = (DOCS / name).read_text()
    assert "/tmp" not in text  # noqa: S108
    assert "/root" not in text
