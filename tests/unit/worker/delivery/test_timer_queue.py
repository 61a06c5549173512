"""Everybody starts at its own instant, by one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from worker.delivery.timer_queue import TimerQueue


def started(after_ms: Sequence[int]) -> list[tuple[int, float]]:
    """Who started, in order, each with how many seconds after its instant; added in the order given."""

    async def main() -> list[tuple[int, float]]:
        loop = asyncio.get_running_loop()
        gone: list[tuple[int, float]] = []
        all_gone = asyncio.Event()
        began = loop.time()

        def start(number: int) -> None:
            gone.append((number, loop.time() - began - after_ms[number] / 1000))
            if len(gone) == len(after_ms):
                all_gone.set()

        departures: TimerQueue[int] = TimerQueue(start)
        for number, after in enumerate(after_ms):
            departures.add(began + after / 1000, number)
        assert len(departures) == len(after_ms)
        if after_ms:
            await asyncio.wait_for(all_gone.wait(), 30)
        assert len(departures) == 0
        return gone

    return asyncio.run(main())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-5, 30), max_size=12))
def test_each_starts_once_in_the_order_of_their_instants_and_none_before_its_own(after_ms: list[int]) -> None:
    gone = started(after_ms)
    assert sorted(number for number, _ in gone) == list(range(len(after_ms)))
    assert all(late >= -0.000_001 for _, late in gone)
    assert [after_ms[number] for number, _ in gone] == sorted(after_ms)


def test_who_comes_later_and_is_due_sooner_does_not_wait_for_the_others() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        gone: asyncio.Queue[str] = asyncio.Queue()
        departures: TimerQueue[str] = TimerQueue(gone.put_nowait)
        departures.add(loop.time() + 3600, "in an hour")
        departures.add(loop.time() + 0.01, "at once")
        assert await asyncio.wait_for(gone.get(), 30) == "at once"
        assert departures.clear() == ["in an hour"]

    asyncio.run(main())


def test_after_clearing_nobody_starts() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        gone: list[str] = []
        departures: TimerQueue[str] = TimerQueue(gone.append)
        departures.add(loop.time() + 0.01, "left")
        assert departures.clear() == ["left"]
        await asyncio.sleep(0.03)
        assert gone == []

    asyncio.run(main())
