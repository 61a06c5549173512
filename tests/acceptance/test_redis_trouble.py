"""Whatever Redis does: real processes behind a real line, real refusals of a real Valkey, and the vendor as the judge.

Every trouble ends with the same questions: does it go on after the mending, by itself, in the same processes; and is
nothing lost, nothing doubled, no second fuller than the limit. How soon: ``./run faults recovery``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from bulksend.broker import batches, publish
from bulksend.broker.app import make_app
from bulksend.messaging import Kind
from ops.stack import ROOT
from tests.acceptance.many_commands import Started
from tests.faults.proxy import Link, Proxies, Way


def people(count: int, area: int = 212) -> list[str]:
    """Numbers reserved for fiction."""
    return [f"1{area + n // 100}55501{n % 100:02d}" for n in range(count)]


@dataclass
class Behind:
    """A worker and a relay that reach Redis by one line alone."""

    site: Any
    link: Link
    processes: list[Started]

    @property
    def server(self) -> redis.Redis:
        """The server itself, not by that line."""
        client: redis.Redis = self.site.redis
        return client

    def limiter_outages(self) -> int:
        """How often the worker's limiter was lost."""
        lines = self.log("worker-behind").splitlines()
        return sum("redis_unavailable" in line and "limiter" in line for line in lines)

    def log(self, name: str) -> str:
        return str((self.site.stack.folder / "logs" / f"{name}.log").read_text())


@contextmanager
def behind_a_line(site: Any) -> Iterator[Behind]:
    """The stack's own relay gives way to one behind the line."""
    site.stack.member("relay").child.stop(10)
    proxies = Proxies()
    link = proxies.link("redis", "127.0.0.1", site.stack._valkey.port)
    environ = {"REDIS_URL": f"redis://127.0.0.1:{link.port}/0"}
    processes: list[Started] = []
    for name in ("worker", "relay"):
        with (site.stack.folder / "logs" / f"{name}-behind.log").open("wb") as log:
            command = [sys.executable, "-m", "ops.cli.main", name]
            processes.append(site.shell.popen(command, env=site.environ | environ, cwd=ROOT, stdout=log))
    try:
        yield Behind(site, link, processes)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(40)
        proxies.close()


class Full:
    """More than maxmemory, and nothing may be thrown away."""

    def begin(self, at: Behind) -> None:
        at.server.config_set("maxmemory", "1mb")

    def mend(self, at: Behind) -> None:
        at.server.config_set("maxmemory", 0)


class ReadOnly:
    """It became a replica, of a primary that is gone."""

    def begin(self, at: Behind) -> None:
        at.server.execute_command("REPLICAOF", "127.0.0.1", 1)

    def mend(self, at: Behind) -> None:
        at.server.execute_command("REPLICAOF", "NO", "ONE")


class DiskFailed:
    """Its last snapshot could not be written, and it refuses all writes for that."""

    def begin(self, at: Behind) -> None:
        (at.site.stack._valkey.folder / "dump.rdb").mkdir()
        at.server.config_set("save", "3600 1")
        at.server.bgsave()
        failed = lambda: at.server.info("persistence")["rdb_last_bgsave_status"] != "ok"  # noqa: E731
        at.site.wait("the snapshot fails", failed)

    def mend(self, at: Behind) -> None:
        at.server.config_set("save", "")


class Swallowed:
    """The line takes everything and brings nothing, without an error."""

    def begin(self, at: Behind) -> None:
        at.link.swallow(Way.UP, Way.DOWN)

    def mend(self, at: Behind) -> None:
        at.link.heal()


class Stopped:
    """It stands still, and connections wait."""

    def begin(self, at: Behind) -> None:
        os.kill(at.site.stack._valkey.pid, signal.SIGSTOP)

    def mend(self, at: Behind) -> None:
        os.kill(at.site.stack._valkey.pid, signal.SIGCONT)


TROUBLES = (Full(), ReadOnly(), DiskFailed(), Swallowed(), Stopped())


def test_whatever_redis_answers_or_does_not_answer_the_same_processes_go_on(
    make_site: Any,
) -> None:
    with make_site(workers=0) as site, behind_a_line(site) as at:
        first = site.send("first", people(1), kind="otp")
        assert site.wait_ended(first) == {"accepted": 1}
        codes = [first]
        for n, trouble in enumerate(TROUBLES):
            name = type(trouble).__name__
            trouble.begin(at)
            # Taken in meanwhile: in the ledger at least.
            codes.append(site.send(f"during {name}", people(1, area=300 + n), kind="otp"))
            site.wait("the worker notices", lambda n=n: at.limiter_outages() > n)
            trouble.mend(at)
            codes.append(site.send(f"after {name}", people(1, area=400 + n), kind="otp"))
            site.wait(
                f"it goes on after {name}",
                lambda: all(site.statuses(code)["accepted"] for code in codes),
            )
        assert [process.poll() for process in at.processes] == [None, None]
        for name in ("worker-behind", "relay-behind"):
            said = at.log(name)
            # A line a trouble, or a few where the machine is slow as well; not a line a try.
            assert 1 <= said.count("redis_unavailable") <= 5 * len(TROUBLES)
            assert said.count("redis_available") == said.count("redis_unavailable")
        site.agrees()
        assert site.fullest_second() <= 80


def test_each_job_taken_five_times_also_while_it_is_in_flight_and_when_it_is_done_sends_each_message_once(
    make_site: Any,
) -> None:
    slow = {"latency": {"kind": "uniform", "low_ms": 150, "high_ms": 350}}
    with make_site(workers=2, vendor=slow) as site:
        app = make_app(site.stack.settings.redis_url_text())

        def again(ids: list[str]) -> None:
            for batch in batches(ids, 20):
                publish(app, Kind.MARKETING, batch, published_ms=int(time.time() * 1000))

        blast = site.send("blast", people(120))
        ids = [str(message["id"]) for message in site.messages(blast)]
        again(ids)
        for seen in ("claimed", "sending", "accepted"):
            site.wait(f"some are {seen}", lambda seen=seen: site.statuses(blast)[seen])
            again(ids)
        assert site.wait_ended(blast) == {"accepted": 120}
        again(ids)
        site.wait("they are taken and left", lambda: not site.redis.llen("marketing"))
        assert len(site.vendor()) == 120
        assert len(site.attempts(blast)) == 120
        site.agrees()
        app.close()


def test_a_worker_and_a_relay_started_without_redis_wait_for_it_and_go_on(
    make_site: Any,
) -> None:
    with make_site(workers=0) as site:
        server = site.stack._valkey
        server.kill()
        logs = site.stack.folder / "logs"
        celery = [sys.executable, "-m", "celery", "-A", "worker", "worker"]
        with (logs / "celery.log").open("w") as log:
            worker = subprocess.Popen(celery, env=site.environ, cwd=logs, stdout=log, stderr=log)
        try:
            code = site.send("code", people(1), kind="otp")
            site.wait(
                "the worker misses it", lambda: "redis_unavailable" in (logs / "celery.log").read_text()
            )
            site.wait("the relay misses it", lambda: "redis_unavailable" in (logs / "relay.log").read_text())
            server.start()
            site.wait("it goes on", lambda: site.statuses(code)["accepted"])
            site.agrees()
        finally:
            worker.terminate()
            worker.wait(40)


DEAF = """
import os, sys, time
from bulksend.settings import Settings
from worker.celery_app import build_app
from worker.consumer import Consumer

class Deaf(Consumer):
    def loop(self, *_):
        time.sleep(600)

app = build_app(Settings.from_env(os.environ))
app.conf.worker_consumer = Deaf
app.worker_main(["worker", "-l", "INFO"])
"""


def test_a_worker_whose_celery_takes_nothing_though_jobs_wait_ends_by_itself_and_not_as_if_it_had_been_asked_to(
    make_site: Any, tmp_path: Path
) -> None:
    with make_site(workers=0, environ={"BULKSEND_WATCHDOG_SECONDS": "1.5"}) as site:
        log = tmp_path / "deaf.log"
        with log.open("w") as out:
            deaf = subprocess.Popen([sys.executable, "-c", DEAF], env=site.environ, stdout=out, stderr=out)
        code = site.send("code", people(1), kind="otp")
        assert deaf.wait(40) == 1
        assert "celery_stopped_taking_jobs" in log.read_text()
        assert site.statuses(code) == {"queued": 1}
        assert site.redis.llen("otp")
