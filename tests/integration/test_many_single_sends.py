"""Single messages of programs: several in one call, on an event loop, waited for, and codes that would be late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from inspect import isfunction, signature
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import func, select, update

from bulksend.errors import IdempotencyKeyReused, InvalidInput, InvalidValue, TooLate
from bulksend.ledger import idempotency, leases, pauses, senders
from bulksend.ledger.database import Database
from bulksend.ledger.direct_sends import SendRequest, Stored
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.idempotency import Answer
from bulksend.ledger.schema import idempotent_requests, messages
from bulksend.limits import RedisPermits
from bulksend.messaging.states import Kind, Status
from bulksend.operations.idempotency import keyed
from bulksend.redis_client import open_redis
from producer import AsyncProducer, Producer, SendReceipt

CIPHER = Cipher([b"k" * 32])


class Published:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.ids: list[tuple[Kind, str]] = []

    def publish(self, lane: Kind, ids: Sequence[str]) -> int:
        self.ids += [(lane, id) for id in ids]
        return len(ids)

    def hand_over(self, lane: Kind, ids: Sequence[str]) -> None:
        self.publish(lane, ids)


@pytest.fixture
def published() -> Published:
    return Published()


@pytest.fixture
def producer(ledger: Database, published: Published) -> Producer:
    return Producer(ledger, published, CIPHER)


def message(n: int, **more: Any) -> dict[str, Any]:
    return {
        "to": f"4477009{n:05d}",
        "sender": "8615000579987",
        "kind": "utility",
        "type": "text",
        "content": {"body": "hello"},
    } | more


def test_each_is_stored_or_refused_by_itself(producer: Producer, published: Published) -> None:
    code = message(2, kind="otp", content={"body": "123456 is your code"})
    later = message(3, send_at="2099-01-01T00:00:00Z")
    made = producer.send_many([message(1), message(1, kind="spam"), code, later, message(4, ttl=1)])
    assert [type(each) for each in made] == [
        SendReceipt,
        InvalidValue,
        SendReceipt,
        SendReceipt,
        InvalidValue,
    ]
    sent = [each.id for each in made if isinstance(each, SendReceipt)]
    # Codes first; what is due later is the relay's.
    assert published.ids == [(Kind.OTP, sent[1]), (Kind.UTILITY, sent[0])]


def test_a_repeated_call_finds_its_messages_and_publishes_none(
    producer: Producer, published: Published
) -> None:
    many = [message(n, key=f"k{n}") for n in range(3)]
    first, again = producer.send_many(many), producer.send_many([*many, message(9, key="k0")])
    assert [one.id for one in first if isinstance(one, SendReceipt)] == [
        one.id for one in again[:3] if isinstance(one, SendReceipt) and one.repeated
    ]
    assert isinstance(again[3], InvalidInput)
    assert len(published.ids) == 3


def test_of_two_requests_with_one_claim_one_is_stored_with_its_answer(
    producer: Producer, ledger: Database
) -> None:
    ready = [producer.direct.read(message(n)) for n in range(2)]
    producer.direct.register(ready[0])
    requests = [keyed("k", scope=("me", "POST", "/"), body=f"{n}", cipher=CIPHER) for n in range(2)]
    taken = producer.direct.take(
        [
            SendRequest([one], request.claim, lambda results: Answer(202, f'{{"stored": {len(results)}}}'))
            for one, request in zip(ready, requests, strict=True)
        ]
    )
    assert sorted(each is None for each in taken) == [False, True]
    won = taken.index(None) ^ 1
    assert isinstance((taken[won] or [])[0], Stored)
    with ledger.read() as tx:
        assert requests[won].earlier(tx, CIPHER) == Answer(202, '{"stored": 1}')
        with pytest.raises(IdempotencyKeyReused):
            requests[won ^ 1].earlier(tx, CIPHER)
        assert tx.execute(select(func.count()).select_from(messages)).scalar_one() == 1


def test_a_request_that_begins_again_after_a_lost_answer_is_its_own(ledger: Database) -> None:
    claim = keyed("k", scope=("me",), body="b", cipher=CIPHER).claim
    with ledger.write() as tx:
        assert idempotency.begin(tx, [(claim, None)], 1) == {claim.owner}
    with ledger.write() as tx:
        assert idempotency.begin(tx, [(claim, Answer(202, "{}"))], 2) == {claim.owner}
        idempotency.end(tx, [(claim, None)])
        assert tx.execute(select(func.count()).select_from(idempotent_requests)).scalar_one() == 0


# -- codes that would be late ---------------------------------------------------------------------------

CODE = {"kind": "otp", "content": {"body": "123456 is your code"}}
SENDER = "8615000579987"


def code(n: int, **more: Any) -> dict[str, Any]:
    return message(n, **CODE) | more


def ten_a_second(ledger: Database) -> None:
    """A worker runs, and the sender of the codes has this rate."""
    with ledger.write() as tx:
        leases.take(tx, "host:1", 60_000)
        senders.register(tx, SENDER, rate=10.0)


def newcomer(ledger: Database, published: Published) -> Producer:
    """A producer that has not read the backlog yet."""
    return Producer(ledger, published, CIPHER)


def test_a_code_that_would_wait_for_longer_than_it_lives_is_refused(
    producer: Producer, ledger: Database, published: Published
) -> None:
    """100 codes at 10/s take 10 s; of those that come at once each is behind the others."""
    ten_a_second(ledger)
    producer.send_many([code(n, key=f"k{n}") for n in range(100)])
    late, in_time = newcomer(ledger, published).send_many(
        [code(200, ttl_seconds=9), code(201, ttl_seconds=15)]
    )
    assert isinstance(late, TooLate)
    assert late.field == "ttl_seconds"
    assert late.wait_seconds == pytest.approx(10, rel=0.1)
    assert isinstance(in_time, SendReceipt)
    many = newcomer(ledger, published).send_many([code(n, ttl_seconds=11) for n in range(300, 330)])
    assert 0 < sum(isinstance(each, TooLate) for each in many) < 30
    assert not isinstance(many[0], TooLate)
    (known,) = newcomer(ledger, published).send_many([code(0, key="k0", ttl_seconds=1)])
    assert isinstance(known, SendReceipt), "an earlier message of its key counts even then"
    assert known.repeated
    (other, later) = newcomer(ledger, published).send_many(
        [message(0, ttl_seconds=1), code(1, ttl_seconds=1, send_at="2099-01-01T00:00:00Z")]
    )
    assert isinstance(other, SendReceipt), "other kinds are not compared"
    assert isinstance(later, SendReceipt), "nor are codes for later"


def test_codes_that_the_circuit_breaker_holds_are_ahead_of_a_new_one(
    producer: Producer, ledger: Database, published: Published
) -> None:
    """They are due when it closes, and those that are due at a time of their own are not."""
    ten_a_second(ledger)
    producer.send_many([code(n) for n in range(100)])
    with ledger.write() as tx:
        tx.execute(update(messages).values(due_at=messages.c.due_at + 60_000))
        held = select(messages.c.id).limit(50)
        tx.execute(update(messages).where(messages.c.id.in_(held)).values(gate="outage"))
    (late,) = newcomer(ledger, published).send_many([code(200, ttl_seconds=1)])
    assert isinstance(late, TooLate)
    assert late.wait_seconds == pytest.approx(5, rel=0.1)


def test_a_code_does_not_wait_for_those_that_a_canary_holds(
    producer: Producer, ledger: Database, published: Published
) -> None:
    with ledger.write() as tx:
        leases.take(tx, "host:1", 60_000)
    rows = [{"to": f"4477009{n:05d}", "code": "123456"} for n in range(120)]
    sends = {"sender": SENDER, "kind": "otp", "type": "text", "content": {"body": "{{code}} is your code"}}
    producer.submit(name="codes", rows=rows, canary="50", **sends)
    with ledger.write() as tx:
        tx.execute(update(messages).values(due_at=messages.c.due_at - 300_000))
    assert isinstance(newcomer(ledger, published).send(**code(200), ttl=timedelta(minutes=1)), SendReceipt)


def test_a_pause_and_a_stop_of_all_workers_refuse_codes(
    producer: Producer, ledger: Database, published: Published
) -> None:
    assert isinstance(producer.send(**code(1)), SendReceipt), "no worker ever ran: nothing is known"
    with ledger.write() as tx:
        lease, _ = leases.take(tx, "host:1", 60_000)
        pauses.pause_sender(tx, SENDER, actor="ada", why="spam")
    with pytest.raises(TooLate, match="until a pause ends") as refused:
        newcomer(ledger, published).send(**code(2))
    assert refused.value.wait_seconds is None
    with ledger.write() as tx:
        pauses.resume_sender(tx, SENDER, actor="ada", why="done")
        leases.reap(tx, lease, rendering=None, begun=None, resend_wait_ms=0)
        tx.exec_driver_sql("UPDATE workers SET lease_until = lease_until - 60000")
    stopped = newcomer(ledger, published)
    with pytest.raises(TooLate) as refused:
        stopped.send(**code(3), ttl=timedelta(seconds=30))
    assert refused.value.wait_seconds == pytest.approx(60, abs=5)
    assert isinstance(stopped.send(**code(4), ttl=timedelta(minutes=5)), SendReceipt)


class Memory(RedisPermits):
    """A limiter that has been warm for ten seconds, and has written to these people within 24 h."""

    def __init__(self, valkey: redis.Redis, hours_ago: Mapping[str, float]) -> None:
        super().__init__(valkey, hash_key=b"k" * 32, account="default")
        now = time.time() * 1000
        self.ask([], lead_ms=0)
        self.restore(pauses=[], recent=[(to, now - hours * 3_600_000) for to, hours in hours_ago.items()])
        valkey.hset(self.hashes.prefix + "state", mapping={"began": now - 12_000, "cold_until": now - 10_000})


def test_a_code_waits_for_a_place_in_the_accounts_quota(
    ledger: Database, published: Published, valkey: redis.Redis
) -> None:
    """Of three places two are taken: one of them for one hour more."""
    with ledger.write() as tx:
        leases.take(tx, "host:1", 60_000)
        senders.register(tx, SENDER, quota=3)
    limiter = Memory(valkey, {"447700900001": 23, "447700900002": 1})
    first = Producer(ledger, published, CIPHER, limiter=lambda: limiter)
    known, new, late = first.send_many([code(2), code(3), code(4)])
    assert isinstance(known, SendReceipt), "whom the quota counts needs no further place"
    assert isinstance(new, SendReceipt)
    assert isinstance(late, TooLate)
    assert "quota" in str(late)
    assert late.wait_seconds == pytest.approx(3600, abs=60)
    again, late = Producer(ledger, published, CIPHER, limiter=lambda: limiter).send_many([code(3), code(4)])
    assert isinstance(again, SendReceipt), "the last place is that of the code that waits"
    assert isinstance(late, TooLate)
    (patient,) = Producer(ledger, published, CIPHER, limiter=lambda: limiter).send_many(
        [code(4, ttl_seconds=7200)]
    )
    assert isinstance(patient, SendReceipt)
    with ledger.write() as tx:
        senders.change(tx, SENDER, actor="ada", quota=0)
    (never,) = Producer(ledger, published, CIPHER, limiter=lambda: limiter).send_many([code(4)])
    assert isinstance(never, TooLate)
    assert never.wait_seconds is None


def test_a_limiter_that_lost_its_memory_or_is_away_refuses_nothing_for_longer(
    ledger: Database, published: Published, valkey: redis.Redis
) -> None:
    with ledger.write() as tx:
        leases.take(tx, "host:1", 60_000)
    cold = RedisPermits(valkey, hash_key=b"k" * 32, account="default")
    late, in_time = Producer(ledger, published, CIPHER, limiter=lambda: cold).send_many(
        [code(1, ttl_seconds=1), code(2, ttl_seconds=5)]
    )
    assert isinstance(late, TooLate)
    assert late.wait_seconds == pytest.approx(2.35, abs=0.1)
    assert isinstance(in_time, SendReceipt)
    away = RedisPermits(
        open_redis("redis://127.0.0.1:1", timeout_s=0.1), hash_key=b"k" * 32, account="default"
    )
    assert isinstance(
        Producer(ledger, published, CIPHER, limiter=lambda: away).send(**code(3), ttl=timedelta(seconds=1)),
        SendReceipt,
    )


def test_a_purpose_is_a_word_and_only_of_codes(producer: Producer, ledger: Database) -> None:
    sent = producer.send(**code(1), purpose="login")
    with ledger.read() as tx:
        assert tx.execute(select(messages.c.purpose).where(messages.c.id == sent.id)).scalar_one() == "login"
    for wrong in (
        code(1, purpose="123456"),
        code(1, purpose="x" * 41),
        code(1, purpose="a\nb"),
        message(1, purpose="login"),
    ):
        (refused,) = producer.send_many([wrong])
        assert isinstance(refused, InvalidValue)
        assert refused.field == "purpose"


# -- waiting, and an event loop -------------------------------------------------------------------------


class Accepts(Published):
    """A worker for which the vendor accepts at once."""

    def __init__(self, ledger: Database) -> None:
        super().__init__()
        self._ledger = ledger

    def publish(self, lane: Kind, ids: Sequence[str]) -> int:
        with self._ledger.write() as tx:
            tx.execute(update(messages).where(messages.c.id.in_(ids)).values(status="accepted"))
        return super().publish(lane, ids)


def test_a_call_waits_for_the_ending_of_its_message(ledger: Database, published: Published) -> None:
    quick = Producer(ledger, Accepts(ledger), CIPHER)
    assert quick.send(**code(1), wait=timedelta(seconds=30)).status is Status.ACCEPTED
    slow = Producer(ledger, published, CIPHER)
    assert slow.send(**code(2), wait=timedelta(seconds=0.1)).status is Status.QUEUED
    with pytest.raises(InvalidValue, match="wait"):
        slow.send(**code(3), wait=3)  # type: ignore[arg-type]


def test_an_event_loop_has_the_same_methods(ledger: Database, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncProducer(Producer(ledger, Accepts(ledger), CIPHER)) as producer:
            wait = timedelta(seconds=30)
            made = await asyncio.gather(*(producer.send(**code(n), wait=wait) for n in range(20)))
            assert {each.status for each in made} == {Status.ACCEPTED}
            assert len({each.id for each in made}) == 20
            one = await producer.send(**message(50), key="k")
            assert (await producer.send(**message(50), key="k")).id == one.id
            with pytest.raises(InvalidValue, match="kind"):
                await producer.send(**message(51) | {"kind": "spam"})
            with pytest.raises(InvalidInput, match="key"):
                await producer.send(**message(52), key="k")
            assert [type(each) for each in await producer.send_many([message(60), message(61, to="1")])] == [
                SendReceipt,
                InvalidValue,
            ]
            rows = [{"to": "447700900170"}, {"to": "447700900171"}]
            given = {name: value for name, value in message(0).items() if name != "to"}
            assert (await producer.submit(name="two", rows=rows, **given)).messages == 2
            (tmp_path / "people.jsonl").write_text('{"to": "447700900180"}\n')
            planned = await producer.plan(tmp_path / "people.jsonl", **given)
            assert (await producer.apply(planned["plan_id"])).messages == 1

    public = {name: each for name, each in vars(Producer).items() if isfunction(each) and name[0] != "_"}
    for name, each in public.items():
        assert signature(getattr(AsyncProducer, name)).parameters == signature(each).parameters, name

    asyncio.run(main())
