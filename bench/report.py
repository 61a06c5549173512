"""``docs/performance.md`` and its picture, made of ``docs/performance.json``: what each bench found last.

python -m bench.report          makes both from the stored data
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import figures
from bench.contest import Figure, medians, rate_of, ratio
from bench.figures import at_least, at_most
from bench.machine import cpu_of_all
from bench.stand import ROOT

DOCS = ROOT / "docs"
CONTEST = "contest"
#: In the order of the page, the title of each part and what it is. But for the contest, each is made by the bench of
#: its name.
PARTS = {
    CONTEST: (
        "Messages a second, from Redis to a stored result",
        "All contenders take turns, each with a PostgreSQL (fsync on) and a Valkey of its own, against one vendor that "
        "answers after 50 ms.",
    ),
    "otp": (
        "One-time codes under a blast",
        "One worker and one sender for both. From `send` returning to the POST, by the kernel's stamps. Beside: the "
        "same with nothing else to send.",
    ),
    "pacing": (
        "Limits",
        "Workers that share one sender; counted at the vendor, in the fullest second wherever it begins.",
    ),
    "sending": (
        "More workers on the same cores",
        "A blast without a limit. CPU of all parts but the vendor; beside one worker in the same round.",
    ),
    "intake": (
        "A large file into the ledger",
        "`bulksend send`: every row is read, checked, deduplicated and asked of 100,000 suppressions, and a worker is "
        "at work. Beside: the rows that the ledger then has, by one bare COPY or executemany, into a table with the "
        "same indexes.",
    ),
    "receipts": (
        "Receipts",
        "Shuffled and doubled callbacks, as fast as they are answered. Beside: a bare uvicorn endpoint with one INSERT "
        "a request, under the same load, in the same PostgreSQL.",
    ),
    "webhooks": (
        "Webhooks",
        "One notifier, one endpoint. Beside: httpx and asyncio, which post as many requests from memory, unsigned.",
    ),
    "http": (
        "One-time codes over HTTP",
        "50 callers at once. *Nothing else*: 300 calls a second in all. *Beside a blast*: meanwhile a campaign goes "
        "out at the sender's whole rate of 1,000 a second. *All they can*: each caller asks again at once, no worker "
        "runs. A call has an Idempotency-Key or a key, and is committed before its answer. The bare endpoint: uvicorn "
        "with one INSERT a request.",
    ),
    "startup": (
        "How soon commands and workers begin",
        "Medians; a worker from its command until it is at work.",
    ),
}
_COLUMNS = ("worker", "database", "broker", "relay")
_WIDTH, _BAR, _LEFT = 720, 26, 190

Bound = Callable[..., figures.Figure]
#: What is compared, by which value, whether more or less is better, with which contenders, and each ratio's target.
_WANTED: tuple[tuple[str, Callable[[Figure], float], Bound, dict[str, float | None]], ...] = (
    (
        "",
        rate_of,
        at_least,
        {
            "go": 1.0,
            "go, written ahead": 1.5,
            "bullmq": 1.8,
            "bullmq, written ahead": 2.5,
            "taskiq": None,
            "celery": 15,
            "ours on SQLite": None,
        },
    ),
    (
        "CPU of all parts, ",
        lambda figure: cpu_of_all(figure.cpu_us),
        at_most,
        {"go": None, "go, written ahead": None, "bullmq": 0.45, "bullmq, written ahead": 0.32},
    ),
    ("CPU of the worker, ", lambda figure: figure.cpu_us["worker"], at_most, {"go": None, "bullmq": 0.50}),
)

_HEAD = """# Performance

Written by `./run bench figures` and, the contest, by `./run bench`; nothing on this page is typed by hand, and a part
that was not measured is not on it. The data is `docs/performance.json`.

What counts is each figure beside its limit or its peer, of the same run: other programs share this machine, and
everything on it is faster in some minutes than in others. Everything, the vendor, the callers and both servers
included, shares the same cores.
"""
_CONTEST = """
![messages a second](performance.svg)

Medians; concurrency is that of each worker process; CPU in microseconds a message; memory is the largest of a worker,
in MB.

{table}

Ours claims, writes ahead, asks for permits, checks pauses and suppressions again, fences and settles; the other
contenders make one INSERT after each POST and would send twice or lose whatever a crash catches, but for those written
ahead, which write a row before each POST as well, and still know no limits, pauses or fencing. A worker in Go computes
on all cores at once, a worker of the others mostly on one: these also run as two processes.

Each one's best of the same round, by its rate; the median of {rounds}. All parts are worker, database, broker and
relay.

{ratios}
"""
_BY_HAND = """
## By hand

| what | command |
|---|---|
| what each step costs the ledger | `python -m bench.ledger_steps` |
| a large file with a cap, cool-downs and another campaign left out | `python -m bench.leaving_out` |
| the forecast delay of a code | `python -m bench.code_delays` |
| what people ask of ten million messages | `python -m bench.at_size` (docs/scale.md) |
| every page of the console there, and 200 open tabs under a blast | `python -m bench.pages` (docs/console.md) |
| permits, POSTs, reading files, the audit | `python -m bench.permits`, `vendor_client`, `reading`, `audit` |
"""

Data = Mapping[str, Mapping[str, Any]]


def write(name: str, found: Mapping[str, Any], folder: Path = DOCS) -> None:
    """Put a part beside the others, and make the page and its picture."""
    render(figures.merge(folder / "performance.json", name, found), folder)


def render(data: Data, folder: Path = DOCS) -> None:
    """The page and its picture."""
    (folder / "performance.md").write_text(page(data))
    if CONTEST in data:
        (folder / "performance.svg").write_text(picture(contest_figures(data[CONTEST])))


def page(data: Data) -> str:
    """The page as Markdown."""
    parts = {name: data[name] for name in PARTS if name in data}
    lines = [_HEAD, *_summary(parts)]
    for name, found in parts.items():
        title, words = PARTS[name]
        lines += [f"\n## {title}\n", words]
        lines += [_contest(found)] if name == CONTEST else _part(found)
    runs = [["command", "date", "machine"], *(_run(found) for found in parts.values())]
    return "\n".join([*lines, "\n## The runs\n", *figures.table(runs), _BY_HAND])


def _summary(parts: Data) -> list[str]:
    judged = [one for name, found in parts.items() for one in _figures(name, found) if one.target]
    missed = [f"- {one.what}: {one.value}, target {one.target}" for one in judged if not one.holds]
    lines = [f"{len(judged) - len(missed)} of {len(judged)} targets are held."]
    return [*lines, "Not held:\n", *missed] if missed else lines


def _figures(name: str, found: Mapping[str, Any]) -> list[figures.Figure]:
    if name == CONTEST:
        return ratios(contest_figures(found))
    return [figures.Figure(**one) for one in found["figures"]]


def _part(found: Mapping[str, Any]) -> list[str]:
    lines = ["", *figures.table(figures.rows(figures.Figure(**one) for one in found["figures"]))]
    for title, rows in found["tables"].items():
        lines += [f"\n{title}:\n", *figures.table(rows)]
    return lines


def _run(found: Mapping[str, Any]) -> list[str]:
    machine = (value if " " in value else f"{name} {value}" for name, value in found["machine"].items())
    return [f"`{found['command']}`", found["date"], "; ".join(machine)]


def _contest(found: Mapping[str, Any]) -> str:
    runs = contest_figures(found)
    head = ["contender", "workers", "concurrency", "a second", *_COLUMNS, "MB"]
    return _CONTEST.format(
        rounds=found["rounds"],
        table="\n".join(figures.table([head, *map(_row, medians(runs).values())])),
        ratios="\n".join(figures.table(figures.rows(ratios(runs)))),
    ).rstrip("\n")


def contest_figures(found: Mapping[str, Any]) -> list[Figure]:
    """The runs of a stored contest."""
    return [Figure(**figure) for figure in found["figures"]]


def _row(run: Figure) -> list[str]:
    cpu = (f"{run.cpu_us[part]:.0f}" if part in run.cpu_us else "" for part in _COLUMNS)
    memory = f"{run.peak_mb['worker']:.0f}" if run.peak_mb.get("worker") else ""
    return [run.contender, str(run.workers), str(run.concurrency), f"{run.rate:,.0f}", *cpu, memory]


def ratios(runs: Sequence[Figure]) -> list[figures.Figure]:
    """What is compared, what came of it, what is wanted."""
    found = []
    for what, of, bound, wanted in _WANTED:
        for other, target in wanted.items():
            times = ratio(runs, "ours", other, of)
            if times == times:
                found.append(_ratio(f"{what}ours / {other}", times, bound, target))
    middle = medians(runs)
    for concurrency in (200, 400, 800):
        one, other = ("ours", 1, concurrency), ("ceiling", 1, concurrency)
        if one in middle and other in middle:
            times = middle[one].rate / middle[other].rate
            found.append(figures.Figure(f"ours / ceiling, {concurrency} in flight", f"{times:.2f}"))
    return found


def _ratio(what: str, times: float, bound: Bound, target: float | None) -> figures.Figure:
    if target is None:
        return figures.Figure(what, f"{times:.2f}")
    return bound(what, times, target, "{:.2f}")


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


if __name__ == "__main__":
    render(json.loads((DOCS / "performance.json").read_text()))
