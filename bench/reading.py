"""Rows read a second, beside bare ``csv.reader`` and ``json.loads``.

    python -m bench.reading [ROWS]

The best of three runs, and the most memory that was held. What counts is the ratio: the figures themselves
are this machine's. Measured on two cores at 500,000 rows: CSV 400,000 to 480,000/s, about five times as long as
the bare parser; JSON lines 200,000/s, 2.6 times.
"""

from __future__ import annotations

import csv
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from producer.reading import open_rows

PLAIN = "44770090{n:04d},David Smith,20%\n"
QUOTED = '44770090{n:04d},"Smith, David",20%\n'
ACCENTS = "44770090{n:04d},Łukasz Wójcik,20%\n"


def main(rows: int) -> None:
    """Write the files, read each, print a line each."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        print(f"{rows:,} rows each")  # noqa: T201
        for name, line in (("plain", PLAIN), ("quoted", QUOTED), ("accents", ACCENTS)):
            path = folder / f"{name}.csv"
            with path.open("w", encoding="utf-8") as file:
                file.write("to,name,discount\n")
                file.writelines(line.format(n=n % 10_000) for n in range(rows))
            _compare(f"csv, {name}", rows, partial(_bare_csv, path), partial(_ours, path))
        path = folder / "list.jsonl"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(f'{{"to": "44770090{n % 10_000:04d}", "name": "David"}}\n' for n in range(rows))
        _compare("jsonl", rows, lambda: _bare_json(path), lambda: _ours(path))
        plain = folder / "plain.csv"
        _compare("csv, skipped to its end", rows, partial(_bare_csv, plain), partial(_skip, plain, rows))
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")  # noqa: T201


def _compare(name: str, rows: int, bare: Callable[[], int], ours: Callable[[], int]) -> None:
    bare_s, ours_s = _best(bare), _best(ours)
    print(  # noqa: T201
        f"{name:<26}{rows / ours_s:>12,.0f}/s   bare {rows / bare_s:>12,.0f}/s   "
        f"{ours_s / bare_s:.1f} times as long"
    )


def _best(work: Callable[[], int]) -> float:
    times = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def _bare_csv(path: Path) -> int:
    with path.open(encoding="utf-8", newline="") as file:
        return sum(1 for _ in csv.reader(file))


def _bare_json(path: Path) -> int:
    with path.open(encoding="utf-8") as file:
        return sum(1 for line in file if json.loads(line))


def _ours(path: Path) -> int:
    with open_rows(path) as rows:
        return sum(1 for _ in rows)


def _skip(path: Path, rows: int) -> int:
    with open_rows(path) as source:
        source.skip(rows - 1)
        return sum(1 for _ in source)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500_000)
