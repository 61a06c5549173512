"""The faults, and who draws them: a seed gives the same list of faults, instants and holds each time.

A fault is injected, held, and healed. Those of one target never overlap; those of different targets do.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import redis
from sqlalchemy import select

from bulksend.broker import batches, job_ids, publish
from bulksend.broker.app import make_app
from bulksend.ledger.schema import messages
from bulksend.messaging import Kind
from tests.faults import clocks, controls
from tests.faults.hooks import KINDS
from tests.faults.installation import Installation
from tests.faults.notes import now_ms
from tests.faults.proxy import Link, Way
from tests.faults.traffic import Traffic

#: Where a worker can be made to die; the nth time is drawn.
WORKER_STEPS = (
    *("job_taken", "before_claim", "after_claim", "rendering", "permitted", "before_open", "after_open"),
    *("connected", "request_written", "reply_read", "before_settle", "after_settle", "giving_back"),
)
RELAY_STEPS = (
    *("publishing", "published", "rescuing", "receipts_parsed", "receipts_applying", "receipts_applied"),
)
INTAKE_STEPS = ("before_chunk", "after_chunk", "chunk_published")
UPLOAD_STEPS = ("upload_written", "upload_stored", "upload_accepted")
EXPORT_STEPS = ("export_row", "export_written")
SERVE_STEPS = (*("act_done", "act_kept", "before_receipts", "spooling", "after_receipts", "spool_drained"),)
NOTIFIER_STEPS = ("fanning_out", "webhooks_claimed", "webhooks_sent")

#: Targets that no POST to the vendor depends on once it is under way.
_BESIDE_THE_POST = frozenset(
    {
        *("relay", "intake", "redis", "redis link", "person", "receipts"),
        *("serve", "api link", "notifier", "receivers", "canary", "template"),
    }
)
#: Faults that overlap at most.
MOST_AT_ONCE = 5
#: Whose link to Redis or to the ledger breaks.
_MEMBERS = {"worker": 0.45, "relay": 0.2, "serve": 0.2, "notifier": 0.15}


@dataclass(frozen=True, slots=True)
class FaultContext:
    """What a fault may touch. ``hold`` waits as long as this fault lasts."""

    site: Installation
    traffic: Traffic
    dice: random.Random
    hold_s: float

    def hold(self) -> None:
        """Let the fault last."""
        time.sleep(self.hold_s)

    def worker(self) -> Any:
        return self.site.pick("worker", self.dice.randrange(1000))

    def relay(self) -> Any:
        return self.site.pick("relay", self.dice.randrange(1000))

    def serve(self) -> Any:
        return self.site.pick("serve", self.dice.randrange(1000))

    def notifier(self) -> Any:
        return self.site.pick("notifier", self.dice.randrange(1000))

    def member(self) -> Any:
        roles, weights = zip(*_MEMBERS.items(), strict=True)
        draw = self.dice.random()
        role = self.dice.choices(roles, weights)[0]
        return self.site.pick(role, int(draw * 1000)) if self.site.has(role) else self.worker()


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault. ``target`` is what it breaks: two of one target never overlap."""

    name: str
    target: str
    strike: Callable[[FaultContext], None]
    hold: tuple[float, float] = (0.0, 0.0)
    kills: bool = False
    backends: tuple[str, ...] = ("postgresql", "sqlite")

    @property
    def casts_doubt(self) -> bool:
        """Whether it can hide from a worker what became of a POST."""
        return self.target not in _BESIDE_THE_POST


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault as drawn: when after the start, how long, and the dice for the rest."""

    at_s: float
    fault: Fault
    hold_s: float
    seed: int


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault as it happened; steady seconds."""

    fault: str
    target: str
    began: float
    healed: float
    kills: bool
    error: str = ""


def draw(seed: int, count: int, faults: list[Fault], gap: tuple[float, float]) -> list[Planned]:
    """So many faults, every kind once before any comes again."""
    dice = random.Random(seed)
    planned: list[Planned] = []
    at = 0.0
    while len(planned) < count:
        deck = list(faults)
        dice.shuffle(deck)
        for fault in deck[: count - len(planned)]:
            at += dice.uniform(*gap)
            planned.append(Planned(at, fault, dice.uniform(*fault.hold), dice.randrange(1 << 32)))
    return planned


class Nemesis:
    """Injects planned faults and remembers what it did."""

    def __init__(self, site: Installation, traffic: Traffic) -> None:
        self._site = site
        self._traffic = traffic
        self._busy: dict[str, threading.Lock] = {}
        self._noting = threading.Lock()
        self.injected: list[Injected] = []

    def storm(self, plan: list[Planned], tell: Callable[[str], None]) -> None:
        """All of them, each at its instant; returns when the last is healed."""
        began = time.monotonic()
        threads: list[threading.Thread] = []
        for number, planned in enumerate(plan):
            time.sleep(max(0.0, began + planned.at_s - time.monotonic()))
            while sum(thread.is_alive() for thread in threads) >= MOST_AT_ONCE:
                time.sleep(0.05)
            thread = threading.Thread(target=self.one, args=(planned,), daemon=True)
            thread.start()
            threads.append(thread)
            if number % 20 == 19:
                tell(f"{number + 1} of {len(plan)} faults")
        for thread in threads:
            thread.join(120)

    def one(self, planned: Planned) -> Injected:
        """One fault, from the strike to its healing."""
        context = FaultContext(self._site, self._traffic, random.Random(planned.seed), planned.hold_s)
        with self._noting:
            lock = self._busy.setdefault(planned.fault.target, threading.Lock())
        with lock:
            began, began_ms = time.monotonic(), now_ms()
            error = ""
            try:
                planned.fault.strike(context)
            except Exception as raised:  # noqa: BLE001 - a fault that could not be injected is told, not hidden
                error = f"{type(raised).__name__}: {str(raised)[:200]}"
            done = Injected(
                planned.fault.name, planned.fault.target, began, time.monotonic(), planned.fault.kills, error
            )
        if planned.fault.casts_doubt:
            self._traffic.notes.fault(began_ms, now_ms())
        with self._noting:
            self.injected.append(done)
        return done


# -- processes -----------------------------------------------------------------------------------------------------


def _signalled(of: Callable[[FaultContext], Any], number: signal.Signals) -> Callable[[FaultContext], None]:
    def strike(h: FaultContext) -> None:
        h.site.signal(of(h), number)

    return strike


def _kill_serve_at(h: FaultContext) -> None:
    """At a callback, or at an act: an act is done for it."""
    step = h.dice.choice(SERVE_STEPS)
    h.site.arm(h.serve(), f"{step}:kill:{h.dice.randint(1, 3 if step.startswith('act') else 30)}")
    if step.startswith("act"):
        name, people = _live_blast(h)
        for number in range(4):
            h.traffic.programs.export(name, len(people), f"act-{h.dice.randrange(1 << 40):x}-{number}")
    h.hold()


def _kill_serve_in_mid_upload(h: FaultContext) -> None:
    step = h.dice.choice((*UPLOAD_STEPS, *INTAKE_STEPS))
    for member in h.site.members_of("serve"):
        h.site.arm(member, f"{step}:kill:{h.dice.randint(1, 2)}")
    h.traffic.programs.post_file(f"posted-{h.dice.randrange(1 << 40):x}", 700)


def _kill_serve_in_mid_export(h: FaultContext) -> None:
    step = h.dice.choice(EXPORT_STEPS)
    name, people = _live_blast(h)
    for member in h.site.members_of("serve"):
        h.site.arm(member, f"{step}:kill:{h.dice.randint(1, 300) if step == 'export_row' else 1}")
    h.traffic.programs.export(name, len(people), f"export-{h.dice.randrange(1 << 40):x}")


def _serve_without_ledger(h: FaultContext) -> None:
    """All of them are cut off: receipts go to the spool."""
    links = [h.site.links[f"{member.name}-ledger"] for member in h.site.members_of("serve")]
    for link in links:
        link.refuse()
    try:
        h.hold()
    finally:
        for link in links:
            link.heal()


def _kill_notifier_at(h: FaultContext) -> None:
    h.site.arm(h.notifier(), f"{h.dice.choice(NOTIFIER_STEPS)}:kill:{h.dice.randint(1, 10)}")
    h.hold()


def _kill_worker(h: FaultContext) -> None:
    h.site.signal(h.worker(), signal.SIGKILL)


def _kill_worker_at(h: FaultContext) -> None:
    step = h.dice.choice(WORKER_STEPS)
    worker = h.worker()
    h.site.arm(worker, f"{step}:kill:{h.dice.randint(1, 60)}")
    h.hold()


def _end_worker(h: FaultContext) -> None:
    h.site.signal(h.worker(), signal.SIGTERM)


def _cold_stop_worker(h: FaultContext) -> None:
    h.site.signal(h.worker(), signal.SIGQUIT)


def _zombie(of: Callable[[FaultContext], Any]) -> Callable[[FaultContext], None]:
    def strike(h: FaultContext) -> None:
        member = of(h)
        h.site.signal(member, signal.SIGSTOP)
        h.hold()
        h.site.signal(member, signal.SIGCONT)

    return strike


def _kill_relay(h: FaultContext) -> None:
    h.site.signal(h.relay(), signal.SIGKILL)


def _kill_relay_at(h: FaultContext) -> None:
    h.site.arm(h.relay(), f"{h.dice.choice(RELAY_STEPS)}:kill:{h.dice.randint(1, 5)}")


def _kill_intake(h: FaultContext) -> None:
    step = h.dice.choice(INTAKE_STEPS)
    h.traffic.send_file(
        f"killed-{h.dice.randrange(1 << 40):x}", 600, failpoints=f"{step}:kill:{h.dice.randint(1, 3)}"
    )


def _same_file_twice(h: FaultContext) -> None:
    h.traffic.send_file(f"twice-{h.dice.randrange(1 << 40):x}", 400, at_once=2)


def _clock(h: FaultContext) -> None:
    member = h.member()
    while member.name.startswith("notifier"):
        # Its receivers rightly refuse a signature whose time is minutes off.
        member = h.member()
    file = h.site.folder / f"clock-{member.name}"
    clocks.step(file, h.dice.choice((-600.0, 600.0)))
    try:
        h.hold()
    finally:
        clocks.step(file, 0.0)


# -- people --------------------------------------------------------------------------------------------------------


#: How often a person tries to end the newest campaign: a small one may finish first.
_CANCELS = 10


def _cancel(h: FaultContext) -> None:
    """A person ends a campaign of which some is sent, some on the wire, and some waits."""
    for _ in range(_CANCELS):
        name, people = list(h.traffic.blasts().items())[-1]
        begun = now_ms()
        said = h.site.until_done("campaigns", "cancel", name, "--why", "wrong list")
        if said["status"] == "cancelled":
            h.traffic.notes.stop(people, begun, now_ms(), None)
            h.traffic.forget(name)
            return
        time.sleep(0.3)  # It had finished: the next one soon begins.


def _pause(h: FaultContext) -> None:
    """A person pauses a campaign in mid-flight, and lets it go on."""
    name, people = _live_blast(h)
    begun = now_ms()
    said = h.site.until_done("campaigns", "pause", name, "--why", "a look at the replies first")
    done = now_ms()
    try:
        h.hold()
    finally:
        until = now_ms()
        h.site.until_done("campaigns", "resume", name, "--why", "looks well")
    if said["status"] == "paused":
        h.traffic.notes.stop(people, begun, done, until)


def _live_blast(h: FaultContext) -> tuple[str, list[str]]:
    """One of the newest campaigns: those that are being sent, or soon will be."""
    return h.dice.choice(list(h.traffic.blasts().items())[-3:])


#: Of messages that did and did not go out by the vendor's record: how often a person settles them how. The second
#: and third of what went out are mistakes, as people make them.
_SETTLED_SENT = {"accepted": 0.6, "resend": 0.2, "failed": 0.2}
_SETTLED_UNSENT = {"resend": 0.7, "failed": 0.2, "accepted": 0.1}


def _resolve(h: FaultContext) -> None:
    """A person goes through what is unknown, looks each up at the vendor, and settles it."""
    found: list[dict[str, Any]] = []
    for _ in range(30):
        status, found = h.site.ask("messages", "unknown", "--limit", "60")
        if status == 0:
            break
        time.sleep(0.3)
    words: dict[str, dict[str, str]] = {}
    for row in found:
        if row["kind"] != "otp":  # a code is not sent again, and is over long before a person looks
            of = _SETTLED_SENT if row["to"] in h.traffic.receipts.reached else _SETTLED_UNSENT
            word = h.dice.choices(list(of), list(of.values()))[0]
            words.setdefault(word, {})[row["id"]] = row["to"]
    for word, people in words.items():
        _settle(h, word, people)


def _settle(h: FaultContext, word: str, people: dict[str, str]) -> None:
    begun = now_ms()
    for _ in range(30):
        status, said = h.site.ask("messages", "resolve", *people, "--as", word, "--why", "asked the vendor")
        # 2: the only one was settled by something else meanwhile.
        if status in (0, 1, 2) and (said or status == 2):
            settled = [id for one in said for id in _settled(one)]
            h.traffic.notes.resolve([people[id] for id in settled], word, begun)
            return
        time.sleep(0.3)
    raise TimeoutError(f"messages resolve --as {word} was never done")


def _settled(said: dict[str, Any]) -> list[str]:
    """Of several messages, or of a single one."""
    return [said["id"]] if "id" in said else [*said["resolved"], *said["resolved_before"]]


def _receipts_late(h: FaultContext) -> None:
    h.traffic.receipts.hold()
    try:
        h.hold()
    finally:
        h.traffic.receipts.release()


def _receipts_of_nobody(h: FaultContext) -> None:
    h.traffic.receipts.of_nobody(h.dice.randint(1, 300))


def _receipts_unreadable(h: FaultContext) -> None:
    h.traffic.receipts.unreadable(h.dice.randint(1, 20))


# -- receivers of webhooks -----------------------------------------------------------------------------------------


def _receiver(mood: str) -> Callable[[FaultContext], None]:
    def strike(h: FaultContext) -> None:
        name = h.dice.choice(list(KINDS))
        h.traffic.hooks.set_mood(name, mood)
        try:
            h.hold()
        finally:
            h.traffic.hooks.set_mood(name, "well")

    return strike


def _receivers_away(h: FaultContext) -> None:
    links = [h.traffic.hooks.link(name) for name in h.dice.sample(list(KINDS), 2)]
    for link in links:
        link.refuse()
    try:
        h.hold()
    finally:
        for link in links:
            link.heal()


# -- links ---------------------------------------------------------------------------------------------------------


def _cut(server: str) -> Callable[[FaultContext], None]:
    def strike(h: FaultContext) -> None:
        _link(h, server).cut()

    return strike


def _refuse(server: str) -> Callable[[FaultContext], None]:
    def strike(h: FaultContext) -> None:
        with _healed(h, server) as link:
            link.refuse()
            h.hold()

    return strike


def _swallow(server: str, *ways: Way) -> Callable[[FaultContext], None]:
    def strike(h: FaultContext) -> None:
        with _healed(h, server) as link:
            link.swallow(*ways)
            h.hold()

    return strike


def _delay(server: str) -> Callable[[FaultContext], None]:
    def strike(h: FaultContext) -> None:
        with _healed(h, server) as link:
            # To the vendor only its answers are late: requests that a network holds up and lets go at once make a
            # second at its door fuller than the one in which they left, which no sender can help.
            link.delay(h.dice.uniform(0.02, 0.4), *([Way.DOWN] if server == "vendor" else []))
            h.hold()

    return strike


def _reset_after(server: str) -> Callable[[FaultContext], None]:
    def strike(h: FaultContext) -> None:
        link = _link(h, server)
        link.reset_after(h.dice.randint(1, 20_000), h.dice.choice(list(Way)))

    return strike


def _flap(server: str) -> Callable[[FaultContext], None]:
    def strike(h: FaultContext) -> None:
        with _healed(h, server) as link:
            for _ in range(5):
                link.refuse()
                time.sleep(h.hold_s / 10)
                link.heal()
                time.sleep(h.hold_s / 10)

    return strike


def _link(h: FaultContext, server: str) -> Link:
    """To ``serve`` all go by one link; each process has its own to the other servers."""
    if server == "api":
        return h.site.links["api"]
    member = h.worker() if server == "vendor" else h.member()
    return h.site.links[f"{member.name}-{server}"]


@contextmanager
def _healed(h: FaultContext, server: str) -> Iterator[Any]:
    link = _link(h, server)
    try:
        yield link
    finally:
        link.heal()


# -- Redis ---------------------------------------------------------------------------------------------------------


@contextmanager
def _redis(h: FaultContext) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(h.site.valkey.url, socket_timeout=5) as client:
        yield client


def _redis_restart(h: FaultContext) -> None:
    h.site.valkey.kill()
    h.hold()
    h.site.valkey.start()


def _redis_emptied(h: FaultContext) -> None:
    h.site.valkey.kill()
    shutil.rmtree(h.site.valkey.folder / "appendonlydir", ignore_errors=True)
    h.hold()
    h.site.valkey.start()


def _redis_wiped(h: FaultContext) -> None:
    with _redis(h) as client:
        client.flushall()


def _redis_stale(h: FaultContext) -> None:
    """It comes back with what it knew a moment ago: a lagging replica was promoted."""
    data = h.site.valkey.folder / "appendonlydir"
    older = h.site.folder / "older-appendonlydir"
    shutil.rmtree(older, ignore_errors=True)
    shutil.copytree(data, older)
    h.hold()
    h.site.valkey.kill()
    shutil.rmtree(data)
    shutil.move(older, data)
    h.site.valkey.start()


def _redis_frozen(h: FaultContext) -> None:
    pid = h.site.valkey.pid
    if pid is not None:
        os.kill(pid, signal.SIGSTOP)
        h.hold()
        os.kill(pid, signal.SIGCONT)


def _redis_full(h: FaultContext) -> None:
    with _redis(h) as client:
        client.config_set("maxmemory", 1)
        try:
            h.hold()
        finally:
            client.config_set("maxmemory", 0)


def _redis_clients_killed(h: FaultContext) -> None:
    with _redis(h) as client:
        client.client_kill_filter(_type="normal", skipme=True)


def _redis_junk(h: FaultContext) -> None:
    with _redis(h) as client:
        for lane in ("otp", "utility", "marketing"):
            client.lpush(lane, b"garbage{", b"[1,2]", b"{}", b"\x00\xff", b'{"body": 7, "headers": []}')


def _redis_redelivery(h: FaultContext) -> None:
    """What lies there, and what was delivered lately, comes again and again, as by a visibility timeout."""
    with _redis(h) as client:
        for lane in ("otp", "utility", "marketing"):
            for raw in client.lrange(lane, 0, -1):
                if job_ids(raw):
                    client.lpush(lane, *[raw] * 4)
    query = select(messages.c.id).where(messages.c.kind == "marketing").order_by(messages.c.id.desc())
    # Another fault may have the ledger just now.
    ids = h.site.ledger.retrying(lambda tx: [str(id) for id in tx.execute(query.limit(3000)).scalars()])
    app = make_app(h.site.valkey.url, name="fault-bench")
    for batch in batches(ids, 500):
        for _ in range(2):
            publish(app, Kind.MARKETING, batch, published_ms=int(time.time() * 1000))


# -- the ledger ----------------------------------------------------------------------------------------------------


_ANSWERS = """
CREATE TABLE IF NOT EXISTS fault_bench_answer (state text, share float);
CREATE OR REPLACE FUNCTION fault_bench() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE fault record;
BEGIN
  SELECT * INTO fault FROM fault_bench_answer LIMIT 1;
  IF FOUND AND random() < fault.share THEN
    RAISE EXCEPTION 'the fault bench answers %', fault.state USING ERRCODE = fault.state;
  END IF;
  RETURN NULL;
END $$;
"""
_TROUBLED = (
    *("messages", "in_flight", "attempts", "events", "raw_receipts", "receipts", "uploads"),
    *("idempotent_requests", "webhook_endpoints", "webhook_deliveries"),
)


def prepare(site: Installation) -> None:
    """What the ledger's faults need. Statements then fail with the states that a real server would send."""
    if site.postgres is not None:
        with site.admin() as admin:
            admin.execute(_ANSWERS.encode())
            for table in _TROUBLED:
                trigger = f"CREATE OR REPLACE TRIGGER fault_bench BEFORE INSERT OR UPDATE ON {table}"
                admin.execute(f"{trigger} EXECUTE FUNCTION fault_bench()".encode())


def make_statistics_stale(site: Installation, traffic: Traffic) -> None:
    """Let PostgreSQL count a ledger in which nothing waits; what comes later is counted no more."""
    if site.postgres is not None and not site.plan.fresh_statistics:
        traffic.blast("before the statistics", traffic.people(300))
        site.wait("the first blast has ended", lambda: not site.live_messages(), 60)
        with site.admin() as admin:
            admin.execute("ANALYZE")


def _ledger_answers(state: str, share: float) -> Callable[[FaultContext], None]:
    def strike(h: FaultContext) -> None:
        with h.site.admin() as admin:
            admin.execute("INSERT INTO fault_bench_answer VALUES (%s, %s)", (state, share))
            try:
                h.hold()
            finally:
                admin.execute("DELETE FROM fault_bench_answer")

    return strike


def _ledger_restart(h: FaultContext) -> None:
    assert h.site.postgres is not None
    h.site.postgres.stop(immediate=True)
    h.hold()
    h.site.postgres.start()


def _ledger_killed(h: FaultContext) -> None:
    """All of its processes at once, by kill -9: what was not handed to the kernel is gone."""
    postgres = h.site.postgres
    assert postgres is not None
    pid = postgres.pid
    if pid is not None:
        for one in [pid, *_children(pid)]:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
    postgres.stop(immediate=True)
    h.hold()
    postgres.start()


def _children(pid: int) -> list[int]:
    """Processes that it started and that still run."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _ledger_read_only(h: FaultContext) -> None:
    with h.site.admin() as admin:
        admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        admin.execute("SELECT pg_reload_conf()")
        try:
            h.hold()
        finally:
            admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
            admin.execute("SELECT pg_reload_conf()")


def _ledger_out_of_connections(h: FaultContext) -> None:
    assert h.site.postgres is not None
    url = h.site.postgres.url.replace("postgresql+psycopg", "postgresql")
    held: list[psycopg.Connection[Any]] = []
    try:
        with h.site.admin() as admin:
            until = time.monotonic() + h.hold_s
            while time.monotonic() < until:
                # Whoever holds one loses it, and finds that we have taken its place.
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bulksend'"
                )
                try:
                    while True:
                        held.append(psycopg.connect(url, connect_timeout=2))
                except psycopg.OperationalError:
                    time.sleep(0.2)
    finally:
        for connection in held:
            connection.close()


def _ledger_backends_ended(h: FaultContext) -> None:
    with h.site.admin() as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bulksend'"
        )


@contextmanager
def _beside_the_ledger(h: FaultContext) -> Iterator[Any]:
    """A connection by the SQLite library of the ledger, in a transaction of our own.

    Python's own ``sqlite3`` would be a second library in this process: closing its file drops the locks that the first
    one holds, and two processes then write at once (sqlite.org/howtocorrupt.html, 2.2.1).
    """
    library: Any = h.site.ledger.engine.dialect.loaded_dbapi
    connection = library.connect(str(h.site.folder / "ledger.db"), timeout=30, isolation_level=None)
    try:
        yield connection
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def _sqlite_locked(h: FaultContext) -> None:
    """Another program keeps a write transaction open."""
    with _beside_the_ledger(h) as connection:
        connection.execute("BEGIN IMMEDIATE")
        h.hold()


def _sqlite_read_for_long(h: FaultContext) -> None:
    """Another program reads one old state: the log of changes cannot be folded in meanwhile."""
    with _beside_the_ledger(h) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM messages").fetchone()
        h.hold()


def _sqlite_disk_full(h: FaultContext) -> None:
    """No file of a worker may grow any more: every write to the ledger fails as on a full disk."""
    _no_room(h, h.worker())


def _no_room(h: FaultContext, member: Any) -> None:
    import resource

    child = member.child
    if child is None or not child.running:
        return
    _, hard = resource.prlimit(child.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (1024, hard))
    h.hold()
    if child.running:
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (hard, hard))


# -- the vendor ----------------------------------------------------------------------------------------------------


def _vendor(share: float, **fault: Any) -> Callable[[FaultContext], None]:
    def strike(h: FaultContext) -> None:
        h.site.vendor_faults([{"match": {"share": share}, "fault": fault}])
        try:
            h.hold()
        finally:
            h.site.vendor_faults([])

    return strike


def _half_sent(share: float, **answer: Any) -> Callable[[FaultContext], None]:
    """One answer, and two truths: half of those who hear it were sent a message, half were not."""

    def strike(h: FaultContext) -> None:
        answers = {"do": "http_status", **answer}
        h.site.vendor_faults(
            [
                {"match": {"share": share / 2}, "fault": answers | {"stored": True}},
                {"match": {"share": share / 2 / (1 - share / 2)}, "fault": answers},
            ]
        )
        try:
            h.hold()
        finally:
            h.site.vendor_faults([])

    return strike


def _half_sent_by_a_gateway(h: FaultContext) -> None:
    _half_sent(0.2, status=h.dice.choice((429, 500, 502, 504)), body="<html>Bad Gateway</html>")(h)


def _refused_with_a_message_id(h: FaultContext) -> None:
    """The vendor says no in words that are listed, and names the message that it sent."""
    answer = {"RetCode": 17115, "Message": "send failed (#131026)", "RequestId": "{request_id}"}
    body = answer | {"Data": {"MessageId": "{message_id}"}}
    fault = {"do": "http_status", "status": 200, "body": body, "stored": True}
    h.site.vendor_faults([{"match": {"share": 0.1}, "fault": fault}])
    try:
        h.hold()
    finally:
        h.site.vendor_faults([])


def _half_sent_in_its_own_words(h: FaultContext) -> None:
    """Codes of the vendor's gateway of which no source says that nothing was sent."""
    code = h.dice.choice((130, 150, 151, 200))
    envelope = {"Action": "SendMessageResponse", "RetCode": code, "RequestId": "{request_id}"}
    _half_sent(0.3, status=200, body=envelope | {"Message": "Service unavailable"})(h)


def _out_of_money(h: FaultContext) -> None:
    h.site.vendor_balance(0)
    try:
        h.hold()
    finally:
        h.site.vendor_balance(None)
        _resume_account(h, "topped up")


def _account_refused(h: FaultContext) -> None:
    h.site.vendor_faults([{"fault": {"do": "ret_code", "ret_code": 171}, "match": {"share": 0.5}}])
    try:
        h.hold()
    finally:
        h.site.vendor_faults([])
        _resume_account(h, "the key was mended")


def _resume_account(h: FaultContext, why: str) -> None:
    """By one command, as a person would; again where workers paused once more by answers still on their way."""
    for _ in range(10):
        if h.site.run("account", "resume", "--why", why).wait_or_kill(60) == 0:
            time.sleep(1.0)
            if not _account_paused(h.site):
                return
        time.sleep(0.3)
    raise TimeoutError("the account could not be resumed")


def _account_paused(site: Installation) -> bool:
    from bulksend.ledger import pauses

    try:
        with site.ledger.read() as tx:
            return bool(pauses.current(tx).accounts)
    except Exception:  # noqa: BLE001 - another fault has the ledger: not known, so once more
        return True


TWO_REPLIES = (
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 39\r\n\r\n"
    '{"RetCode": 0, "MessageId": "not-yours"}'
)

FAULTS = [
    Fault("worker killed", "worker", _kill_worker, kills=True),
    Fault("worker killed, again", "worker", _kill_worker, kills=True),
    Fault("worker killed at a step", "worker", _kill_worker_at, (1.5, 3.0), kills=True),
    Fault("worker killed at a step, again", "worker", _kill_worker_at, (1.5, 3.0), kills=True),
    Fault("worker killed at a step, once more", "worker", _kill_worker_at, (1.5, 3.0), kills=True),
    Fault("worker told to stop", "worker", _end_worker),
    Fault("worker stopped cold (SIGQUIT)", "worker", _cold_stop_worker, kills=True),
    Fault("worker frozen past its lease", "worker", _zombie(FaultContext.worker), (4.0, 6.0)),
    Fault("relay killed", "relay", _kill_relay, kills=True),
    Fault("relay killed at a step", "relay", _kill_relay_at, kills=True),
    Fault("relay frozen", "relay", _zombie(FaultContext.relay), (2.0, 8.0)),
    Fault("serve killed", "serve", _signalled(FaultContext.serve, signal.SIGKILL), kills=True),
    Fault("serve killed, again", "serve", _signalled(FaultContext.serve, signal.SIGKILL), kills=True),
    Fault("serve killed at a step", "serve", _kill_serve_at, (1.0, 3.0), kills=True),
    Fault("serve killed at a step, again", "serve", _kill_serve_at, (1.0, 3.0), kills=True),
    Fault("serve killed in mid-upload", "serve", _kill_serve_in_mid_upload, kills=True),
    Fault("serve killed in mid-export", "serve", _kill_serve_in_mid_export, kills=True),
    Fault("serve told to stop", "serve", _signalled(FaultContext.serve, signal.SIGTERM)),
    Fault("serve frozen", "serve", _zombie(FaultContext.serve), (2.0, 8.0)),
    Fault("serve's disk full", "serve", lambda h: _no_room(h, h.serve()), (0.5, 3.0)),
    Fault(
        "serve cut off from the ledger", "serve", _serve_without_ledger, (2.0, 6.0), backends=("postgresql",)
    ),
    Fault("link to serve reset", "api link", _cut("api")),
    Fault("link to serve reset in mid-stream", "api link", _reset_after("api")),
    Fault("serve's answers lost", "api link", _swallow("api", Way.DOWN), (0.5, 3.0)),
    Fault("serve unreachable", "api link", _refuse("api"), (0.5, 3.0)),
    Fault("notifier killed", "notifier", _signalled(FaultContext.notifier, signal.SIGKILL), kills=True),
    Fault("notifier killed at a step", "notifier", _kill_notifier_at, (0.5, 2.0), kills=True),
    Fault("notifier killed at a step, again", "notifier", _kill_notifier_at, (0.5, 2.0), kills=True),
    Fault("notifier told to stop", "notifier", _signalled(FaultContext.notifier, signal.SIGTERM)),
    Fault("notifier frozen past its claims", "notifier", _zombie(FaultContext.notifier), (2.0, 23.0)),
    Fault("a receiver of webhooks answers 500", "receivers", _receiver("failing"), (1.0, 4.0)),
    Fault("a receiver of webhooks drops connections", "receivers", _receiver("dropping"), (1.0, 4.0)),
    Fault("receivers of webhooks away", "receivers", _receivers_away, (1.0, 4.0)),
    Fault("callbacks that cannot be read", "receipts", _receipts_unreadable),
    Fault("intake killed in mid-file", "intake", _kill_intake, kills=True),
    Fault("one file sent by two at once", "intake", _same_file_twice),
    Fault("campaign cancelled in mid-flight", "person", _cancel),
    Fault("campaign paused and resumed", "person", _pause, (1.0, 6.0)),
    Fault("campaign with a canary", "canary", controls.canary),
    Fault("template paused in mid-blast", "template", controls.template_paused, (4.5, 6.0)),
    Fault("campaign that fails", "vendor", controls.fails, (4.5, 6.0)),
    Fault("a person settles what is unknown", "person", _resolve),
    Fault("receipts late, and all at once", "receipts", _receipts_late, (2.0, 6.0)),
    Fault("receipts of unknown MessageIds", "receipts", _receipts_of_nobody),
    Fault("clock stepped by 10 minutes", "clock", _clock, (2.0, 5.0)),
    Fault("Redis killed and started", "redis", _redis_restart, (0.0, 3.0)),
    Fault("Redis lost everything", "redis", _redis_emptied, (0.0, 2.0)),
    Fault("Redis wiped (FLUSHALL)", "redis", _redis_wiped),
    Fault("Redis came back with an older state", "redis", _redis_stale, (0.5, 3.0)),
    Fault("Redis frozen", "redis", _redis_frozen, (1.0, 6.0)),
    Fault("Redis full", "redis", _redis_full, (0.5, 3.0)),
    Fault("Redis dropped its clients", "redis", _redis_clients_killed),
    Fault("junk in the lanes", "redis", _redis_junk),
    Fault("every job delivered again", "redis", _redis_redelivery),
    Fault("link to Redis reset", "redis link", _cut("redis")),
    Fault("link to Redis reset in mid-stream", "redis link", _reset_after("redis")),
    Fault("Redis refuses one process", "redis link", _refuse("redis"), (0.5, 4.0)),
    Fault("Redis black-holed for one process", "redis link", _swallow("redis"), (0.5, 4.0)),
    Fault("Redis's replies lost", "redis link", _swallow("redis", Way.DOWN), (0.2, 2.0)),
    Fault("Redis far away", "redis link", _delay("redis"), (0.5, 3.0)),
    Fault("ledger crashed and recovered", "ledger", _ledger_restart, (0.0, 2.0), backends=("postgresql",)),
    Fault("ledger killed (kill -9)", "ledger", _ledger_killed, (0.0, 2.0), backends=("postgresql",)),
    Fault("ledger read-only", "ledger", _ledger_read_only, (0.5, 3.0), backends=("postgresql",)),
    Fault(
        "ledger out of connections",
        "ledger",
        _ledger_out_of_connections,
        (1.0, 3.0),
        backends=("postgresql",),
    ),
    Fault("ledger ended its sessions", "ledger", _ledger_backends_ended, backends=("postgresql",)),
    Fault(
        "ledger's disk full (53100)",
        "ledger",
        _ledger_answers("53100", 1.0),
        (0.5, 3.0),
        backends=("postgresql",),
    ),
    Fault(
        "serialization failures (40001)",
        "ledger",
        _ledger_answers("40001", 0.5),
        (0.5, 3.0),
        backends=("postgresql",),
    ),
    Fault("deadlocks (40P01)", "ledger", _ledger_answers("40P01", 0.5), (0.5, 3.0), backends=("postgresql",)),
    Fault("link to the ledger reset", "ledger link", _cut("ledger"), backends=("postgresql",)),
    Fault(
        "link to the ledger reset in mid-stream",
        "ledger link",
        _reset_after("ledger"),
        backends=("postgresql",),
    ),
    Fault(
        "ledger refuses one process", "ledger link", _refuse("ledger"), (0.5, 4.0), backends=("postgresql",)
    ),
    Fault(
        "ledger black-holed for one process",
        "ledger link",
        _swallow("ledger"),
        (0.5, 4.0),
        backends=("postgresql",),
    ),
    Fault(
        "ledger's answers lost",
        "ledger link",
        _swallow("ledger", Way.DOWN),
        (0.2, 2.0),
        backends=("postgresql",),
    ),
    Fault("ledger far away", "ledger link", _delay("ledger"), (0.5, 3.0), backends=("postgresql",)),
    Fault("SQLite locked by a writer", "ledger", _sqlite_locked, (1.0, 8.0), backends=("sqlite",)),
    Fault("SQLite held by a reader", "ledger", _sqlite_read_for_long, (1.0, 5.0), backends=("sqlite",)),
    Fault("SQLite's disk full", "worker", _sqlite_disk_full, (0.5, 3.0), backends=("sqlite",)),
    Fault("vendor slow", "vendor", _vendor(0.7, do="slow", seconds=1.5), (1.0, 3.0)),
    Fault("vendor hangs", "vendor", _vendor(0.15, do="hang"), (1.0, 2.0)),
    Fault("vendor sends, then hangs", "vendor", _vendor(0.15, do="accept_then_hang"), (1.0, 2.0)),
    Fault("vendor drips its answers", "vendor", _vendor(0.2, do="drip", interval_ms=20.0), (1.0, 2.0)),
    Fault("vendor resets unread", "vendor", _vendor(0.5, do="reset", when="before_reading"), (1.0, 3.0)),
    Fault(
        "vendor resets after reading", "vendor", _vendor(0.1, do="reset", when="after_reading"), (0.5, 1.5)
    ),
    Fault("vendor sends, then resets", "vendor", _vendor(0.1, do="accept_then_reset"), (0.5, 1.5)),
    Fault("vendor cuts its answers short", "vendor", _vendor(0.1, do="truncate", bytes=9), (0.5, 1.5)),
    Fault("vendor answers garbage", "vendor", _vendor(0.1, do="garbage"), (0.5, 1.5)),
    Fault("vendor answers twice", "vendor", _vendor(0.1, do="garbage", text=TWO_REPLIES), (0.5, 1.5)),
    Fault("429 storm", "vendor", _vendor(0.9, do="http_status", status=429), (1.0, 3.0)),
    Fault("vendor says busy (503)", "vendor", _vendor(0.6, do="http_status", status=503), (1.0, 3.0)),
    Fault("503 from a proxy that forwarded half", "vendor", _half_sent(0.4, status=503), (1.0, 2.0)),
    Fault(
        "429, 500, 502 or 504 of which half were sent",
        "vendor",
        _half_sent_by_a_gateway,
        (0.5, 1.5),
    ),
    Fault("130, 150, 151 or 200 of which half were sent", "vendor", _half_sent_in_its_own_words, (1.0, 2.0)),
    Fault("vendor refuses, and names a MessageId", "vendor", _refused_with_a_message_id, (0.5, 1.5)),
    Fault("vendor fails (500)", "vendor", _vendor(0.1, do="http_status", status=500), (0.5, 1.5)),
    Fault("vendor throttles (153)", "vendor", _vendor(0.5, do="ret_code", ret_code=153), (1.0, 3.0)),
    Fault("out of money (17125)", "vendor", _out_of_money, (1.0, 3.0)),
    Fault("account refused (171)", "vendor", _account_refused, (1.0, 2.0)),
    Fault("link to the vendor reset", "vendor link", _cut("vendor")),
    Fault("link to the vendor reset in mid-stream", "vendor link", _reset_after("vendor")),
    Fault("vendor unreachable", "vendor link", _refuse("vendor"), (0.5, 3.0)),
    Fault("vendor black-holed", "vendor link", _swallow("vendor"), (0.3, 1.0)),
    Fault("vendor flapping", "vendor link", _flap("vendor"), (1.0, 3.0)),
    Fault("vendor far away", "vendor link", _delay("vendor"), (0.5, 3.0)),
]


def faults_for(backend: str) -> list[Fault]:
    """Those that can strike an installation with this ledger."""
    return [fault for fault in FAULTS if backend in fault.backends]
