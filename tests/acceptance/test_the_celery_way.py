"""A worker run by Celery's own command, and whatever else may lie in its lanes."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CELERY = (sys.executable, "-m", "celery", "-A", "worker", "worker")


@contextmanager
def celery(site: Any, *options: str) -> Iterator[subprocess.Popen[str]]:
    """``celery -A worker worker`` with nothing but the environment."""
    log = (site.stack.folder / "logs" / "celery.log").open("a")
    process = subprocess.Popen(
        [*CELERY, *options],
        env=site.environ,
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
        supervisor = threading.Thread(target=site.stack.tend, args=(stop, deaths.append))
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
