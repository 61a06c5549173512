"""A person settles what is unknown while late answers and receipts come: whoever is first wins, and truth wins at last.

Real threads at one ledger, a whole batch each, in transactions that meet on the same rows in other orders.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from bulksend.errors import InvalidInput
from bulksend.ledger import messages, receipts
from bulksend.ledger.receipts import Receipt
from bulksend.ledger.settle import settle
from bulksend.messaging.outcome import Accepted, Evidence

MANY = 40


def lost_with_their_worker(desk: Any) -> list[Any]:
    """Unknown messages whose answers still come."""
    lease = desk.lease()
    openings = desk.sent(lease, desk.queued(n=MANY))
    desk.lapse(lease)
    assert len(desk.rescue().unknown) == MANY
    return list(openings)


def at_once(*works: Callable[[], None]) -> None:
    """Each on a thread of its own, begun together; fails on what any of them raises."""
    gate = threading.Barrier(len(works))
    failures: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        gate.wait()
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def a_person(desk: Any, ids: list[str], as_: str, settled: list[str]) -> Callable[[], None]:
    """Settles them in transactions of ten, as the command does; ``settled`` gets those that were still unknown."""

    def ten(tx: Any, some: list[str]) -> list[str]:
        done = []
        for id in sorted(some):
            try:
                messages.resolve(tx, id, as_=as_, actor="ada", why="because")
                done.append(id)
            except InvalidInput:
                pass
        return done

    def work() -> None:
        for start in range(0, len(ids), 10):
            some = ids[start : start + 10]
            settled.extend(desk.database.retrying(lambda tx, some=some: ten(tx, some)))

    return work


def the_answers(desk: Any, openings: list[Any]) -> Callable[[], None]:
    def work() -> None:
        for start in range(0, len(openings), 10):
            batch = [
                desk.settlement(
                    o,
                    Accepted(f"mid-{o.message.id}", "rid"),
                    evidence=Evidence(200, 0, message_id=f"mid-{o.message.id}"),
                )
                for o in openings[start : start + 10]
            ]
            desk.database.retrying(lambda tx, batch=batch: settle(tx, batch))

    return work


def the_receipts(desk: Any, openings: list[Any]) -> Callable[[], None]:
    def work() -> None:
        for start in range(0, len(openings), 10):
            some = [Receipt(f"mid-{o.message.id}", "delivered", 5) for o in openings[start : start + 10]]
            desk.database.retrying(lambda tx, some=some: receipts.take(tx, some))

    return work


@pytest.mark.parametrize("as_", ["accepted", "failed", "resend"])
def test_in_either_order_the_vendors_word_is_the_last(desk: Any, as_: str) -> None:
    openings = lost_with_their_worker(desk)
    ids = [o.message.id for o in openings]
    settled: list[str] = []
    at_once(
        a_person(desk, ids[::-1], as_, settled),
        the_answers(desk, openings),
        the_receipts(desk, openings[::2]),
    )
    desk.write(receipts.Orphans().match)
    assert [desk.status(id) for id in ids] == ["delivered", "accepted"] * (MANY // 2)
    # On record is what the person did, and nothing that they came too late for.
    assert desk.scalar("SELECT count(*) FROM acts WHERE scope = 'message'") == len(settled)
    assert desk.claim(desk.lease(), ids) == []
    assert desk.broken() == {}


@pytest.mark.parametrize("other", ["accepted", "resend"])
def test_of_two_people_one_settles_each_message(desk: Any, other: str) -> None:
    ids = [o.message.id for o in lost_with_their_worker(desk)]
    mine: list[str] = []
    theirs: list[str] = []
    at_once(a_person(desk, ids, "failed", mine), a_person(desk, ids[::-1], other, theirs))
    assert sorted(mine + theirs) == sorted(ids)
    there = messages.RESOLUTIONS[other].value
    assert {desk.status(id) for id in mine} <= {"failed"}
    assert {desk.status(id) for id in theirs} <= {there}
    assert desk.scalar("SELECT count(*) FROM acts WHERE scope = 'message'") == MANY
    assert desk.broken() == {}
