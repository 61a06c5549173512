"""Callbacks are stored, read and applied: in any order and number the ledger ends the same, and nothing is lost."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from bulksend import failpoints
from bulksend.errors import InvalidValue
from bulksend.failpoints import FailpointReached
from bulksend.ledger import messages, raw_receipts, receipts
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.idempotency import OneTransaction
from bulksend.ledger.raw_receipts import Callback
from bulksend.messaging.outcome import Accepted, Evidence, Unknown
from bulksend.metrics import ReceiptMetrics
from bulksend.operations.callbacks import CallbackRules
from bulksend.operations.receipts import list_receipts, read_callbacks, reparse, store_callbacks
from producer.receipt_reader import ReceiptReader

OTHER_KEY = Cipher([b"o" * 32])
NUMBERS = itertools.count()


def body(message_id: str, status: str, at: int = 1_700_000_000, **more: object) -> bytes:
    return json.dumps({"id": message_id, "status": status, "timestamp": str(at), **more}).encode()


def store(desk: Any, *bodies: bytes, cipher: Cipher | None = None, **headers: str) -> None:
    group = raw_receipts.pack(
        [Callback("t", headers, each) for each in bodies], cipher or desk.cipher, desk.now()
    )
    store_callbacks(desk.database, [group])


def read(desk: Any) -> int:
    """Read until nothing waits; returns how many callbacks."""
    total = 0
    while count := read_callbacks(desk.database, CallbackRules(desk.cipher)).callbacks:
        total += count
    return total


def accepted(desk: Any, n: int = 1) -> list[str]:
    """The MessageIds of new accepted messages."""
    ids = desk.queued(n=n)
    openings = desk.sent(desk.lease(), ids)
    named = []
    for opening in openings:
        message_id = f"mid-{next(NUMBERS):09}"
        desk.settle(
            opening, Accepted(message_id, f"r-{message_id}"), evidence=Evidence(200, 0, message_id=message_id)
        )
        named.append(message_id)
    return named


def state(desk: Any, message_ids: Sequence[str]) -> list[tuple[Any, ...]]:
    with desk.database.read() as tx:
        rows = tx.execute(
            text("SELECT message_id, status, delivered_at, read_at, error FROM messages ORDER BY message_id")
        ).all()
    return [tuple(row) for row in rows if row.message_id in message_ids]


@pytest.fixture
def armed() -> Iterator[Any]:
    yield failpoints.arm
    failpoints.arm(None)


def test_a_stored_callback_reaches_its_message(desk: Any) -> None:
    first, second = accepted(desk, 2)
    store(desk, body(first, "delivered"), body(second, "read", 1_700_000_005))
    assert read(desk) == 2
    assert state(desk, [first, second]) == [
        (first, "delivered", 1_700_000_000_000, None, None),
        (second, "read", 1_700_000_005_000, 1_700_000_005_000, None),
    ]
    assert read(desk) == 0


def test_a_group_is_read_once_however_often_it_is_stored(desk: Any) -> None:
    (message_id,) = accepted(desk)
    group = raw_receipts.pack([Callback("t", {}, body(message_id, "sent"))], desk.cipher, 1)
    for _ in range(3):
        store_callbacks(desk.database, [group])
        read(desk)
    assert desk.scalar("SELECT count(*) FROM raw_receipts") == 1
    assert desk.scalar("SELECT count(*) FROM receipts") == 1


def test_a_compressed_body_is_unpacked_and_one_that_is_too_large_is_set_aside(desk: Any) -> None:
    first, second = accepted(desk, 2)
    store(desk, gzip.compress(body(first, "delivered")))
    store(desk, gzip.compress(body(second, "read")), **{"content-encoding": "gzip"})
    store(desk, gzip.compress(bytes(31 * 1024 * 1024)), gzip.compress(b"{}")[:-9])
    read(desk)
    assert [row[1] for row in state(desk, [first, second])] == ["delivered", "read"]
    assert desk.scalar("SELECT count(*) FROM unreadable_receipts WHERE why LIKE '%gzip%'") == 2


@pytest.mark.parametrize("at", ["receipts_parsed", "receipts_applying", "receipts_applied"])
def test_an_end_of_the_reader_at_any_step_loses_nothing_and_applies_nothing_twice(
    desk: Any, armed: Any, at: str
) -> None:
    (message_id,) = accepted(desk)
    store(desk, body(message_id, "delivered"), b"nonsense")
    armed(f"{at}:raise")
    with pytest.raises(FailpointReached):
        read_callbacks(desk.database, CallbackRules(desk.cipher))
    read(desk)
    assert state(desk, [message_id])[0][1] == "delivered"
    assert desk.scalar("SELECT count(*) FROM receipts") == 1
    assert desk.scalar("SELECT count(*) FROM unreadable_receipts") == 1


def test_one_that_cannot_be_read_is_shown_and_spares_its_neighbours(desk: Any) -> None:
    (message_id,) = accepted(desk)
    store(desk, b"\xffnot json", body(message_id, "delivered"), b'{"colour": "blue"}')
    read(desk)
    assert state(desk, [message_id])[0][1] == "delivered"
    page = list_receipts(desk.database, desk.cipher, state="unreadable", bodies=True)
    assert [item["n"] for item in page.items] == [2, 0]
    assert [item["body"] for item in page.items] == ['{"colour": "blue"}', "\ufffdnot json"]
    assert "body" not in list_receipts(desk.database, desk.cipher, state="unreadable").items[0]


def test_what_was_set_aside_can_be_read_again_when_the_cause_is_gone(desk: Any) -> None:
    first, second = accepted(desk, 2)
    store(desk, body(first, "delivered"), b"nonsense", body(second, "read"), cipher=OTHER_KEY)
    read(desk)
    assert [row[1] for row in state(desk, [first, second])] == ["accepted", "accepted"]
    (item,) = list_receipts(desk.database, desk.cipher, state="unreadable", bodies=True).items
    assert (item["n"], item["body"]) == (-1, None)
    assert "BULKSEND_ENCRYPTION_KEY" in item["why"]
    assert reparse(desk.database, CallbackRules(desk.cipher), actor="ada").unreadable == 1
    both = Cipher([b"k" * 32, b"o" * 32])
    for _ in range(2):
        done = reparse(desk.database, CallbackRules(both), actor="ada")
    assert (done.read, done.unreadable) == (0, 1)
    assert [row[1] for row in state(desk, [first, second])] == ["delivered", "read"]


def test_reading_again_looks_at_each_once_and_says_when_there_are_more(desk: Any) -> None:
    store(desk, *[b"nonsense"] * 7)
    read(desk)
    done = reparse(desk.database, CallbackRules(desk.cipher), actor="ada", at_once=2)
    assert (done.read, done.unreadable, done.more) == (0, 7, False)
    done = reparse(desk.database, CallbackRules(desk.cipher), actor="ada", at_once=2, most=4)
    assert (done.unreadable, done.more) == (4, True)
    assert len(list_receipts(desk.database, desk.cipher, state="unreadable").items) == 7
    with desk.database.write() as tx:
        one = OneTransaction(desk.database, tx)
        done = reparse(one, CallbackRules(desk.cipher), actor="ada", at_once=2)
    assert (done.unreadable, done.more) == (2, True)
    assert desk.scalar("SELECT count(*) FROM acts WHERE act = 'reparse'") == 3


def test_an_orphan_is_shown_until_its_message_is_known(desk: Any) -> None:
    (id,) = desk.queued()
    (opening,) = desk.sent(desk.lease(), [id])
    store(desk, body("mid-early", "delivered", requestId="rid-early"))
    read(desk)
    (item,) = list_receipts(desk.database, desk.cipher, state="orphan").items
    assert (item["message_id"], item["aliases"]) == ("mid-early", ["rid-early"])
    desk.settle(
        opening, Accepted("mid-early", "rid-early"), evidence=Evidence(200, 0, message_id="mid-early")
    )
    assert desk.write(receipts.Orphans().match).matched == 1
    assert desk.status(id) == "delivered"
    assert list_receipts(desk.database, desk.cipher, state="orphan").items == []
    assert len(list_receipts(desk.database, desk.cipher).items) == 1


def test_early_ones_that_say_the_same_under_different_ids_all_find_their_message(desk: Any) -> None:
    (id,) = desk.queued()
    (opening,) = desk.sent(desk.lease(), [id])
    store(
        desk,
        body("mid-two", "delivered"),
        body("rid-two", "delivered"),
        body("x", "delivered", gsId="mid-two"),
    )
    read(desk)
    desk.settle(
        opening,
        Accepted("mid-two", "rid-two"),
        evidence=Evidence(200, 0, request_id="rid-two", message_id="mid-two"),
    )
    assert desk.write(receipts.Orphans().match).matched == 1
    assert (desk.status(id), len(desk.read(messages.receipts_of, id))) == ("delivered", 3)
    assert list_receipts(desk.database, desk.cipher, state="orphan").items == []


def test_pages_of_receipts_miss_none(desk: Any) -> None:
    store(desk, *(body(f"nobody-{n}", "sent") for n in range(7)))
    read(desk)
    found, after = [], None
    while True:
        page = list_receipts(desk.database, desk.cipher, state="orphan", limit=3, after=after)
        found += [item["message_id"] for item in page.items]
        after = page.next
        if after is None:
            break
    assert sorted(found) == [f"nobody-{n}" for n in range(7)]
    with pytest.raises(InvalidValue, match="orphan, unreadable"):
        list_receipts(desk.database, desk.cipher, state="lost")
    with pytest.raises(InvalidValue, match="after"):
        list_receipts(desk.database, desk.cipher, after="7")


def test_a_stop_word_in_the_same_callback_as_receipts_is_heeded(desk: Any) -> None:
    (message_id,) = accepted(desk)
    person = desk.scalar("SELECT recipient FROM messages WHERE message_id = :m", m=message_id)
    said = {"from": person, "id": "in-1", "timestamp": "1700000000", "type": "text", "text": {"body": "STOP"}}
    value = {
        "metadata": {"display_phone_number": "15550100100"},
        "messages": [said],
        "statuses": [json.loads(body(message_id, "read"))],
    }
    both = {"entry": [{"changes": [{"field": "messages", "value": value}]}]}
    store(desk, json.dumps(both).encode())
    read(desk)
    assert state(desk, [message_id])[0][1] == "read"
    assert desk.scalar("SELECT scope FROM suppressions WHERE subject = :p", p=person) == "marketing"


# -- ids ------------------------------------------------------------------------------------------------


def unclear(desk: Any, request_id: str, message_id: str = "") -> str:
    """A message whose answer was no clear success, but named these ids."""
    (id,) = desk.queued()
    (opening,) = desk.sent(desk.lease(), [id])
    seen = Evidence(500, None, request_id=request_id, message_id=message_id, bytes_sent=True)
    desk.settle(opening, Unknown("HTTP 500"), evidence=seen)
    assert desk.status(id) == "unknown"
    return str(id)


@pytest.mark.parametrize(
    ("status", "ends"),
    [("sent", "accepted"), ("delivered", "delivered"), ("read", "read"), ("failed", "failed")],
)
@pytest.mark.parametrize("names", ["both", "request"])
def test_an_unknown_message_is_settled_by_a_receipt_that_names_its_request_id(
    desk: Any, status: str, ends: str, names: str
) -> None:
    id = unclear(desk, "rid-9")
    more = {"requestId": "rid-9"} if names == "both" else {}
    store(desk, body("mid-9" if names == "both" else "rid-9", status, **more))
    read(desk)
    row = desk.row(id)
    assert (row["status"], row["message_id"]) == (ends, "mid-9" if names == "both" else "rid-9")
    assert desk.broken() == {}
    # A later one may name the MessageId alone.
    store(desk, body(row["message_id"], "read", 1_700_000_009))
    read(desk)
    assert desk.status(id) == "read"


def test_a_receipt_that_names_no_id_of_an_attempt_settles_nothing(desk: Any) -> None:
    id = unclear(desk, "rid-8")
    store(desk, body("mid-8", "delivered"))
    read(desk)
    assert desk.status(id) == "unknown"


def test_a_receipt_by_request_id_of_an_accepted_message_is_one_of_its_message_id(desk: Any) -> None:
    (message_id,) = accepted(desk)
    store(desk, body(f"r-{message_id}", "delivered"), body(message_id, "delivered"))
    read(desk)
    assert state(desk, [message_id])[0][1] == "delivered"
    assert desk.scalar("SELECT count(*) FROM receipts") == 1


def test_any_of_several_ids_finds_the_message(desk: Any) -> None:
    (message_id,) = accepted(desk)
    store(desk, body("wamid.7", "delivered", gsId=message_id))
    read(desk)
    assert state(desk, [message_id])[0][1] == "delivered"


# -- failures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("later", [0, 5])
def test_a_failure_without_a_code_does_not_hide_one_with_a_code(desk: Any, order: int, later: int) -> None:
    (message_id,) = accepted(desk)
    plain = body(message_id, "failed", 1_700_000_000 + later)
    coded = body(message_id, "failed", errors=[{"code": 131026, "title": "Message undeliverable"}])
    for each in (plain, coded)[:: -1 if order else 1]:
        store(desk, each)
        read(desk)
    _, status, _, _, error = state(desk, [message_id])[0]
    assert (status, "131026" in error) == ("failed", True)


# -- how much at once -----------------------------------------------------------------------------------------


def test_one_transaction_reads_about_as_much_as_fits_into_memory(desk: Any) -> None:
    ids = accepted(desk, 9)
    packed = [gzip.compress(body(id, "delivered", pad="x" * 90_000)) for id in ids]

    def read_some() -> int:
        return read_callbacks(desk.database, CallbackRules(desk.cipher), most_bytes=100_000).callbacks

    for each in packed[:3]:
        store(desk, each)
    with desk.database.read() as tx:
        assert len(raw_receipts.unread(tx, bodies=100)) == 3
        assert len(raw_receipts.unread(tx, bodies=100, most_bytes=1)) == 1
    assert [read_some(), read_some()] == [2, 1]
    # A group is one transaction, whatever it unpacks to: the last of these is left to `reparse`.
    store(desk, *packed[3:])
    assert read_some() == 6
    assert [row[1] for row in state(desk, ids)].count("delivered") == 8
    assert reparse(desk.database, CallbackRules(desk.cipher), actor="ada").read == 1
    assert {row[1] for row in state(desk, ids)} == {"delivered"}


# -- by age -------------------------------------------------------------------------------------------------


def test_raw_callbacks_go_by_age_once_they_are_read(desk: Any) -> None:
    store(desk, b"nonsense")
    read(desk)
    store(desk, body("mid-x", "sent"))
    assert desk.write(raw_receipts.delete_old, keep_ms=60_000) == 0
    assert desk.write(raw_receipts.delete_old, keep_ms=-60_000) == 1
    assert desk.scalar("SELECT count(*) FROM raw_receipts WHERE read_at IS NULL") == 1
    assert list_receipts(desk.database, desk.cipher, state="unreadable").items == []


def test_what_is_read_is_counted(desk: Any) -> None:
    registry = CollectorRegistry()
    reader = ReceiptReader(desk.database, CallbackRules(desk.cipher))
    reader.metrics = ReceiptMetrics(registry)
    (message_id,) = accepted(desk)
    store(desk, body(message_id, "delivered"), body(message_id, "read"), b"nonsense")
    assert reader.read() == 3
    assert reader.read() == 0
    value = registry.get_sample_value
    assert value("bulksend_receipts_total", {"status": "read"}) == 1
    assert value("bulksend_receipts_unreadable_total") == 1
    assert value("bulksend_receipt_lag_seconds_count") == 1
    delay = "bulksend_delivery_delay_seconds_count", {"kind": "marketing"}
    assert value(*delay) == 1
    # A receipt that comes again is not a second delivery.
    store(desk, body(message_id, "delivered"), body(message_id, "read", 1))
    assert reader.read() == 2
    assert value(*delay) == 1


def test_what_waits_is_counted(desk: Any) -> None:
    assert desk.read(raw_receipts.waiting) == (0, 0)
    store(desk, b"1", b"2")
    assert desk.read(raw_receipts.waiting).bodies == 2


# -- in any order and number --------------------------------------------------------------------------------

TOLD = st.tuples(
    st.integers(0, 3), st.sampled_from(["sent", "delivered", "read", "failed", "coded"]), st.integers(0, 3)
)


def callback(message_id: str, status: str, second: int) -> bytes:
    if status == "coded":
        return body(message_id, "failed", 1_700_000_000 + second, errors=[{"code": 131026, "title": "no"}])
    return body(message_id, status, 1_700_000_000 + second)


@settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(TOLD, min_size=1, max_size=12), st.data())
def test_random_receipts_in_any_order_and_number_end_the_same_as_in_order(
    desk: Any, told: list[tuple[int, str, int]], data: Any
) -> None:
    mixed = data.draw(st.permutations(told + data.draw(st.lists(st.sampled_from(told), max_size=6))))
    cuts = data.draw(st.lists(st.integers(0, len(mixed)), max_size=3))
    ends = []
    for order, edges in (
        (sorted(told, key=lambda each: each[2]), [len(told)]),
        (mixed, sorted({*cuts, len(mixed)})),
    ):
        message_ids = accepted(desk, 4)
        start = 0
        for edge in edges:
            if order[start:edge]:
                store(
                    desk, *(callback(message_ids[which], status, s) for which, status, s in order[start:edge])
                )
            start = edge
            if data.draw(st.booleans()):
                read(desk)
        read(desk)
        ends.append([row[1:] for row in state(desk, message_ids)])
    assert ends[0] == ends[1]
    assert desk.read(messages.receipts_of, desk.queued()[0]) == []
