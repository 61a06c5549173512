"""What it costs intake to leave people out: a cap, cool-downs and the people of another campaign, in one run.

    python -m bench.leaving_out [--rows 1000000] [--rounds 2] [--backend postgresql,sqlite] [--earlier 0.1]

Campaigns of this many people each are taken in by turns, without, with, with, without, each of people of its own: the
ledger grows with each, so only an even number of rounds is fair. Part of the people, ``--earlier``, have a message of
an earlier campaign, which the asking campaigns exclude and cap; one in a hundred of theirs is in a cool-down. Every
campaign looks its people up in this table of cool-downs, and one without finds none there. One process, rows from
memory, nothing is sent.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.machine import Cost, cpu_seconds
from bench.stand import CONTENT, POSTGRESQL, SENDER, number
from bulksend.ledger import suppressions
from bulksend.ledger.campaign_creation import NewCampaign
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.ids import new_id
from bulksend.ledger.migrate import migrate
from bulksend.messaging import Kind, MessageType, OnUnknown, compile_content
from bulksend.messaging.exclusions import Cap, Exclusions, PeopleOf
from bulksend.settings import Settings
from ops.local.postgres import EmbeddedPostgres
from producer.intake import Intake, tune_interpreter
from producer.intake_report import IntakeReport
from producer.reading import RawRow

DAY_MS = 86_400_000
#: One person in this many is in a cool-down, where the campaign is asked about its people.
COOL_DOWN = 100


@contextmanager
def ledger(backend: str) -> Iterator[tuple[str, int | None]]:
    """The URL of an empty ledger on a durable server, or in a file; and the server's pid."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="bulksend-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        url, server = f"sqlite:///{folder / 'ledger.db'}", None
        if backend == "postgresql":
            postgres = EmbeddedPostgres(durable=True, settings=POSTGRESQL)
            stack.callback(postgres.remove)
            url, server = postgres.start(), postgres.pid
        yield url, server


def rows(first: int, many: int, step: int = 1) -> Iterator[RawRow]:
    """Rows of every ``step``-th of these people."""
    for place, n in enumerate(range(first, first + many, step), 1):
        yield RawRow(place, {"to": number(n), "name": f"Name {n}", "voucher": f"V-{n:08d}"})


def take(
    intake: Intake, first: int, many: int, *, step: int = 1, exclusions: Exclusions | None = None
) -> IntakeReport:
    """Take a campaign of these people in."""
    template = compile_content(MessageType.TEXT, CONTENT)
    new = NewCampaign(
        key=new_id(), name=new_id(), kind=Kind.MARKETING, sender=SENDER, type="text", content=template.to_json(),
        source_hash=new_id(), source_name="bench", due_at=0, ttl_ms=None, rate=None, on_unknown=OnUnknown.HOLD,
        created_by="bench", exclusions=None if exclusions is None else exclusions.to_json(),
    )  # fmt: skip

    def read(after: int) -> Iterator[RawRow]:
        found = rows(first, many, step)
        for _ in range(after):
            next(found)
        return found

    return intake.run(new, template, read, again=True)


def cool_down(database: Database, first: int, many: int) -> None:
    """Some of these people have had enough marketing for a day."""
    with database.write() as tx:
        people = dict.fromkeys(number(n) for n in range(first, first + many, COOL_DOWN))
        until = read_clock(tx) + DAY_MS
        suppressions.add_many(tx, people, scope="marketing", reason="131049", source="vendor", until=until)


def measure(backend: str, many: int, rounds: int, earlier: float) -> None:
    """Take turns, and print."""
    with ledger(backend) as (url, server):
        settings = Settings.from_env({"DATABASE_URL": url}, None)
        database = Database(url)
        migrate(database)
        intake = Intake.from_settings(settings, database)
        spring = take(intake, 0, 2 * rounds * many, step=round(1 / earlier)).campaign_id
        exclusions = Exclusions(cap=Cap(2, 7 * DAY_MS), exclude=(PeopleOf(spring),))
        # By turns, since a ledger that grows and a machine that others use become slower.
        taken: dict[bool, list[_Taken]] = {False: [], True: []}
        # Once the one begins, once the other.
        turns = [(turn * many, turn % 4 in (1, 2)) for turn in range(2 * rounds)]
        for first, asks in turns:
            if asks:
                cool_down(database, first, many)
        for first, asks in turns:
            began, used = time.perf_counter(), _used(server)
            report = take(intake, first, many, exclusions=exclusions if asks else None)
            seconds = time.perf_counter() - began
            taken[asks].append(_Taken(seconds, _used(server).since(used).each_us(many), report.suppressed_by))
        database.close()
    bare, asked = (many / statistics.median(each.seconds for each in taken[asks]) for asks in (False, True))
    sys.stdout.write(
        f"{backend:10} {many:,} people: {bare:,.0f} rows/s, and {asked:,.0f} rows/s with cap, cool-down and exclusion: "
        f"{(1 - asked / bare) * 100:.1f} % less; CPU us a row: {_cpu(taken[False])}, and {_cpu(taken[True])}; left "
        f"out: {taken[True][-1].left_out}\n"
    )
    sys.stdout.flush()


class _Taken(NamedTuple):
    """What the intake of a campaign took; CPU in us a row, by part."""

    seconds: float
    cpu: Mapping[str, float]
    left_out: Mapping[str, int]


def _used(server: int | None) -> Cost:
    # The server is a child of this process: its own CPU is told by itself.
    return Cost({"our": time.process_time(), "server's": 0.0 if server is None else cpu_seconds(server)})


def _cpu(taken: Sequence[_Taken]) -> str:
    of = {part: statistics.median(each.cpu[part] for each in taken) for part in taken[0].cpu}
    each = " + ".join(f"{part} {us:.1f}" for part, us in of.items() if us)
    return f"{sum(of.values()):.1f} ({each})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=2, help="campaigns of each sort")
    parser.add_argument("--backend", default="postgresql,sqlite")
    parser.add_argument(
        "--earlier", type=float, default=0.1, help="part of the people with an earlier message"
    )
    options = parser.parse_args()
    tune_interpreter()
    for backend in options.backend.split(","):
        measure(backend, options.rows, options.rounds, options.earlier)


if __name__ == "__main__":
    main()
