"""``docs/scale.json``: what bench/at_size.py measured, by backend; ``docs/scale.md``, which is made of it.

python -m bench.scale_page          writes the page from the stored data
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.figures import merge
from bench.stand import ROOT
from bulksend.messaging.states import Status

DOCS = ROOT / "docs"
TEMPLATE = Path(__file__).with_name("scale_page.md")
WITHIN_MS = 50
A_MONTH = 1_000_000_000
SECONDS_A_MONTH = 30 * 86_400
PEAK = 10
"""The busiest hour, as a multiple of the month's average."""
TABLES = ("messages", "attempts", "receipts")
STEPS = ("intake", "claim", "open", "settle", "receipt")
Data = dict[str, Any]


def write(backend: str, measured: Data, folder: Path = DOCS) -> None:
    """Put the figures of one backend beside those of the other, and make the page."""
    (folder / "scale.md").write_text(page(merge(folder / "scale.json", backend, measured)))


def page(data: Data) -> str:
    """The page as Markdown."""
    of = data["postgresql"]
    return TEMPLATE.read_text().format(
        machine="; ".join(
            value if " " in value else f"{name} {value}" for name, value in of["machine"].items()
        ),
        dates=", ".join(f"{name} on {data[name]['date']}" for name in data),
        rows="; ".join(f"{name}: {_rows(data[name])}" for name in data),
        heads=" | ".join(f"{name} p50 | p95" for name in data),
        rule="|---" * 2 * len(data),
        find="\n".join(_lines(data, "find")),
        questions="\n".join(_lines(data, "questions")),
        chores="\n".join(_lines(data, "chores")),
        step_heads=" | ".join(f"{name} small | large | ratio | by the clock" for name in data),
        step_rule="|---" * 4 * len(data),
        steps="\n".join(_steps(data)),
        bytes="\n".join(_bytes(of)),
        **_reckoned(of),
    )


def _rows(of: Data) -> str:
    return ", ".join(f"{of['sizes'][table]['rows'] / 1e6:.1f} million {table}" for table in TABLES)


def grouped(asked: Data) -> dict[str, list[float]]:
    """The forms that differ in the status alone are one, as slow as the slowest of them."""
    found: dict[str, list[float]] = {}
    for name, (middle, high) in asked.items():
        words = name.split(" ", 2)
        if words[0] == "status" and words[1].rstrip(",") in set(Status):
            name = f"a status{',' if words[1].endswith(',') else ''} {words[2] if len(words) > 2 else ''}".rstrip()
        worst = found.get(name, [0.0, 0.0])
        found[name] = [max(worst[0], middle), max(worst[1], high)]
    return found


def _lines(data: Data, what: str) -> list[str]:
    columns = [grouped(data[name][what]) for name in data]
    return [
        f"| {form} | " + " | ".join(f"{of[form][0]:.1f} | {of[form][1]:.1f}" for of in columns) + " |"
        for form in columns[0]
    ]


def _steps(data: Data) -> list[str]:
    lines = []
    for step in STEPS:
        cells = []
        for name in data:
            small, large = (data[name]["steps"][size][step] for size in ("small", "large"))
            cpu = [of["ours"] + of["server"] for of in (small, large)]
            ratios = f"{cpu[1] / cpu[0]:.2f} | {large['clock'] / small['clock']:.2f}"
            cells.append(f"{cpu[0]:.0f} | {cpu[1]:.0f} | {ratios}")
        lines.append(f"| {step} | {' | '.join(cells)} |")
    return lines


def _bytes(of: Data) -> list[str]:
    lines = []
    for table in TABLES:
        size = of["sizes"][table]
        indexes = ", ".join(
            f"{name.removeprefix(f'ix_{table}_').removeprefix('pk_').removeprefix('uq_')} {bytes / size['rows']:.0f}"
            for name, bytes in sorted(size["indexes"].items(), key=lambda item: -item[1])
            if bytes / size["rows"] >= 1
        )
        lines.append(f"| {table} | {size['rows']:,} | {size['bytes'] / size['rows']:.0f} | {indexes} |")
    return lines


def bytes_a_message(of: Data) -> float:
    """All tables and indexes, by message."""
    sizes = [of["sizes"][table] for table in TABLES]
    return float(
        sum(size["bytes"] + sum(size["indexes"].values()) for size in sizes) / of["sizes"]["messages"]["rows"]
    )


def _reckoned(of: Data) -> dict[str, str]:
    """What follows for a billion a month, by multiplication alone."""
    average = A_MONTH / SECONDS_A_MONTH
    large = of["steps"]["large"]
    receipts = of["sizes"]["receipts"]["rows"] / of["sizes"]["messages"]["rows"]
    server_us = sum(large[step]["server"] for step in STEPS[:-1]) + receipts * large["receipt"]["server"]
    wal = large["wal_bytes"]
    return {
        "average": f"{average:,.0f}",
        "peak": f"{average * PEAK:,.0f}",
        "factor": f"{PEAK}",
        "message_bytes": f"{bytes_a_message(of):,.0f}",
        "left_bytes": f"{of['left_bytes']:,.0f}",
        "disk": f"{A_MONTH * bytes_a_message(of) / 1e12:.1f}",
        "disk_left": f"{A_MONTH * of['left_bytes'] / 1e12:.1f}",
        "wal_bytes": f"{wal:,.0f}",
        "wal_small": f"{of['steps']['small']['wal_bytes']:,.0f}",
        "wal_month": f"{A_MONTH * wal / 1e12:.1f}",
        "wal_peak": f"{average * PEAK * wal / 1e6:.0f}",
        "server_us": f"{server_us:.0f}",
        "cores": f"{average * server_us / 1e6:.2f}",
        "cores_peak": f"{average * PEAK * server_us / 1e6:.1f}",
    }


def main() -> None:
    """Write the page."""
    (DOCS / "scale.md").write_text(page(json.loads((DOCS / "scale.json").read_text())))


if __name__ == "__main__":
    main()
