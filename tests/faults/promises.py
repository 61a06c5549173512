"""One function for each command of ``./run faults``: it breaks something, and brings back figures."""

from __future__ import annotations

import itertools
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import select

from bulksend.ledger.schema import attempts, messages, uploads
from bulksend.settings import Settings
from producer import Producer
from tests.faults.figures import Figure, Part, percentile, spread
from tests.faults.installation import ROOT, SENDER, Installation, Plan, numbers, running
from tests.faults.judge import Asked, Finding, Verdict, judge, recovery_seconds
from tests.faults.nemesis import FAULTS, Fault, Injected, Nemesis, Planned, draw, faults_for, prepare
from tests.faults.notes import now_ms
from tests.faults.sabotage import PLANTED, PlantedBug, plant
from tests.faults.storm import Result, drain, storm
from tests.faults.traffic import PRIVATE, TEXT, Traffic

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What a command was asked for."""

    folder: Path
    seed: int
    faults: int
    rate: float
    minutes: float
    backlog: int
    tell: Tell
    only: tuple[str, ...] = ()
    """Storms: faults whose name holds one of these; all where there are none."""


def _begun() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")


def _broken(verdict: Verdict, promise: str) -> tuple[int, int]:
    findings: list[Finding] = [f for f in verdict.findings if f.promise == promise]
    return sum(f.broken for f in findings), sum(f.checked for f in findings)


def _judged(verdict: Verdict, promise: str, what: str) -> Figure:
    broken, checked = _broken(verdict, promise)
    return Figure(promise, what, f"{broken:,} of {checked:,}", "0", not broken)


# -- storm ---------------------------------------------------------------------------------------------------------


def run_storm(options: Options, backend: str = "postgresql", gap: tuple[float, float] = (0.2, 0.9)) -> Part:
    """Random, overlapping faults during a blast and codes; afterwards the judge checks the promises."""
    plan = Plan(
        options.folder / f"storm-{backend}",
        backend=backend,
        rate=options.rate,
        seed=options.seed,
        in_flight=100,
        serves=2,
        notifiers=2,
        fresh_statistics=False,
    )
    found: dict[str, int] = {}
    chosen = [
        fault
        for fault in faults_for(backend)
        if not options.only or any(o in fault.name for o in options.only)
    ]
    if not chosen:
        raise SystemExit(f"--only: no fault's name holds {' or '.join(options.only)}")
    drawn = draw(options.seed, options.faults, chosen, gap)
    result = storm(
        plan,
        drawn,
        tell=options.tell,
        drain_s=180,
        keep=lambda site: found.update(private_finds(site)),
    )
    name = "storm" if backend == "postgresql" else backend
    command = f"./run faults {name} --seed {options.seed} --faults {options.faults} --rate {options.rate:g}"
    command += "".join(f" --only {shlex.quote(only)}" for only in options.only)
    return storm_part(options, result, found, plan, command)


def storm_part(options: Options, result: Result, found: dict[str, int], plan: Plan, command: str) -> Part:
    """The figures of a storm."""
    verdict, figures = result.verdict, result.verdict.figures
    kills = sum(i.kills for i in result.injected)
    stop_s = plan.lease_seconds + 1 if plan.stop_within_s is None else plan.stop_within_s
    most = int(figures["most_unknown_of_one_lost_worker"])
    in_doubt = _most_in_doubt(plan)
    part = Part(command, _begun(), options.seed, result.seconds, complaints=result.complaints())
    part.figures = [
        _judged(
            verdict, "P1", "accepted messages without a row, or without an ending, after all has come to rest"
        ),
        _judged(verdict, "P2", "recipients POSTed to again, or reached twice, without the right to"),
        Figure(
            "P3",
            f"most `unknown` of one lost worker: {plan.in_flight} POSTs, and answers on their way to the ledger",
            str(most),
            f"≤ {in_doubt}",
            most <= in_doubt,
        ),
        _judged(verdict, "P3", "`unknown` where every answer was plain and no fault was at work"),
        _judged(verdict, "P4", "POSTs without an attempt committed before them"),
        _judged(verdict, "P5", "told MessageIds that are not kept"),
        _judged(
            verdict,
            "P6",
            "POSTs of messages with a time to live that left their worker after it, stamped by the kernel",
        ),
        Figure(
            "P8",
            "POSTs in the fullest second, as they left the workers, stamped by the kernel",
            f"{figures['fullest_second']:.0f}",
            f"≤ {plan.rate:.0f}",
            figures["fullest_second"] <= plan.rate,
        ),
        Figure(
            "P12",
            "numbers, words and codes of the traffic found in logs, spool, uploads, Redis, webhooks and problems",
            str(sum(found.values()) + result.private),
            "0",
            not sum(found.values()) + result.private,
        ),
        _judged(verdict, "P13", "messages on record as sent that were not, or as not sent that were"),
        _judged(
            verdict,
            "P15",
            f"POSTs {stop_s:g} s after a cancel or a pause, and rows of cancelled campaigns untrue",
        ),
        _judged(verdict, "P16", "messages that are not what the receipts of their MessageId say together"),
        _judged(
            verdict,
            "P17",
            "receipts answered with 200 that are not in the ledger, with their message or set aside",
        ),
        _judged(
            verdict,
            "P18",
            "requests answered with 202 that are done in part, twice or not at all, rows of files too",
        ),
        _judged(
            verdict,
            "P19",
            "events that a reader of the stream missed or saw twice, and statuses without their event",
        ),
        _judged(
            verdict,
            "P20",
            "events that an endpoint never got and no delivery shows, and webhooks that are not true",
        ),
    ]
    part.figures += [
        _judged(verdict, "P21", "codes sent after a newer one, and superseded by one that never went out"),
        _judged(verdict, "P22", "campaigns whose rest began before their canary was good"),
    ]
    part.facts = {
        "faults injected": f"{len(result.injected):,}",
        "of these kills": f"{kills:,}",
        "processes started": f"{result.starts:,}",
        "messages taken in": f"{len(result.taken_in):,}",
        "POSTs that the vendor read": f"{figures['posts']:,.0f}",
        "POSTs made again": f"{figures['posts_again']:,.0f}",
        "`unknown` at the end": f"{figures['unknown']:,.0f}",
        "of these really sent, by the vendor's record": f"{figures['unknown_really_sent']:,.0f}",
        "codes that a newer one replaced": f"{figures['superseded']:,.0f}",
        "`unknown` because their worker was lost": f"{figures['unknown_of_lost_workers']:,.0f}",
        "of these never POSTed": f"{figures['lost_and_never_posted']:,.0f}",
        **{what: f"{n:,}" for what, n in result.notes.items()},
        **{what: f"{result.faces[name]:,.0f}" for name, what in _FACES.items()},
        "last POST after a cancel or a pause": f"{figures['latest_ms_after_stop'] / 1000:.2f} s",
        **(_STANDING if plan.backend == "postgresql" and not plan.fresh_statistics else {}),
        "time from the last fault to rest": f"{result.drained_in:.0f} s",
        "the ledger's own audit": "holds" if result.audit.holds else "broken",
    }
    counted = Counter(re.sub(r", (again|once more)$", "", i.fault) for i in result.injected)
    part.tables = {"Faults": [["fault", "times"], *[[name, str(n)] for name, n in sorted(counted.items())]]}
    return part


def _most_in_doubt(plan: Plan) -> int:
    """Decision 5: POSTs under way, and half as many answers that wait for the ledger, are lost with their worker.

    What is open beside them waits for its slice: grants are 100 ms ahead, so some 20 at 200 a second, and more while
    slices are missed. The flight record says that these were not POSTed, also after a rescue took them for unknown.
    """
    return plan.in_flight + plan.in_flight // 2


_FACES = {
    "http_messages": "codes sent over HTTP",
    "http_answers": "answers to them",
    "uploads": "files posted",
    "exports": "exports",
    "receipts_of_no_message": "receipts of no message that the ledger knows",
    "events": "events",
    "webhook_events": "events that endpoints of webhooks took, each once",
    "webhook_events_shown": "events whose delivery waits for a later try, and is shown",
}
#: What holds from the begin of a storm to its end.
_STANDING = {
    "the ledger's statistics": "of an hour when nothing waited; autovacuum is off",
    "the ledger's role": "synchronous_commit = off",
}


def private_finds(site: Installation) -> dict[str, int]:
    """Where numbers, words or codes of the traffic lie that should not: files of the installation, and Redis.

    A posted file that was never put on record, since ``serve`` was killed, is deleted after ten minutes, and may lie.
    """
    found: dict[str, int] = {}
    files = [file for folder in ("logs", "spool") for file in (site.folder / folder).rglob("*")]
    with site.ledger.read() as tx:
        on_record = [str(id) for id in tx.execute(select(uploads.c.id)).scalars()]
    files += [file for id in on_record for file in (site.folder / "uploads" / id).rglob("*")]
    for file in files:
        if file.is_file():
            hits = len(PRIVATE.findall(file.read_bytes()))
            if hits:
                found[file.name] = hits
    # Redis's own file holds whatever was ever written to it.
    for file in (site.valkey.folder / "appendonlydir").glob("*"):
        hits = len(PRIVATE.findall(file.read_bytes()))
        if hits:
            found[f"redis {file.name}"] = hits
    with redis.Redis.from_url(site.valkey.url) as client:
        for key in client.scan_iter(count=1000):
            value = client.dump(key) or b""
            hits = len(PRIVATE.findall(key + value))
            if hits:
                found["redis"] = found.get("redis", 0) + hits
    return found


# -- recovery ------------------------------------------------------------------------------------------------------

#: What P9 names, and what else takes the rate down.
RECOVERED = (
    "worker killed",
    "relay killed",
    "worker frozen past its lease",
    "Redis killed and started",
    "Redis lost everything",
    "Redis wiped (FLUSHALL)",
    "Redis came back with an older state",
    "Redis frozen",
    "Redis full",
    "Redis black-holed for one process",
    "ledger crashed and recovered",
    "ledger read-only",
    "ledger out of connections",
    "ledger black-holed for one process",
    "ledger's disk full (53100)",
    "vendor unreachable",
    "vendor says busy (503)",
    "out of money (17125)",
)
_NAMED = (
    "worker killed",
    "Redis killed and started",
    "Redis wiped (FLUSHALL)",
    "ledger crashed and recovered",
)


def run_recovery(options: Options, times: int = 2, rest_s: float = 9.0) -> Part:
    """One fault at a time: how soon after its end the vendor sees the usual rate again."""
    dice = random.Random(options.seed)
    by_name = {fault.name: fault for fault in FAULTS}
    plan = Plan(options.folder / "recovery", rate=options.rate, seed=options.seed, in_flight=100)
    began = time.monotonic()
    with running(plan) as site:
        prepare(site)
        traffic = Traffic(site, ahead_seconds=40, over_http=False)
        enemy = Nemesis(site, traffic)
        traffic.start()
        time.sleep(15)
        for number in range(times):
            options.tell(f"round {number + 1} of {times}")
            for name in RECOVERED:
                fault = by_name[name]
                enemy.one(Planned(0.0, fault, dice.uniform(*fault.hold), dice.randrange(1 << 32)))
                time.sleep(rest_s)
        # Time to watch the last one by.
        time.sleep(15)
        traffic.stop()
        drain(site, 180)
        traffic.receipts.finish()
        site.halt()
        records = site.records(traffic.notes.asked())
        verdict, audit = judge(records), site.audit()
    instants = sorted(row.steady_s for row in records.posted)
    took: dict[str, list[float]] = defaultdict(list)
    never: list[str] = []
    for injected in enemy.injected:
        seconds = recovery_seconds(instants, injected.healed, plan.rate)
        if seconds is None:
            never.append(injected.fault)
        else:
            took[injected.fault].append(seconds)
    part = Part(
        f"./run faults recovery --seed {options.seed}", _begun(), options.seed, time.monotonic() - began
    )
    part.figures = [
        Figure("P9", name, spread(took[name]), "≤ 10 s", bool(took[name]) and max(took[name]) <= 10)
        for name in _NAMED
    ]
    part.tables = {
        "From the end of the fault to the first second at 80 % of the usual rate": [
            ["fault", "recovery"],
            *[[name, spread(took[name])] for name in RECOVERED],
        ]
    }
    part.facts = {"faults": str(len(enemy.injected)), "messages": f"{len(records.kept):,}"}
    part.complaints = _complaints(verdict, audit, enemy.injected, [f"never recovered: {n}" for n in never])
    return part


def _complaints(verdict: Verdict, audit: Any, injected: list[Injected], more: list[str]) -> str:
    lines = [f"{f.promise} {f.rule}: {f.broken} of {f.checked}: {f.offenders}" for f in verdict.broken()]
    lines += [f"audit: {f.rule}: {f.broken}: {f.offenders}" for f in audit.findings if f.broken]
    lines += [f"not injected: {i.fault}: {i.error}" for i in injected if i.error]
    return "\n".join([*lines, *more])


def _submit(site: Installation, name: str, people: list[str], *, at: datetime | None = None) -> None:
    """A blast to these people, straight to the servers."""
    Producer.from_settings(Settings.from_env(site.environ, None)).submit(
        name=name,
        key=name,
        sender=SENDER,
        kind="marketing",
        type="text",
        content=TEXT,
        rows=[{"to": to, "k": "1"} for to in people],
        at=at,
    )


# -- no fault at all -------------------------------------------------------------------------------------------------


def run_quiet(options: Options) -> Part:
    """A blast and a code each 0.2 s, nothing broken: no unknown message, codes on time, the rate used."""
    plan = Plan(
        options.folder / "quiet", rate=options.rate, seed=options.seed, workers=1, relays=1, stop_within_s=1.0
    )
    began = time.monotonic()
    with running(plan) as site:
        codes = Traffic(site, ahead_seconds=0, code_every=0.2, over_http=False)
        blast = codes.people(options.backlog)
        for start in range(0, len(blast), 20_000):
            codes.blast(f"blast {start}", blast[start : start + 20_000])
        options.tell(f"{options.backlog:,} messages wait; codes from now on")
        time.sleep(3)
        codes.start()
        time.sleep(options.minutes * 60)
        codes.stop()
        until = time.monotonic()
        for name, people in codes.blasts().items():
            begun = now_ms()
            status, _ = site.ask("campaigns", "cancel", name, "--why", "enough was seen")
            if status == 0:
                codes.notes.stop(people, begun, now_ms(), None)
        drain(site, 120)
        codes.receipts.finish()
        site.halt()
        records = site.records(codes.notes.asked())
        verdict, audit = judge(records), site.audit()
    first = {row.to: row.at_ms for row in reversed(records.posted)}
    waits = [first[to] - at for to, at in codes.notes.codes.items() if to in first]
    instants = [row.steady_s for row in records.posted if row.steady_s < until]
    used = (len(instants) - 1) / (max(instants) - min(instants)) / plan.rate
    unknown = int(verdict.figures["unknown"])
    part = Part("./run faults quiet", _begun(), options.seed, time.monotonic() - began)
    part.figures = [
        Figure("P3", "`unknown` where nothing was broken", str(unknown), "0", unknown == 0),
        Figure(
            "P7",
            f"p99 from `send` returning to the POST, {options.backlog:,} marketing messages waiting",
            f"{percentile(waits, 0.99):.0f} ms (p50 {percentile(waits, 0.5):.0f} ms, {len(waits)} codes)",
            "≤ 1 s",
            percentile(waits, 0.99) <= 1000,
        ),
        Figure(
            "P8",
            "POSTs in the fullest second, nothing broken",
            f"{verdict.figures['fullest_second']:.0f} ({used:.1%} of the limit used)",
            f"≤ {plan.rate:.0f}",
            verdict.figures["fullest_second"] <= plan.rate,
        ),
        Figure(
            "P15",
            f"last POST after `campaigns cancel` returned, {len(blast):,} messages in {len(codes.blasts())} campaigns",
            f"{verdict.figures['latest_ms_after_stop'] / 1000:.2f} s",
            "≤ 1 s",
            verdict.figures["latest_ms_after_stop"] <= 1000,
        ),
    ]
    part.complaints = _complaints(verdict, audit, [], [])
    return part


# -- stops -----------------------------------------------------------------------------------------------------------


def run_stops(options: Options, times: int = 20) -> Part:
    """SIGTERM to a worker during a blast, repeatedly: how long a stop takes, and that no message is harmed."""
    plan = Plan(options.folder / "stops", rate=options.rate, seed=options.seed, in_flight=100)
    dice = random.Random(options.seed)
    began = time.monotonic()
    took: list[float] = []
    wrong: list[str] = []
    with running(plan) as site:
        traffic = Traffic(site, ahead_seconds=20, over_http=False)
        traffic.start()
        for number in range(times):
            site.wait("workers work", lambda: site.alive_workers() >= 2, 30)
            time.sleep(dice.uniform(0.5, 2.0))
            member = site.pick("worker", number)
            child, starts = member.child, member.starts
            asked = time.monotonic()
            site.signal(member, signal.SIGTERM)
            site.wait("it ends", lambda m=member, s=starts: m.starts > s, 60)
            took.append(time.monotonic() - asked)
            if child is not None and member.statuses[-1] != 0:
                wrong.append(f"exit status {member.statuses[-1]}")
        traffic.stop()
        drain(site, 120)
        traffic.receipts.finish()
        site.halt()
        records = site.records(traffic.notes.asked())
        verdict, audit = judge(records), site.audit()
    unknown = int(verdict.figures["unknown"])
    lost = _broken(verdict, "P1")[0]
    twice = _broken(verdict, "P2")[0]
    most = float(4 + 5)
    part = Part(f"./run faults stops --seed {options.seed}", _begun(), options.seed, time.monotonic() - began)
    part.figures = [
        Figure("P10", "SIGTERM to exit", spread(took), f"≤ {most:.0f} s", max(took) <= most),
        Figure(
            "P10",
            f"messages twice / lost / in doubt after {times} stops",
            f"{twice} / {lost} / {unknown}",
            "0 / 0 / 0",
            not (twice or lost or unknown),
        ),
    ]
    part.complaints = _complaints(verdict, audit, [], wrong)
    return part


# -- one key ---------------------------------------------------------------------------------------------------------

_SEND = """
import sys
from producer import Producer
producer = Producer.from_env()
for _ in range(int(sys.argv[3])):
    receipt = producer.send(to=sys.argv[1], sender=sys.argv[2], kind="otp", type="text",
                            content={"body": "Your code is c4n4ry-1"}, key="login-1")
    print(receipt.id)
"""


def run_keys(options: Options, processes: int = 8, each: int = 100) -> Part:
    """The same key from several processes at once: one row, one POST."""
    plan = Plan(options.folder / "keys", rate=options.rate, workers=1, relays=1, serves=0)
    began = time.monotonic()
    with running(plan) as site:
        to = numbers(0, 1)[0]

        def one(_: int) -> str:
            done = subprocess.run(
                [sys.executable, "-c", _SEND, to, SENDER, str(each)],
                env=site.environ | {"PYTHONPATH": str(ROOT)},
                cwd=site.folder,
                capture_output=True,
                text=True,
                timeout=120,
                check=True,
            )
            return done.stdout

        with ThreadPoolExecutor(processes) as pool:
            ids = {line for said in pool.map(one, range(processes)) for line in said.split()}
        drain(site, 30)
        site.halt()
        records = site.records(Asked(taken_in=frozenset([to])))
    rows, posts = len(records.kept), len(records.posted)
    part = Part("./run faults keys", _begun(), 0, time.monotonic() - began)
    part.figures = [
        Figure(
            "P11",
            f"one key sent {processes * each} times from {processes} processes at once: rows / POSTs / ids told",
            f"{rows} / {posts} / {len(ids)}",
            "1 / 1 / 1",
            rows == posts == len(ids) == 1,
        )
    ]
    return part


# -- the vendor zoo --------------------------------------------------------------------------------------------------


def run_zoo(options: Options) -> Part:
    """Every way in which a server can answer, cut, drip, redirect or garble: the contract suite of transports."""
    began = time.monotonic()
    report = options.folder / "zoo.xml"
    options.folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "tests/contracts/test_vendor_client_contract.py"),
            *("-n", "2", f"--junit-xml={report}"),
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    import xml.etree.ElementTree as ET

    suite = ET.parse(report).getroot().find("testsuite")  # noqa: S314 - pytest's own file
    assert suite is not None
    total = int(suite.get("tests", 0))
    wrong = int(suite.get("failures", 0)) + int(suite.get("errors", 0)) + int(suite.get("skipped", 0))
    part = Part("./run faults zoo", _begun(), 0, time.monotonic() - began)
    part.figures = [
        Figure(
            "P13",
            "behaviours of a lying server, of both transports, put into the right class",
            f"{total - wrong} of {total}",
            "all",
            total > 0 and not wrong,
        )
    ]
    return part


# -- poison ----------------------------------------------------------------------------------------------------------


def run_poison(options: Options, rows: int = 1500) -> Part:
    """A message that kills each worker that renders it, in the middle of a blast: only that message may fail."""
    plan = Plan(options.folder / "poison", rate=options.rate, seed=options.seed, serves=0, lease_seconds=60)
    began = time.monotonic()
    with running(plan) as site:
        people = numbers(0, rows)
        _submit(site, "blast", people, at=datetime.fromtimestamp(time.time() + 8, UTC))
        with site.ledger.read() as tx:
            row = tx.execute(
                select(messages.c.id).where(messages.c.recipient == people[rows // 3])
            ).scalar_one()
        poison = str(row)
        with site.lock:
            for member in site.members.values():
                if member.name.startswith("worker"):
                    member.environ["BULKSEND_FAILPOINTS"] = f"rendering@{poison}:kill:*"
                    site.signal(member, signal.SIGTERM)
        live = drain(site, rows / options.rate + 90)
        site.halt()
        # The poison message is the one that is given up without the vendor's word.
        healthy = frozenset(people) - {people[rows // 3]}
        records = site.records(Asked(taken_in=healthy))
        verdict = judge(replace(records, kept=[m for m in records.kept if m.id != poison]))
        audit = site.audit()
        with site.ledger.read() as tx:
            status, error = tx.execute(
                select(messages.c.status, messages.c.error).where(messages.c.id == poison)
            ).one()
            started = sorted(tx.execute(select(attempts.c.started_at)).scalars())
        deaths = sum(s == -signal.SIGKILL for m in site.members.values() for s in m.statuses)
    statuses = Counter(m.status for m in records.kept)
    # At the full rate the n-th message starts n / rate after the first: a gap is how long all stood still.
    gap = max((b - a for a, b in itertools.pairwise(started)), default=0) / 1000
    # A POST that was under way when its process died is in doubt, as after any kill.
    others = rows - 1 - statuses["accepted"] - statuses["unknown"]
    part = Part("./run faults poison", _begun(), 0, time.monotonic() - began)
    part.figures = [
        Figure(
            "P14",
            "the poison message's ending",
            f"{status} after {deaths} killed workers",
            "failed, quarantined",
            status == "failed" and "quarantined" in (error or ""),
        ),
        Figure(
            "P14",
            f"of the other {rows - 1}, neither accepted nor on the wire when a process died",
            f"{others} ({statuses['unknown']} were on the wire)",
            "0",
            others == 0,
        ),
        Figure("P14", "longest time without a POST", f"{gap:.1f} s", "≤ 5 s", gap <= 5),
    ]
    part.complaints = _complaints(verdict, audit, [], [f"{live} never came to rest"] if live else [])
    return part


# -- planted bugs ----------------------------------------------------------------------------------------------------


def catches(
    bug: PlantedBug,
    folder: Path,
    *,
    rate: float = 150.0,
    times: int = 6,
    seed: int = 1,
    drain_s: float = 15.0,
    traffic: Mapping[str, Any] | None = None,
    **plan: Any,
) -> Verdict:
    """The judge's verdict on a program with this bug, after the faults that bring it to light.

    ``plan`` are further fields of the installation's Plan.
    """
    root = plant(bug, folder / "program")
    by_name = {fault.name: fault for fault in FAULTS}
    dice = random.Random(seed)
    chosen: list[Fault] = [by_name[name] for name in bug.faults]
    drawn = [
        Planned(1.0 + number * 3.0, fault, dice.uniform(*fault.hold), dice.randrange(1 << 32))
        for number in range(times)
        for fault in chosen
    ]
    made = Plan(folder / "site", rate=rate, in_flight=60, relays=1, notifiers=1, seed=seed, root=root, **plan)
    return storm(made, drawn, drain_s=drain_s, traffic={"resend_each": 10_000, **(traffic or {})}).verdict


#: Each of six faults.
_STORMS_A_BUG = 3


def run_planted(options: Options) -> Part:
    """Remove one safety after the other: the judge must notice each."""
    began = time.monotonic()
    part = Part("./run faults planted", _begun(), options.seed, 0.0)
    rows = [["planted bug", "promises seen to break", ""]]
    for number, bug in enumerate(PLANTED):
        options.tell(bug.name)
        # A bug needs its moment: a worker frozen while it holds what another then sends. Not every storm has one.
        for storms in range(1, _STORMS_A_BUG + 1):
            folder = options.folder / f"planted-{number}-{storms}"
            verdict = catches(bug, folder, seed=options.seed + storms - 1)
            broken = sorted({finding.promise for finding in verdict.broken()})
            caught = bug.breaks <= set(broken)
            if caught:
                break
        verdict_on_us = f"caught in storm {storms}" if caught else f"**MISSED** in {storms} storms"
        rows.append([bug.name, ", ".join(broken), verdict_on_us])
        if not caught:
            part.complaints += f"{bug.name} was not noticed\n"
    part.tables = {"The judge on a program with one safety taken out": rows}
    part.seconds = time.monotonic() - began
    return part
