"""``./run bench``: ours beside what people use, in one run; writes docs/performance.md, .json and .svg.

``./run bench http``: one-time codes over the HTTP API, see bench/http.py.
"""

from __future__ import annotations

import argparse
import sys

from bench import contest, http, report


def main() -> None:
    """Run it."""
    if sys.argv[1:2] == ["http"]:
        http.main(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(
        prog="./run bench", description=contest.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often all contenders take turns")
    parser.add_argument("--scale", type=float, default=1.0, help="messages, as a part of the usual number")
    parser.add_argument(
        "--only", nargs="*", default=[], help="these contenders only; the page is left as it is"
    )
    options = parser.parse_args()
    figures = contest.contest(options.rounds, options.scale, options.only)
    for line in report.ratios(figures):
        contest.say(line)
    if not options.only:
        report.write(figures, options.rounds)
        contest.say("written: docs/performance.md")


if __name__ == "__main__":
    main()
