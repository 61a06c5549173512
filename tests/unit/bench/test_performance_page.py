"""The page of figures says what its data say, and nothing that was not measured."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bench import report
from bench.__main__ import BENCHES, run_each
from bench.contest import Figure, medians, ratio
from bench.figures import Part, at_least, at_most
from bench.report import DOCS, PARTS

PART = Part(
    [at_most("p99", 130, 120, "{:.0f} ms", beside="idle 20 ms"), at_least("share", 0.98, 0.97, "{:.0%}")],
    {"Calls": [["way", "a second"], ["HTTP", "1"]]},
)


def figures(*rates: tuple[str, int, float]) -> list[Figure]:
    return [Figure(name, concurrency, rate) for name, concurrency, rate in rates]


def stored(part: Part) -> dict[str, Any]:
    return {"command": "./run bench otp", "date": "2026-11-30", "machine": {"Python": "3.11"}} | asdict(part)


def test_the_page_and_its_picture_are_made_of_the_data_beside_them() -> None:
    data = json.loads((DOCS / "performance.json").read_text())
    assert report.page(data) == (DOCS / "performance.md").read_text()
    assert report.picture(report.contest_figures(data["contest"])) == (DOCS / "performance.svg").read_text()


def test_a_figure_stands_beside_its_peer_with_its_target_and_whether_that_is_held() -> None:
    page = report.page({"otp": stored(PART)})
    assert "| p99 | 130 ms | idle 20 ms | ≤ 120 ms | **not held** |" in page
    assert "| share | 98% |  | ≥ 97% | held |" in page
    assert "1 of 2 targets are held." in page
    assert "- p99: 130 ms, target ≤ 120 ms" in page
    assert "Calls:\n\n| way | a second |\n|---|---|\n| HTTP | 1 |" in page
    assert "| `./run bench otp` | 2026-11-30 | Python 3.11 |" in page


def test_a_part_that_was_not_measured_is_not_on_the_page() -> None:
    page = report.page({"otp": stored(PART)})
    assert [title for title, _ in PARTS.values() if f"## {title}\n" in page] == [PARTS["otp"][0]]
    assert "performance.svg" not in page


def test_a_part_is_written_beside_the_others_in_the_order_of_the_page(tmp_path: Path) -> None:
    for name, what in (("startup", "old"), ("otp", "first"), ("startup", "new")):
        report.write(name, {"command": "c", "figures": [asdict(at_most(what, 1, 2))], "tables": {}}, tmp_path)
    page = (tmp_path / "performance.md").read_text()
    assert page.index("| first |") < page.index("| new |")
    assert "| old |" not in page


def test_every_part_has_its_bench_and_its_words() -> None:
    assert set(PARTS) == {*BENCHES, report.CONTEST}
    assert [name for name in BENCHES if not (Path(report.__file__).parent / f"{name}.py").exists()] == []


def test_a_part_that_breaks_does_not_keep_the_others_from_being_measured() -> None:
    asked: list[str] = []

    def measure(name: str) -> int:
        asked.append(name)
        return int(name == "pacing")

    assert run_each([], measure) == 1
    assert asked == BENCHES
    assert run_each(["otp"], measure) == 0
    with pytest.raises(SystemExit, match="there is no opt"):
        run_each(["opt"], measure)


def test_a_ratio_is_the_median_over_the_rounds_of_best_against_best() -> None:
    round_1 = figures(("ours", 200, 100), ("ours", 400, 300), ("other", 200, 100))
    round_2 = figures(("ours", 200, 50), ("ours", 400, 40), ("other", 200, 50))
    round_3 = figures(("ours", 200, 10), ("ours", 400, 20), ("other", 200, 10))
    assert ratio(round_1 + round_2 + round_3, "ours", "other") == 2.0


def test_the_best_is_that_of_any_number_of_workers() -> None:
    ours = [*figures(("ours", 200, 100)), Figure("ours", 200, 150, workers=2)]
    assert ratio(ours * 2 + figures(("other", 200, 50)) * 2, "ours", "other") == 3.0
    assert [f.rate for f in medians(ours).values()] == [100, 150]


def test_cpu_is_compared_at_the_fastest_run_and_without_the_vendors() -> None:
    fast = {"worker": 30.0, "database": 10.0, "vendor": 1000.0}
    slow = {"worker": 1.0, "database": 1.0, "vendor": 1.0}
    ours = [Figure("ours", 200, 50, slow), Figure("ours", 400, 100, fast)]
    other = [Figure("bullmq", 200, 50, {"worker": 60.0, "database": 20.0, "vendor": 1.0})]
    assert report.ratios(ours + other) == [
        at_least("ours / bullmq", 2.0, 1.8, "{:.2f}"),
        at_most("CPU of all parts, ours / bullmq", 0.5, 0.45, "{:.2f}"),
        at_most("CPU of the worker, ours / bullmq", 0.5, 0.5, "{:.2f}"),
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
