"""Callers that wait for an ending share queries, and get the status that is known when their time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from bulksend.errors import LedgerUnreachable
from bulksend.messaging.states import Status
from producer.watching import Endings, Watching


class Ledger:
    """Each message ends at its nth look."""

    def __init__(self, **ends_at: int) -> None:
        self._ends_at = ends_at
        self.looks: list[set[str]] = []
        self.away = False

    def statuses(self, ids: Collection[str]) -> Mapping[str, Status]:
        if self.away:
            raise LedgerUnreachable("away")
        self.looks.append(set(ids))
        n = len(self.looks)
        return {id: Status.ACCEPTED if n >= self._ends_at[id] else Status.SENDING for id in ids}


def test_each_caller_gets_the_ending_of_its_message_and_they_share_the_looks() -> None:
    ledger = Ledger(a=1, b=2)

    async def main() -> list[Status]:
        watching = Watching(ledger.statuses)
        waits = [watching.ending(id, Status.QUEUED, 30) for id in ("a", "a", "b")]
        return await asyncio.gather(*waits)

    assert asyncio.run(main()) == [Status.ACCEPTED] * 3
    assert ledger.looks == [{"a", "b"}, {"b"}]


def test_a_message_that_has_ended_is_not_waited_for() -> None:
    ledger = Ledger()
    status = asyncio.run(Watching(ledger.statuses).ending("a", Status.SUPPRESSED, 30))
    assert (status, ledger.looks) == (Status.SUPPRESSED, [])


def test_after_its_time_a_caller_gets_the_status_of_that_moment() -> None:
    ledger = Ledger(a=10**9)
    assert asyncio.run(Watching(ledger.statuses).ending("a", Status.QUEUED, 0.01)) is Status.SENDING


def test_a_ledger_that_is_away_ends_no_wait_with_an_error() -> None:
    ledger = Ledger(a=1)
    ledger.away = True
    assert asyncio.run(Watching(ledger.statuses).ending("a", Status.QUEUED, 0.12)) is Status.QUEUED


def test_a_watch_that_is_closed_while_it_looks_ends_without_an_error() -> None:
    async def main() -> list[object]:
        watching = Watching(Ledger(a=10**9).statuses)
        waits = asyncio.create_task(watching.ending("a", Status.QUEUED, 30))
        await asyncio.sleep(0)
        watching.close()
        waits.cancel()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        return list(await asyncio.gather(*left, return_exceptions=True))

    assert [type(each) for each in asyncio.run(main())] == [asyncio.CancelledError] * 2


def test_a_thread_gets_the_ending_too_or_the_last_known_status() -> None:
    ledger = Ledger(a=3, b=10**9)
    assert Endings(ledger.statuses).ending("a", Status.QUEUED, 30) is Status.ACCEPTED
    assert len(ledger.looks) == 3
    assert Endings(ledger.statuses).ending("b", Status.QUEUED, 0.12) is Status.SENDING
    looks = len(ledger.looks)
    assert Endings(ledger.statuses).ending("b", Status.CANCELLED, 30) is Status.CANCELLED
    ledger.away = True
    assert Endings(ledger.statuses).ending("b", Status.QUEUED, 0.12) is Status.QUEUED
    assert len(ledger.looks) == looks
