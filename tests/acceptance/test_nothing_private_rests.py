"""No number, no content and no code where it has no business: Redis, logs, and the ledger once a code has ended."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import redis
from sqlalchemy import text

CODE = "c4n4ry-831-907"
WORDS = "canary-of-the-blast"
OTP_TO = ["12125550137", "447700900851"]
BLAST_TO = [f"1312555{n:04d}" for n in range(100, 200)]
FAULTS = [
    # Whatever is logged of trouble must not tell either.
    {"name": "lost", "match": {"to_suffix": "7"}, "fault": {"do": "accept_then_reset"}},
    {
        "name": "the vendor repeats the number",
        "match": {"to_suffix": "51"},
        "fault": {"do": "ret_code", "ret_code": 17115, "message": "(#131026) cannot reach 447700900851"},
    },
    {"name": "busy", "match": {"every": 9}, "fault": {"do": "ret_code", "ret_code": 150, "message": "busy"}},
]
SLOW = {"latency": {"kind": "uniform", "low_ms": 100, "high_ms": 200}}


def test_no_number_content_or_code_rests_in_redis_in_logs_or_in_an_ended_code(make_site: Any) -> None:
    with make_site(workers=1, faults=FAULTS, vendor=SLOW, environ={"BULKSEND_LOG_LEVEL": "DEBUG"}) as site:
        blast = site.send(WORDS, BLAST_TO)
        codes = [
            site.producer.send(
                to=to,
                sender=site.sender,
                kind="otp",
                type="text",
                content={"body": f"Your code is {CODE}"},
                key=f"login-{n}",
            )
            for n, to in enumerate(OTP_TO)
        ]
        seen: set[str] = set()

        def ended() -> bool:
            seen.update(everything_in(site.redis))  # while jobs lie there and permits are given
            return not {"queued", "retry", "claimed", "sending"} & site.all_statuses().keys()

        site.wait("all messages end", ended, every=0.2)
        # Jobs that nobody takes: what a worker would find in the lanes.
        site.stack.member("worker").child.stop(20)
        waiting = [
            site.producer.send(
                to=to,
                sender=site.sender,
                kind="otp",
                type="text",
                content={"body": f"Your code is {CODE}"},
                key=f"late-{to}",
            )
            for to in OTP_TO
        ]
        late = site.send(WORDS, BLAST_TO[:20], key="late")
        assert site.redis.llen("otp") >= 1
        assert site.redis.llen("marketing") >= 1
        seen.update(everything_in(site.redis))
        assert any(waiting[0].id in item for item in seen)  # the dump does see what is in a job
        clean(seen, "Redis")

        with site.ledger.read() as tx:
            rows = tx.execute(text("SELECT * FROM messages WHERE kind = 'otp'")).mappings().all()
            payloads = {str(r["id"]): r["payload"] for r in rows}
            # A code that waits is there, but sealed; of one that ended nothing is left.
            everywhere = [repr(dict(r)) + repr(bytes(r["payload"] or b"")) for r in rows]
        assert all(payloads[code.id] is None for code in codes)
        assert all(payloads[code.id] for code in waiting)
        assert not [row for row in everywhere if CODE in row]

        site.stack.add("successor", "worker", "-n", "w9@%h")
        site.wait_ended(blast, late)
        site.wait("late codes end", lambda: all(p is None for p in otp_payloads(site)))
        clean(everything_in(site.redis), "Redis")
        folder = site.stack.folder / "logs"
    logs = {file.name: file.read_text(errors="replace") for file in folder.glob("*.log")}
    assert "claimed" in logs["worker.log"]
    assert {"worker.log", "relay.log", "successor.log", "simulator.log"} <= logs.keys()
    for name, said in logs.items():
        clean([said], name)


def otp_payloads(site: Any) -> list[bytes | None]:
    """What is left of codes in the ledger."""
    return [m["payload"] for m in site.messages() if m["kind"] == "otp"]


def clean(said: Iterable[str], where: str) -> None:
    """Fails on a canary, however a number is written."""
    for item in said:
        digits = re.sub(r"(?<=\d)[ ()-](?=\d)", "", item)
        for secret in (CODE, WORDS, *OTP_TO, *BLAST_TO):
            at = item.find(secret) if secret in item else digits.find(secret)
            assert at < 0, f"{where}: …{item[max(0, at - 150) : at + 60]}…"


def everything_in(client: redis.Redis) -> Iterator[str]:
    """Every key and value of every type; base64 in them decoded as well, bodies of jobs above all."""
    for key in client.scan_iter(count=1000):
        kind = client.type(key).decode()
        read = {
            "string": lambda k: [client.get(k)],
            "list": lambda k: client.lrange(k, 0, -1),
            "set": lambda k: list(client.smembers(k)),
            "zset": lambda k: client.zrange(k, 0, -1),
            "hash": lambda k: [part for pair in client.hgetall(k).items() for part in pair],
            "stream": lambda k: [repr(client.xrange(k)).encode()],
            "none": lambda k: [],
        }[kind]
        for value in (key, *read(key)):
            yield from _with_what_is_inside(value or b"")


def _with_what_is_inside(value: bytes) -> Iterator[str]:
    said = value.decode("utf-8", "backslashreplace")
    yield said
    try:
        body = json.loads(said)["body"]
        yield base64.b64decode(body).decode()
    except (ValueError, KeyError, TypeError, binascii.Error):
        return
