"""``./run bench``: speed, beside limits and peers of the same run; writes docs/performance.md, .json and .svg."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module

from bench import contest, figures, report
from bench.machine import described
from bench.output import say
from bench.stand import ROOT

BENCHES = [name for name in report.PARTS if name != report.CONTEST]
_MORE = f"""
The figures of the other parts of the page, some fifteen minutes:

    ./run bench figures [PART…]          each part by its own bench, in turn; default: all of them
    ./run bench PART [--write] [OPTIONS] one part; it is put into the page with --write

PART is one of {", ".join(BENCHES)}.
"""


def main(arguments: Sequence[str]) -> int:
    """Run it."""
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", ())
    if name == "figures":
        return run_each(rest)
    if name in BENCHES:
        run_part(name, rest)
    else:
        run_contest(arguments)
    return 0


def measure(name: str) -> int:
    """One bench in a process of its own, into the page; its exit code."""
    return subprocess.run([sys.executable, "-m", "bench", name, "--write"], cwd=ROOT, check=False).returncode  # noqa: S603


def run_each(names: Sequence[str], measure: Callable[[str], int] = measure) -> int:
    """One bench after the other; 1 where one did not come to its end. The page keeps what it has of that."""
    if unknown := set(names) - set(BENCHES):
        raise SystemExit(f"there is no {', '.join(unknown)}; choose of {', '.join(BENCHES)}")
    broken = []
    for name in names or BENCHES:
        say(f"== {name}")
        if code := measure(name):
            say(f"{name} broke ({code})")
            broken.append(name)
    say(f"broke, and not written: {', '.join(broken)}" if broken else "written: docs/performance.md")
    return 1 if broken else 0


def run_part(name: str, arguments: Sequence[str]) -> None:
    """One bench: its figures on standard output, and into the page with --write."""
    own = [argument for argument in arguments if argument != "--write"]
    part: figures.Part = import_module(f"bench.{name}").main(own)
    for cells in figures.rows(part.figures)[1:]:
        say("  ".join(cell for cell in cells if cell))
    if len(own) < len(arguments):
        report.write(name, {"command": " ".join(["./run bench", name, *own])} | asdict(part))


def run_contest(arguments: Sequence[str]) -> None:
    """Ours beside what people use."""
    parser = argparse.ArgumentParser(
        prog="./run bench",
        description=contest.__doc__,
        epilog=_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often all contenders take turns")
    parser.add_argument("--scale", type=float, default=1.0, help="messages, as a part of the usual number")
    parser.add_argument(
        "--only", nargs="*", default=[], help="these contenders only; the page is left as it is"
    )
    options = parser.parse_args(arguments)
    runs = contest.contest(options.rounds, options.scale, options.only)
    for cells in figures.rows(report.ratios(runs))[1:]:
        say("  ".join(cell for cell in cells if cell))
    if not options.only:
        report.write(
            report.CONTEST,
            {
                "command": " ".join(["./run bench", *arguments]),
                "machine": described() | contest.runtimes(),
                "rounds": options.rounds,
                "figures": [asdict(run) for run in runs],
            },
        )
        say("written: docs/performance.md")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
