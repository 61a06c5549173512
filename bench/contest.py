"""bulksend beside what people use: messages a second from Redis to a stored result, all in one run, one vendor.

    ./run bench [--rounds 3] [--scale 1.0]

Contenders take turns. Each has a PostgreSQL and a Valkey of its own that nothing else uses meanwhile, finds its jobs
waiting, renders, signs, POSTs to a vendor that answers after 50 ms, and stores the result. The time runs from the
first POST at the vendor to the last result in the database, and so does the CPU: no start is counted. Each
runs at several concurrencies, and those that use one core also as two processes; its best counts.
A round takes about seven minutes on an otherwise idle machine. The first run installs what the others need
into .bench, from the package registries.

    ours            every safety on: claim, write-ahead, permits, settlement, fencing
    ours on SQLite  the same
    bullmq          a job a message, undici, pg: one INSERT after each POST (Node; left out where there is none)
    bullmq, written ahead   the same with a row before each POST, so that a crash sends nothing twice
    go              a goroutine a slot, LMOVE as a reliable queue, net/http, pgx: one INSERT after each POST (left out
                    where Go or one of its libraries is not there; bench/go_peer.py names Debian's packages)
    go, written ahead       the same with a row before each POST
    taskiq          a task a message, aiohttp, psycopg's async pool, one INSERT after each POST
    celery          a task a message on threads, httpx, one INSERT after each POST
    ceiling         a bare loop of our vendor client
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench import go_peer, sending
from bench.machine import cost
from bench.output import say
from bench.stand import ROOT, Stand, stand
from bench.vendor import vendor
from bench.vendor_client import ours, rate
from bulksend.gateway.socket_transport import SocketTransport
from worker import event_loop

PEERS = ROOT / "bench" / "peers"
FOLDER = ROOT / ".bench"
RESULTS = (
    "CREATE TABLE results (n integer PRIMARY KEY, recipient text NOT NULL, status text NOT NULL, message_id text, "
    "at timestamptz NOT NULL DEFAULT now())"
)
_STORED = "SELECT count(*) FROM results WHERE status <> 'sending'"


@dataclass(frozen=True, slots=True)
class Figure:
    """One run of one contender. ``concurrency`` of each worker process; ``cpu_us`` and ``peak_mb`` by part."""

    contender: str
    concurrency: int
    rate: float
    cpu_us: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Contender:
    """A contender, its concurrencies by the number of its worker processes, and its number of messages.

    ``run`` gets workers, concurrency and messages.
    """

    name: str
    concurrencies: Mapping[int, Sequence[int]]
    messages: int
    run: Callable[[int, int, int], Figure]


def our_own(backend: str, name: str) -> Callable[[int, int, int], Figure]:
    """Ours on a backend."""

    def run(workers: int, concurrency: int, messages: int) -> Figure:
        with stand(backend, in_flight=concurrency, rate=20_000) as at:
            found = sending.blast(at, messages, workers=workers)
        return Figure(name, concurrency, found.rate, found.cpu_us, found.peak_mb, workers)

    return run


def by_hand(
    name: str, command: Sequence[str], *, write_ahead: bool = False
) -> Callable[[int, int, int], Figure]:
    """A job a message, by a program with ``enqueue COUNT`` and ``work CONCURRENCY``."""

    def run(workers: int, concurrency: int, messages: int) -> Figure:
        with _results_stand() as at:
            at.environ["WRITE_AHEAD"] = "1" if write_ahead else "0"
            _quietly(at, [*command, "enqueue", str(messages)])
            work = [*command, "work", str(concurrency)]
            return _measured(at, name, workers, concurrency, messages, work)

    return run


def taskiq(workers: int, concurrency: int, messages: int) -> Figure:
    """A task a message, on an event loop in each process."""
    command = ["-m", "taskiq", "worker", "tasks:broker", "-w", "1", "--max-async-tasks", str(concurrency)]
    return _python_peer("taskiq", workers, concurrency, messages, command)


def celery(workers: int, concurrency: int, messages: int) -> Figure:
    """A task a message, on threads."""
    command = ["-m", "celery", "-A", "tasks", "worker", "--pool", "threads", "-c", str(concurrency)]
    more = ["--without-gossip", "--without-mingle"]
    return _python_peer("celery", workers, concurrency, messages, [*command, *more])


def _python_peer(name: str, workers: int, concurrency: int, messages: int, command: list[str]) -> Figure:
    python = str(FOLDER / "venv" / "bin" / "python")
    with _results_stand() as at:
        at.environ |= {"PEER": name, "PYTHONPATH": str(PEERS)}
        _quietly(at, [python, str(PEERS / "tasks.py"), str(messages)])
        return _measured(at, name, workers, concurrency, messages, [python, *command])


@contextmanager
def _results_stand() -> Iterator[Stand]:
    """A stand with a table for results and nothing of ours at work."""
    with stand() as at:
        with at.ledger() as database, database.write() as tx:
            tx.exec_driver_sql(RESULTS)
        assert at.postgres is not None
        at.environ |= {
            "VENDOR_URL": at.vendor.url,
            "PG_URL": at.postgres.url.replace("+psycopg", ""),
            "LOGLEVEL": "WARNING",
        }
        yield at


def _quietly(at: Stand, command: list[str]) -> None:
    subprocess.run(command, env=at.environ, cwd=at.folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603


def _measured(
    at: Stand, name: str, workers: int, concurrency: int, messages: int, command: list[str]
) -> Figure:
    for _ in range(workers):
        at.start("worker", *command)
    at.wait("the first POST", at.vendor.count, every=0.005)
    before = cost(at.parts)
    with at.ledger() as database:

        def stored() -> int:
            with database.read() as tx:
                return int(tx.exec_driver_sql(_STORED).scalar_one())

        at.wait(f"{name} has sent all", lambda: at.vendor.count() >= messages, 300, 0.2)
        at.wait(f"{name} has stored all", lambda: stored() >= messages, 30, 0.02)
    ended = time.monotonic()
    used = cost(at.parts).since(before)
    began = at.vendor.arrivals()[0][0]
    each, peaks = used.each_us(messages), at.peaks_mb()
    return Figure(name, concurrency, messages / (ended - began), each, peaks, workers)


def bare(_workers: int, concurrency: int, messages: int) -> Figure:
    """Our vendor client alone: builds, signs, POSTs, reads."""
    with vendor() as at:
        url = at.url
        made = event_loop.run(
            rate(ours(SocketTransport(url, connections=concurrency)), concurrency, messages / 4000)
        )
    return Figure("ceiling", concurrency, made[0], {"worker": made[1]})


def contenders(scale: float) -> list[Contender]:
    """All that can take part here."""

    def many(count: int) -> int:
        return max(200, int(count * scale))

    found = [
        Contender("ours", {1: (200, 400, 800), 2: (200, 400)}, many(40_000), our_own("postgresql", "ours")),
        Contender("ours on SQLite", {1: (400,)}, many(40_000), our_own("sqlite", "ours on SQLite")),
    ]
    for name, command in programs().items():
        ahead = f"{name}, written ahead"
        # A worker in Go computes on all cores.
        two: dict[int, Sequence[int]] = {} if name == "go" else {2: (200, 400)}
        found += [
            Contender(name, {1: (200, 400, 800)} | two, many(30_000), by_hand(name, command)),
            Contender(ahead, {1: (400, 800)} | two, many(30_000), by_hand(ahead, command, write_ahead=True)),
        ]
    return [
        *found,
        Contender("taskiq", {1: (200, 400), 2: (200,)}, many(10_000), taskiq),
        Contender("celery", {1: (20, 100), 2: (20, 50)}, many(3_000), celery),
        Contender("ceiling", {1: (200, 400, 800)}, many(20_000), bare),
    ]


def programs() -> dict[str, list[str]]:
    """The commands of those that are no Python and can run here; of the others it says that they are left out."""
    found = {}
    node = shutil.which("node")
    if node and shutil.which("npm"):
        found["bullmq"] = [node, str(FOLDER / "bullmq" / "worker.mjs")]
    else:
        say("bullmq is left out: there is no node and npm here")
    if lacking := go_peer.lacks():
        say(f"go is left out: {lacking}")
    else:
        found["go"] = [str(FOLDER / "go" / "worker")]
    return found


def runtimes() -> dict[str, str]:
    """The versions of what they run on."""
    found = {}
    if node := shutil.which("node"):
        said = subprocess.run([node, "--version"], check=True, capture_output=True, text=True)  # noqa: S603
        found["Node"] = said.stdout.strip().removeprefix("v")
    if not go_peer.lacks():
        found["Go"] = go_peer.version()
    return found


def prepare() -> None:
    """Install what peers need, once, into a folder of their own; build the peer in Go there each time."""
    python = FOLDER / "venv" / "bin" / "python"
    wanted = (PEERS / "requirements.lock").read_text()
    stamp = FOLDER / "venv" / "installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        say(f"installing what the other contenders need into {FOLDER} (once)")
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER / "venv")], check=True)  # noqa: S603
        install = ["-m", "pip", "install", "-q", "--require-hashes", "-r", str(PEERS / "requirements.lock")]
        subprocess.run([str(python), *install], check=True)  # noqa: S603
        stamp.write_text(wanted)
    if shutil.which("npm"):
        folder = FOLDER / "bullmq"
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "worker.mjs"):
            shutil.copy(PEERS / name, folder / name)
        if not (folder / "node_modules" / "bullmq").exists():
            options = ["--no-audit", "--no-fund", "--no-package-lock", "--silent"]
            subprocess.run([str(shutil.which("npm")), "install", *options], cwd=folder, check=True)  # noqa: S603
    if not go_peer.lacks():
        go_peer.build(FOLDER / "go")


def contest(rounds: int, scale: float, only: Sequence[str] = ()) -> list[Figure]:
    """Every contender at every concurrency, round after round."""
    prepare()
    figures: list[Figure] = []
    for number in range(1, rounds + 1):
        for contender in contenders(scale):
            if only and contender.name not in only:
                continue
            for workers, concurrencies in contender.concurrencies.items():
                for concurrency in concurrencies:
                    figures.append(contender.run(workers, concurrency, contender.messages))
                    say(f"round {number}: {_line(figures[-1])}")
    return figures


def _line(of: Figure) -> str:
    parts = ", ".join(f"{part} {us:.0f}" for part, us in sorted(of.cpu_us.items()))
    return f"{of.contender:22} {of.workers} × {of.concurrency:3} {of.rate:8,.0f}/s  CPU µs: {parts}"


def medians(figures: Sequence[Figure]) -> dict[tuple[str, int, int], Figure]:
    """The median run of each contender, number of workers and concurrency, by its rate."""
    found: dict[tuple[str, int, int], Figure] = {}
    for key in dict.fromkeys(map(_key, figures)):
        runs = sorted((f for f in figures if _key(f) == key), key=lambda f: f.rate)
        found[key] = runs[(len(runs) - 1) // 2]
    return found


def _key(figure: Figure) -> tuple[str, int, int]:
    return figure.contender, figure.workers, figure.concurrency


def rate_of(figure: Figure) -> float:
    """Messages a second."""
    return figure.rate


def ratio(figures: Sequence[Figure], one: str, other: str, of: Callable[[Figure], float] = rate_of) -> float:
    """Median over the rounds of one's best run against the other's best of the same round; the best is the fastest."""
    names = {f.contender for f in figures}
    if one not in names or other not in names:
        return float("nan")
    rounds = [_best_by_round(figures, name) for name in (one, other)]
    return statistics.median(of(a) / of(b) for a, b in zip(*rounds, strict=True))


def _best_by_round(figures: Sequence[Figure], name: str) -> list[Figure]:
    own = [f for f in figures if f.contender == name]
    each = len(set(map(_key, own)))
    return [max(own[at : at + each], key=rate_of) for at in range(0, len(own), each)]
