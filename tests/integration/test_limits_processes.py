"""The limiter with several processes and a real Valkey with its own clock, and its restarts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from bulksend.limits import (
    Ask,
    Gate,
    Grant,
    Permit,
    RedisPermits,
    SenderLimits,
    Wait,
)
from bulksend.limits.rules import SLICE_MS, WINDOW
from bulksend.messaging.outcome import Scope
from bulksend.messaging.states import Kind
from ops.local.valkey import EmbeddedValkey
from tests.waiting import until

KEY = b"a key of the process tests ......"
SENDER = "447700900001"

WORKER = """
import json, sys, time, redis
from bulksend.limits import Ask, Permit, RedisPermits, SenderLimits
from bulksend.messaging.states import Kind

url, account, name, rate = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
permits = RedisPermits(redis.Redis.from_url(url), hash_key=sys.argv[5].encode(), account=account)
limits, begins, made, now = SenderLimits(rate, None), [], 0, 0.0
print("up", flush=True)
until = float(sys.stdin.readline())
while now < until:
    asks = []
    for kind in (Kind.MARKETING, Kind.OTP):
        for _ in range(int(rate / 8) if kind is Kind.MARKETING else 1):
            made += 1
            asks.append(Ask(kind, "447700900001", kind, f"{name}{made}", limits, None))
    grant = permits.ask(asks, lead_ms=5)
    begins += [a.begin_ms for a in grant.answers if isinstance(a, Permit)]
    now = grant.now_ms
    time.sleep(0.015)
print(json.dumps(begins))
"""


def fullest(begins: list[float], span_ms: float = WINDOW * SLICE_MS) -> int:
    ordered = sorted(begins)
    most = first = 0
    for last, begin in enumerate(ordered):
        while begin - ordered[first] >= span_ms:
            first += 1
        most = max(most, last - first + 1)
    return most


def message(
    kind: Kind = Kind.OTP,
    *,
    rate: float = 80.0,
    quota: int | None = None,
    to: str | None = None,
    sender: str = SENDER,
) -> Ask:
    return Ask(kind, sender, "spring", to or uuid.uuid4().hex, SenderLimits(rate, quota), None)


def permitted(grant: Grant) -> list[float]:
    return [answer.begin_ms for answer in grant.answers if isinstance(answer, Permit)]


@pytest.mark.parametrize(("processes", "rate"), [(2, 80.0), (4, 250.0)])
def test_processes_together_make_no_second_fuller_than_the_rate_of_their_sender(
    valkey: redis.Redis, valkey_url: str, processes: int, rate: float
) -> None:
    account = uuid.uuid4().hex
    permits = RedisPermits(valkey, hash_key=KEY, account=account)
    permits.ask([], lead_ms=0)
    permits.restore(pauses=[], recent=None)
    workers = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                WORKER,
                valkey_url,
                account,
                f"w{n}-",
                str(rate),
                KEY.decode(),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(processes)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "up\n"
    # From the first slice, after the blackout of a limiter that has just begun, four seconds.
    until_ms = permits.ask([], lead_ms=0).now_ms + 2350 + 4000
    told = [json.loads(worker.communicate(f"{until_ms}\n", timeout=60)[0]) for worker in workers]
    begins = [begin for of_one in told for begin in of_one]
    assert all(told)
    assert fullest(begins) <= rate


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A Valkey with an append-only file, to be killed and started again."""
    made = EmbeddedValkey(tmp_path / "valkey", durable=True)
    made.start()
    yield made
    made.stop()


def test_a_redis_that_was_restarted_with_its_file_begins_cold_for_all_workers_at_once(
    server: EmbeddedValkey,
) -> None:
    client = redis.Redis.from_url(server.url)
    one, other = (RedisPermits(client, hash_key=KEY, account="1") for name in ("one", "other"))
    before = one.ask([], lead_ms=0).epoch
    one.restore(pauses=[], recent=None)
    until(lambda: bool(permitted(one.ask([message()], lead_ms=0))))
    old = permitted(one.ask([message() for _ in range(60)], lead_ms=0))
    server.kill()
    server.start()
    # A look from outside must not hide the restart from the workers.
    one.peek(message())
    grants = [who.ask([message()], lead_ms=0) for who in (other, one)]
    assert [gate_of(grant) for grant in grants] == [Gate.COLD, Gate.COLD]
    assert grants[0].epoch == grants[1].epoch != before
    assert all(grant.needs_restore for grant in grants)
    one.restore(pauses=[], recent=None)
    new: list[float] = []
    until(lambda: bool(new.extend(permitted(one.ask([message()], lead_ms=0))) or new))
    assert min(new) - max(old) > 1012


def gate_of(grant: Grant) -> Gate | None:
    answer = grant.answers[0]
    return answer.gate if isinstance(answer, Wait) else None


def test_no_number_rests_in_redis_and_what_is_kept_for_recipients_goes_by_itself(valkey: redis.Redis) -> None:
    recipients = [f"4477009001{n:02}" for n in range(40)]
    permits = RedisPermits(valkey, hash_key=KEY, account="900800700")
    permits.ask([], lead_ms=0)
    permits.restore(pauses=[(Scope.SENDER, "447700900002")], recent=[(recipients[0], time.time() * 1000)])
    permits.pause(Scope.ACCOUNT, "900800700")
    permits.resume(Scope.ACCOUNT, "900800700")
    permits.report(slow=[(Scope.SENDER, SENDER), (Scope.ACCOUNT, "900800700")])
    # The pace of both together: half of a half, and on its way back.
    assert 0.25 <= permits.pace_of(SENDER) < 0.5
    until(lambda: bool(permitted(permits.ask([message(to=r, quota=1000) for r in recipients], lead_ms=0))))
    keys = list(valkey.scan_iter("*"))
    seen = b" ".join([*keys, *(everything(valkey, key) for key in keys)])
    for number in (*recipients, SENDER, "447700900002", "900800700"):
        assert number.encode() not in seen
    lasting = {key.split(b":")[-1] for key in keys if valkey.pttl(key) == -1}
    assert lasting == {b"state", b"pauses"}


def everything(valkey: redis.Redis, key: bytes) -> bytes:
    """All that a key holds."""
    read: dict[bytes, Callable[[], object]] = {
        b"string": lambda: valkey.get(key),
        b"hash": lambda: valkey.hgetall(key),
        b"zset": lambda: valkey.zrange(key, 0, -1, withscores=True),
        b"list": lambda: valkey.lrange(key, 0, -1),
    }
    return repr(read[valkey.type(key)]()).encode()


def test_a_redis_that_forgot_is_told_by_each_worker_whom_it_has_just_been_permitted_to_write_to(
    valkey: redis.Redis,
) -> None:
    permits = RedisPermits(valkey, hash_key=KEY, account="1")
    permits.ask([], lead_ms=0)
    permits.restore(pauses=[], recent=[])
    asked = message(quota=1, to="447700900100")
    until(lambda: bool(permitted(permits.ask([asked], lead_ms=0))))
    valkey.flushall()
    permits.ask([], lead_ms=0)
    # The ledger was read before the attempt was opened: it knows of nobody.
    permits.restore(pauses=[], recent=[])
    other = "447700900002"  # another sender's message has the same quota
    gates = [gate_of(permits.ask([message(quota=1, sender=other)], lead_ms=0))]
    deadline = time.monotonic() + 60
    while gates[-1] is Gate.COLD and time.monotonic() < deadline:
        gates.append(gate_of(permits.ask([message(quota=1, sender=other)], lead_ms=0)))
    assert gates[-1] is Gate.QUOTA


def test_restoring_takes_any_number_of_recipients(valkey: redis.Redis) -> None:
    permits = RedisPermits(valkey, hash_key=KEY, account="1")
    permits.ask([], lead_ms=0)
    now_ms = time.time() * 1000
    permits.restore(pauses=[], recent=((f"1202{n:07}", now_ms) for n in range(12_345)))
    assert permits.outlook([]).quota_used == 12_345
