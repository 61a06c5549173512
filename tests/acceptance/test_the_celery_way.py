"""A worker run by Celery's own command, and whatever else may lie in its lanes."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bulksend.broker.app import make_app

CELERY = (sys.executable, "-m", "celery", "-A", "worker", "worker")


@contextmanager
def celery(
    site: Any, *options: str, environ: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """``celery -A worker worker`` with nothing but the environment."""
    log = (site.stack.folder / "logs" / "celery.log").open("a")
    process = subprocess.Popen(
        [*CELERY, *options],
        env=site.environ | dict(environ or {}),
        cwd=site.stack.folder,
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(40)
        log.close()


def test_the_plain_celery_command_consumes_all_three_lanes_and_sends(make_site: Any) -> None:
    with make_site(workers=0) as site, celery(site, "-c", "2"):
        kinds = {"otp": "12125550100", "utility": "12125550101", "marketing": "12125550102"}
        ids = [site.send(kind, [to], kind=kind) for kind, to in kinds.items()]
        assert site.wait_ended(*ids) == {"accepted": 3}
        site.agrees()


def test_a_pool_of_processes_is_refused_with_what_to_do_instead(make_site: Any) -> None:
    with make_site(workers=0) as site:
        # `prefork` by name is to Celery what was not chosen at all: it takes the app's pool, which is threads.
        with celery(site, "-P", "prefork"):
            campaign = site.send("threads", ["12125550100"])
            assert site.wait_ended(campaign) == {"accepted": 1}
        ended = subprocess.run(
            [*CELERY, "-P", "processes"],
            env=site.environ,
            cwd=site.stack.folder,
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )
        assert ended.returncode != 0
        assert "use --pool threads" in ended.stdout + ended.stderr


def test_junk_in_the_lanes_sends_nothing_and_stops_nothing(make_site: Any) -> None:
    with make_site(workers=1) as site:
        stop = threading.Event()
        deaths: list[str] = []
        first = site.send("first", ["12125550100", "12125550101"])
        assert site.wait_ended(first) == {"accepted": 2}
        done = [str(m["id"]) for m in site.messages(first)]
        supervisor = threading.Thread(target=site.stack.supervise, args=(stop, deaths.append))
        supervisor.start()
        try:
            nobody = [str(uuid.uuid4()) for _ in range(5)]
            for junk in (
                job([done]),
                job([done * 3]),
                job([nobody]),
                job(["no list"]),
                job([[None, 7, {"a": 1}, "", "x" * 100_000, "44770090080"]]),
                job([]),
                job([done], task="somebody.elses"),
                job([done], lane="nowhere"),
                b"{}",
                b"not json",
                b"\xff\x00\xfe",
                b"[]",
                json.dumps({"body": "%%%", "headers": {}, "properties": {}}).encode(),
            ):
                for lane in ("otp", "utility", "marketing"):
                    site.redis.lpush(lane, junk)
            second = site.send("second", [f"131255501{n:02d}" for n in range(60)])
            assert site.wait_ended(second, seconds=90) == {"accepted": 60}
            site.wait(
                "the junk is gone",
                lambda: not any(site.redis.llen(x) for x in ("otp", "utility", "marketing")),
            )
        finally:
            stop.set()
            supervisor.join()
        assert deaths == []
        # It saw the junk, and passed it by.
        assert "not_a_job" in (site.stack.folder / "logs" / "worker.log").read_text()
        assert len(site.vendor()) == 62
        site.agrees()


def ask(site: Any, *words: str) -> subprocess.CompletedProcess[str]:
    """``celery -A worker`` with those words, as an operator runs it."""
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker", *words],
        env=site.environ,
        cwd=site.stack.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_celerys_own_tools_see_the_workers(make_site: Any) -> None:
    with make_site(workers=2) as site:
        with make_app(site.stack.settings.redis_url_text()) as app:
            site.wait("both answer", lambda: len(app.control.ping()) == 2)
        assert "2 nodes online" in ask(site, "status").stdout
        pings = json.loads(ask(site, "inspect", "ping", "--json").stdout)
        assert sorted(name.split("@")[0] for name in pings) == ["w0", "w1"]
        assert list(pings.values()) == [{"ok": "pong"}] * 2
        stats = json.loads(ask(site, "inspect", "stats", "--json").stdout)
        assert {told["pool"]["implementation"] for told in stats.values()} == {
            "celery.concurrency.thread:TaskPool"
        }
        queues = json.loads(ask(site, "inspect", "active_queues", "--json").stdout)
        assert {queue["name"] for told in queues.values() for queue in told} == {
            "otp",
            "utility",
            "marketing",
        }
        # Settings and commands are not for everyone who reaches Redis.
        assert "does not accept" in ask(site, "inspect", "conf").stdout
        ask(site, "control", "shutdown")
        assert "2 nodes online" in ask(site, "status").stdout
        campaign = site.send("still there", ["12125550100"])
        assert site.wait_ended(campaign) == {"accepted": 1}


def test_flower_sees_the_workers_and_no_task_that_looks_sent(make_site: Any) -> None:
    with make_site(workers=0) as site, make_app(site.stack.settings.redis_url_text()) as app:
        state = app.events.State()
        seen: list[str] = []

        def note(event: dict[str, Any]) -> None:
            state.event(event)
            seen.append(event["type"])

        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": note})

            def listen() -> None:
                receiver.capture(limit=None, timeout=None, wakeup=False)

            listener = threading.Thread(target=listen)
            listener.start()
            try:
                with celery(site, "-E", "-n", "flower@%h"):
                    site.wait("it is there", lambda: any(w.alive for w in list(state.workers.values())))
                    campaign = site.send("one", ["12125550100"])
                    assert site.wait_ended(campaign) == {"accepted": 1}
                    before = seen.count("worker-heartbeat")
                    site.wait("another heartbeat", lambda: seen.count("worker-heartbeat") > before)
                site.wait("its good-bye", lambda: "worker-offline" in seen)
            finally:
                receiver.should_stop = True
                listener.join()
        assert [name.split("@")[0] for name in state.workers] == ["flower"]
        assert not [kind for kind in seen if kind.startswith("task")]
        assert "task_events_not_sent" in (site.stack.folder / "logs" / "celery.log").read_text()


def test_a_redis_that_gives_no_mailbox_costs_only_the_answers(make_site: Any) -> None:
    with make_site(workers=0) as site:
        rules = ("on", "nopass", "~*", "&*", "+@all", "-publish", "-subscribe", "-psubscribe")
        site.redis.execute_command("ACL", "SETUSER", "narrow", *rules)
        url = site.environ["REDIS_URL"].replace("redis://", "redis://narrow:x@")
        with celery(site, "-n", "narrow@%h", environ={"REDIS_URL": url}):
            campaign = site.send("one", ["12125550100"])
            assert site.wait_ended(campaign) == {"accepted": 1}
        assert "remote_control_away" in (site.stack.folder / "logs" / "celery.log").read_text()


def job(args: list[Any], *, task: str = "bulksend.batch", lane: str = "marketing") -> bytes:
    """A job as Celery puts it into a list of Redis."""
    id = str(uuid.uuid4())
    body = base64.b64encode(json.dumps([args, {}, {}]).encode()).decode()
    return json.dumps(
        {
            "body": body,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py",
                "task": task,
                "id": id,
                "root_id": id,
                "argsrepr": "",
                "kwargsrepr": "",
            },
            "properties": {
                "correlation_id": id,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": lane},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": id,
            },
        }
    ).encode()
