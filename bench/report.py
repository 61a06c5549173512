"""``docs/performance.md``, its data and its picture, from the figures of a contest."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bench.contest import Figure, medians, rate_of, ratio, runtimes
from bench.machine import described
from bench.stand import ROOT

DOCS = ROOT / "docs"
PARTS = ("worker", "database", "broker", "relay")
_WIDTH, _BAR, _LEFT = 720, 26, 190

#: What is compared, by which value, with which contenders, and what is wanted of each ratio.
_WANTED: tuple[tuple[str, Callable[[Figure], float], dict[str, str]], ...] = (
    (
        "",
        rate_of,
        {
            "go": "≥ 1.0",
            "go, written ahead": "≥ 1.5",
            "bullmq": "≥ 1.8",
            "bullmq, written ahead": "≥ 2.5",
            "taskiq": "",
            "celery": "≥ 15",
            "ours on SQLite": "",
        },
    ),
    (
        "CPU of all parts, ",
        lambda figure: figure.cpu_us_of_all,
        {"go": "", "go, written ahead": "", "bullmq": "≤ 0.45", "bullmq, written ahead": "≤ 0.32"},
    ),
    ("CPU of the worker, ", lambda figure: figure.cpu_us["worker"], {"go": "", "bullmq": "≤ 0.50"}),
)

_PAGE = """# Performance

Made by `./run bench` on {date}; the data is `docs/performance.json`. {rounds} rounds in which all contenders took
turns, each with a PostgreSQL (fsync on) and a Valkey of its own, against one vendor that answers after 50 ms. {machine}

What counts are ratios within one run: other programs share this machine, and everything on it is faster in some minutes
than in others. Everything, the vendor and both servers included, shares the same cores.

![messages a second](performance.svg)

## Messages a second, from Redis to a stored result, one worker process

Medians of {rounds}; CPU in microseconds a message; memory is the worker's largest, in MB.

| contender | concurrency | a second | worker | database | broker | relay | MB |
|---|---|---|---|---|---|---|---|
{table}

Ours claims, writes ahead, asks for permits, checks pauses and suppressions again, fences and settles; the other
contenders make one INSERT after each POST and would send twice or lose whatever a crash catches, but for those written
ahead, which write a row before each POST as well, and still know no limits, pauses or fencing. A worker in Go computes
on all cores at once, a worker of the others mostly on one.

## Ratios, each one's best of the same round

The best is the fastest, of rates as of CPU a message. All parts are worker, database, broker and relay.

| | measured | wanted |
|---|---|---|
{ratios}

## By hand

| what | command |
|---|---|
| our worker alone, by part | `python -m bench.sending` |
| what each step costs the ledger | `python -m bench.ledger_steps` |
| a large file into the ledger | `python -m bench.intake` |
| the same with a cap, cool-downs and another campaign left out | `python -m bench.leaving_out` |
| a one-time code under a blast | `python -m bench.otp` |
| the forecast delay of a code | `python -m bench.code_delays` |
| one-time codes over HTTP under a blast, beside the Python producer | `./run bench http` |
| how exactly limits are held, and how much of them is used | `python -m bench.pacing` |
| how long commands and workers take to begin | `python -m bench.startup` |
| what people ask of ten million messages | `python -m bench.at_size` (docs/scale.md) |
| every page of the console there, and 200 open tabs under a blast | `python -m bench.pages` (docs/console.md) |
| permits, POSTs, reading files, the audit | `python -m bench.permits`, `vendor_client`, `reading`, `audit` |
"""


def write(figures: Sequence[Figure], rounds: int) -> None:
    """The page, its data and its picture."""
    machine = described() | runtimes()
    data = {
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": rounds,
        "machine": machine,
        "figures": [asdict(figure) for figure in figures],
    }
    (DOCS / "performance.json").write_text(json.dumps(data, indent=1) + "\n")
    (DOCS / "performance.svg").write_text(picture(figures))
    (DOCS / "performance.md").write_text(page(figures, str(data["date"]), rounds, machine))


def page(figures: Sequence[Figure], date: str, rounds: int, machine: dict[str, str]) -> str:
    """The page as Markdown."""
    return _PAGE.format(
        date=date,
        rounds=rounds,
        machine="; ".join(value if " " in value else f"{name} {value}" for name, value in machine.items())
        + ".",
        table="\n".join(_row(figure) for figure in medians(figures).values()),
        ratios="\n".join(ratios(figures)),
    )


def _row(figure: Figure) -> str:
    parts = " | ".join(f"{figure.cpu_us[part]:.0f}" if part in figure.cpu_us else "" for part in PARTS)
    memory = f"{figure.peak_mb['worker']:.0f}" if figure.peak_mb.get("worker") else ""
    return f"| {figure.contender} | {figure.concurrency} | {figure.rate:,.0f} | {parts} | {memory} |"


def ratios(figures: Sequence[Figure]) -> list[str]:
    """Rows of the table: what is compared, what came of it, what is wanted."""
    lines = []
    for what, of, wanted in _WANTED:
        for other, bound in wanted.items():
            times = ratio(figures, "ours", other, of)
            if times == times:
                lines.append(f"| {what}ours / {other} | {times:.2f} | {bound} |")
    found = medians(figures)
    for ceiling in ("ceiling, ours", "ceiling, pyreqwest"):
        for concurrency in (200, 400, 800):
            if ("ours", concurrency) in found and (ceiling, concurrency) in found:
                part = found["ours", concurrency].rate / found[ceiling, concurrency].rate
                lines.append(f"| ours / {ceiling}, {concurrency} in flight | {part:.2f} | ≥ 0.70 |")
    return lines


def picture(figures: Sequence[Figure]) -> str:
    """A bar for each contender's best median, as SVG that reads in light and dark."""
    best: dict[str, Figure] = {}
    for figure in medians(figures).values():
        if figure.contender not in best or figure.rate > best[figure.contender].rate:
            best[figure.contender] = figure
    order = sorted(best.values(), key=lambda figure: -figure.rate)
    most = order[0].rate
    height = _BAR * len(order) + 16
    bars = []
    for n, figure in enumerate(order):
        y, width = 8 + n * _BAR, (_WIDTH - _LEFT - 90) * figure.rate / most
        colour = "#1a7f5a" if figure.contender.startswith("ours") else "#8a8f98"
        bars.append(
            f'<text x="{_LEFT - 8}" y="{y + 16}" text-anchor="end">{figure.contender}</text>'
            f'<rect x="{_LEFT}" y="{y + 3}" width="{width:.0f}" height="{_BAR - 8}" rx="2" fill="{colour}"/>'
            f'<text x="{_LEFT + width + 6:.0f}" y="{y + 16}">{figure.rate:,.0f}/s</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="13" role="img" aria-label="messages a second by contender">'
        "<style>text{fill:#444}@media (prefers-color-scheme:dark){text{fill:#ccc}}</style>"
        f"{''.join(bars)}</svg>\n"
    )


def read(path: Path = DOCS / "performance.json") -> tuple[list[Figure], int]:
    """The figures of the page that is there, and of how many rounds they are."""
    data = json.loads(path.read_text())
    return [Figure(**figure) for figure in data["figures"]], data["rounds"]
