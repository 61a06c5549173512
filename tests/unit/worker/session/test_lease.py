"""The lease of a worker: until when it is valid by the worker's own clock, and what replaces it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from worker.session.lease import MARGIN_SECONDS, LeaseKeeper

LEASE_SECONDS = 60.0
VALID_SECONDS = LEASE_SECONDS - MARGIN_SECONDS
DATABASE_AHEAD_S = 5000.0


class Ledger:
    """Leases as the ledger keeps them, with a clock of its own; every call takes ``takes_s``."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.takes_s = 0.0
        self.failures = 0
        self.valid: set[str] = set()
        self._number = 0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def take_lease(self, lease_ms: int) -> tuple[str, int]:
        now_ms = self._answer()
        self._number += 1
        lease = f"lease-{self._number}"
        self.valid.add(lease)
        return lease, now_ms

    def renew(self, lease: str, lease_ms: int) -> int | None:
        now_ms = self._answer()
        return now_ms if lease in self.valid else None

    def _answer(self) -> int:
        self.now += self.takes_s
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the ledger is away")
        return int((self.now + DATABASE_AHEAD_S) * 1000)


async def in_thread(work: Callable[..., Any], *args: Any) -> Any:
    return work(*args)


class Worker:
    """A keeper, and the events that it told."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.told: list[str] = []
        self.keeper = LeaseKeeper(
            self.ledger,
            in_thread,
            lease_seconds=LEASE_SECONDS,
            on_lost=lambda: self.told.append(f"lost, valid: {self.keeper.id}"),
            on_taken=self.told.append,
            clock=self.ledger.clock,
            sleep=self.ledger.sleep,
        )

    def take(self) -> None:
        asyncio.run(self.keeper.take())

    def renew(self) -> None:
        asyncio.run(self.keeper.renew())

    def pass_time(self, seconds: float) -> None:
        self.ledger.now += seconds


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_there_is_no_lease_before_one_was_taken(worker: Worker) -> None:
    assert worker.keeper.id is None
    assert worker.keeper.newest is None


def test_a_lease_is_valid_until_a_margin_before_its_end(worker: Worker) -> None:
    worker.take()
    worker.pass_time(VALID_SECONDS - 0.001)
    assert worker.keeper.id == "lease-1"
    worker.pass_time(0.001)
    assert worker.keeper.id is None


def test_a_lease_counts_from_the_request_and_not_from_the_reply(worker: Worker) -> None:
    worker.ledger.takes_s = 10.0
    worker.take()
    worker.pass_time(VALID_SECONDS - 10.0)
    assert worker.keeper.id is None


def test_a_lease_is_taken_as_soon_as_the_ledger_answers(worker: Worker) -> None:
    worker.ledger.failures = 3
    worker.take()
    assert worker.keeper.id == "lease-1"
    assert worker.told == ["lease-1"]


def test_a_renewal_moves_the_end(worker: Worker) -> None:
    worker.take()
    worker.pass_time(20)
    worker.renew()
    worker.pass_time(VALID_SECONDS - 0.001)
    assert worker.keeper.id == "lease-1"


def test_a_renewal_that_fails_keeps_the_old_end(worker: Worker) -> None:
    worker.take()
    worker.ledger.failures = 1
    worker.pass_time(20)
    worker.renew()
    assert worker.keeper.id == "lease-1"
    worker.pass_time(VALID_SECONDS - 20)
    assert worker.keeper.id is None


@pytest.mark.parametrize("why", ["lapsed by its own clock", "rescued by another worker"])
def test_a_lost_lease_is_replaced_by_a_new_one_after_the_loss_was_told(worker: Worker, why: str) -> None:
    worker.take()
    if why == "lapsed by its own clock":
        worker.pass_time(VALID_SECONDS)
    else:
        worker.ledger.valid.clear()
    worker.renew()
    assert worker.told == ["lease-1", "lost, valid: None", "lease-2"]
    assert worker.keeper.id == "lease-2"


def test_no_lease_is_valid_while_a_lost_one_is_replaced(worker: Worker) -> None:
    valid: list[str | None] = []

    async def watching(work: Callable[..., Any], *args: Any) -> Any:
        valid.append(keeper.id)
        return work(*args)

    keeper = LeaseKeeper(
        worker.ledger,
        watching,
        lease_seconds=LEASE_SECONDS,
        on_lost=lambda: None,
        clock=worker.ledger.clock,
        sleep=worker.ledger.sleep,
    )
    asyncio.run(keeper.take())
    worker.ledger.valid.clear()
    asyncio.run(keeper.renew())
    assert valid == [None, "lease-1", None]  # asked for the first, for its renewal, for the second
    assert keeper.id == keeper.newest == "lease-2"


def test_it_is_renewed_each_third_of_its_length(worker: Worker) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 4:
            raise asyncio.CancelledError
        await worker.ledger.sleep(seconds)

    keeper = LeaseKeeper(
        worker.ledger,
        in_thread,
        lease_seconds=LEASE_SECONDS,
        on_lost=lambda: None,
        clock=worker.ledger.clock,
        sleep=sleep,
    )
    asyncio.run(keeper.take())
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(keeper.keep())
    assert slept == [LEASE_SECONDS / 3] * 4
    assert keeper.id == "lease-1"


def test_the_databases_clock_runs_on_between_two_answers(worker: Worker) -> None:
    worker.take()
    worker.pass_time(2.5)
    assert worker.keeper.now_ms() == (1000 + DATABASE_AHEAD_S + 2.5) * 1000
