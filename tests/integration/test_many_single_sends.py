"""Several single messages in one call are stored together, each refused by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import func, select

from bulksend.errors import IdempotencyKeyReused, InvalidInput, InvalidValue
from bulksend.ledger import idempotency
from bulksend.ledger.database import Database
from bulksend.ledger.direct_sends import SendRequest, Stored
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.idempotency import Answer
from bulksend.ledger.schema import idempotent_requests, messages
from bulksend.messaging.states import Kind
from bulksend.operations.idempotency import keyed
from producer import Producer, SendReceipt

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
