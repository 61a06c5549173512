"""``./run faults``: break the running system on purpose, and report which promises held. See docs/reliability.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from tests.faults import promises, soak
from tests.faults.figures import Part, as_json, from_json, page
from tests.faults.installation import ROOT
from tests.faults.promises import Options

JSON = ROOT / "docs" / "reliability.json"
PAGE = ROOT / "docs" / "reliability.md"


def run_storm_on_sqlite(options: Options) -> Part:
    """As storm, with a SQLite ledger."""
    return promises.run_storm(options, "sqlite")


COMMANDS: dict[str, Callable[[Options], Part]] = {
    "storm": promises.run_storm,
    "sqlite": run_storm_on_sqlite,
    "recovery": promises.run_recovery,
    "quiet": promises.run_quiet,
    "stops": promises.run_stops,
    "keys": promises.run_keys,
    "zoo": promises.run_zoo,
    "poison": promises.run_poison,
    "planted": promises.run_planted,
    "soak": soak.run_soak,
}


def main() -> int:
    """Exit 0 where every figure meets its target, 1 where one does not, 2 for bad usage."""
    options = _parser().parse_args()
    chosen = options.commands or list(COMMANDS)
    # Where the database's own user can enter, and short enough for a socket's name.
    base = Path(tempfile.mkdtemp(prefix="bulksend-faults-"))
    well = True
    for name in chosen:
        say(f"{name}: seed {options.seed}, everything is in {base / name}")
        part = COMMANDS[name](
            Options(
                folder=base / name,
                seed=options.seed,
                faults=options.faults,
                rate=options.rate,
                minutes=options.minutes,
                backlog=options.backlog,
                tell=say,
                only=tuple(options.only),
            )
        )
        show(name, part)
        well = well and part.holds
        if options.write:
            write(name, part)
    if well and not options.keep:
        shutil.rmtree(base, ignore_errors=True)
    else:
        say(f"logs are in {base}")
    return 0 if well else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./run faults",
        description="Break the running system on purpose, and check the promises by the simulated vendor's record.",
        epilog="commands:\n" + "\n".join(f"  {name:9} {run.__doc__}" for name, run in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "commands",
        type=_command,
        nargs="*",
        metavar="COMMAND",
        help="one or more of the commands below; default: all",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=int(time.time()) % 1_000_000,
        help="of all random numbers: a storm draws the same faults again",
    )
    parser.add_argument("--faults", type=int, default=1000, help="how many a storm injects")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        help="storms: only faults whose name holds this; may be repeated",
    )
    parser.add_argument("--rate", type=float, default=200.0, help="messages per second")
    parser.add_argument("--minutes", type=float, default=2.0, help="how long quiet and soak last")
    parser.add_argument("--backlog", type=int, default=100_000, help="messages that wait in quiet")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/reliability.md")
    parser.add_argument("--keep", action="store_true", help="keep the logs although all is well")
    return parser


def _command(text: str) -> str:
    if text not in COMMANDS:
        raise argparse.ArgumentTypeError(f"there is no {text}; choose of {', '.join(COMMANDS)}")
    return text


def say(text: str) -> None:
    """Progress, on stderr."""
    sys.stderr.write(f"faults: {text}\n")
    sys.stderr.flush()


def show(name: str, part: Part) -> None:
    """A part's figures, on stdout."""
    print(f"\n{name}  ({part.command}, {part.seconds:.0f} s)")
    for figure in part.figures:
        mark = "held  " if figure.holds else "BROKEN"
        print(f"  {mark} {figure.promise:4} {figure.what}: {figure.value} (target {figure.target})")
    for key, value in part.facts.items():
        print(f"         {key}: {value}")
    for title, rows in part.tables.items():
        if len(rows) <= 25:
            print(f"  {title}:")
            for row in rows[1:]:
                print("         " + " · ".join(row))
    if part.complaints:
        print(f"  what did not hold:\n{part.complaints}")
    sys.stdout.flush()


def write(name: str, part: Part) -> None:
    """Put a part's figures into the page, beside those of the others."""
    parts: dict[str, Part] = {}
    if JSON.exists():
        parts, _ = from_json(json.loads(JSON.read_text()))
    parts[name] = part
    ordered = {known: parts[known] for known in COMMANDS if known in parts}
    machine = machine_facts()
    JSON.write_text(json.dumps(as_json(ordered, machine), indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page(ordered, machine))


def machine_facts() -> dict[str, str]:
    """Where it was measured."""
    return {
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in ("celery", "kombu", "redis", "sqlalchemy", "psycopg")},
    }


sys.exit(main())
