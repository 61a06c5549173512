"""Group commit of callbacks: stored by the ledger or by the spool before each answer, or refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bulksend.errors import LedgerUnreachable
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.raw_receipts import Callback, Group, unpack
from bulksend.ledger.receipt_spool import ReceiptSpool
from ops.http.receipt_group_commit import MOST, ReceiptGroupCommit

CIPHER = Cipher([b"k" * 32])


class Ledger:
    """Keeps groups by id as the ledger does. While ``is_away`` it takes none; ``free`` unset: it does not answer."""

    def __init__(self) -> None:
        self.groups: dict[str, Group] = {}
        self.is_away = False
        self.free = threading.Event()
        self.free.set()
        self.has_drained = threading.Event()

    def __call__(self, groups: Sequence[Group]) -> None:
        self.free.wait(10)
        if self.is_away:
            raise LedgerUnreachable("away")
        for group in groups:
            self.groups.setdefault(group.id, group)

    @property
    def bodies(self) -> list[bytes]:
        return [each.body for _, group in sorted(self.groups.items()) for each in unpack(group, CIPHER)]


@contextmanager
def commit(ledger: Ledger, folder: Path) -> Iterator[ReceiptGroupCommit]:
    made = ReceiptGroupCommit(ledger, ReceiptSpool(folder), CIPHER, patience_s=0.1)
    try:
        yield made
    finally:
        ledger.free.set()
        made.close()


def add(commit: ReceiptGroupCommit, count: int, start: int = 0) -> list[bool]:
    async def all_at_once() -> list[bool]:
        bodies = (b"%d" % n for n in range(start, start + count))
        return await asyncio.gather(*(commit.add(Callback("t", {}, body)) for body in bodies))

    return asyncio.run(all_at_once())


def numbers(count: int) -> list[bytes]:
    return [b"%d" % n for n in range(count)]


def test_those_that_come_together_share_a_commit(tmp_path: Path) -> None:
    ledger = Ledger()
    with commit(ledger, tmp_path) as group:
        assert add(group, 2 * MOST + 10) == [True] * (2 * MOST + 10)
    assert ledger.bodies == numbers(2 * MOST + 10)
    assert [each.bodies for _, each in sorted(ledger.groups.items())] == [MOST, MOST, 10]


def test_while_the_ledger_is_away_the_spool_has_them_and_afterwards_the_ledger_once(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.is_away = True
    with commit(ledger, tmp_path) as group:
        assert add(group, 3) == [True] * 3
        assert ledger.groups == {}
        assert not ReceiptSpool(tmp_path).is_empty
        ledger.is_away = False
        spool = ReceiptSpool(tmp_path)
        while not spool.is_empty:
            threading.Event().wait(0.02)
    assert ledger.bodies == numbers(3)


def test_a_ledger_that_does_not_answer_in_time_delays_no_caller_and_stores_nothing_twice(
    tmp_path: Path,
) -> None:
    ledger = Ledger()
    ledger.free.clear()
    with commit(ledger, tmp_path) as group:
        assert add(group, 1) == [True]
        assert add(group, 2, start=1) == [True, True]
        ledger.free.set()
        spool = ReceiptSpool(tmp_path)
        while not spool.is_empty:
            threading.Event().wait(0.02)
    assert ledger.bodies == numbers(3)


def test_without_ledger_and_disk_they_are_refused_and_taken_again_later(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.is_away = True
    place = tmp_path / "spool"
    place.write_text("a file where the folder should be")
    with commit(ledger, place) as group:
        assert add(group, 2) == [False, False]
        place.unlink()
        assert add(group, 2) == [True, True]


def test_a_stop_stores_what_waits(tmp_path: Path) -> None:
    ledger = Ledger()

    async def stopped_at_once(group: ReceiptGroupCommit) -> bool:
        waiting = asyncio.create_task(group.add(Callback("t", {}, b"0")))
        await asyncio.sleep(0)
        await asyncio.to_thread(group.close)
        return await waiting

    made = ReceiptGroupCommit(ledger, ReceiptSpool(tmp_path), CIPHER)
    assert asyncio.run(stopped_at_once(made)) is True
    assert ledger.bodies == [b"0"]


def test_while_a_group_is_committed_the_next_one_goes_on_collecting(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.free.clear()

    async def some_at_each_moment(group: ReceiptGroupCommit) -> list[bool]:
        adding = []
        for n in range(4):
            adding.append(asyncio.create_task(group.add(Callback("t", {}, b"%d" % n))))
            for _ in range(5):  # turns of the loop: it begins, and hands over what may be handed over
                await asyncio.sleep(0)
        ledger.free.set()
        return await asyncio.gather(*adding)

    made = ReceiptGroupCommit(ledger, ReceiptSpool(tmp_path), CIPHER, patience_s=10)
    assert asyncio.run(some_at_each_moment(made)) == [True] * 4
    made.close()
    assert [each.bodies for _, each in sorted(ledger.groups.items())] == [1, 3]
