"""Each item starts at its instant, with one timer for all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from worker import event_loop
from worker.delivery.timer_queue import TimerQueue


def started(after_ms: Sequence[int]) -> list[tuple[int, float]]:
    """The items in the order in which they started, each with its delay in seconds."""

    async def main() -> list[tuple[int, float]]:
        loop = asyncio.get_running_loop()
        gone: list[tuple[int, float]] = []
        all_gone = asyncio.Event()
        began = loop.time()

        def start(number: int) -> None:
            gone.append((number, loop.time() - began - after_ms[number] / 1000))
            if len(gone) == len(after_ms):
                all_gone.set()

        timers: TimerQueue[int] = TimerQueue(start)
        for number, after in enumerate(after_ms):
            timers.add(began + after / 1000, number)
        assert len(timers) == len(after_ms)
        if after_ms:
            await asyncio.wait_for(all_gone.wait(), 30)
        assert len(timers) == 0
        return gone

    return event_loop.run(main())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-5, 30), max_size=12))
def test_items_start_once_in_the_order_of_their_instants_and_not_before_them(after_ms: list[int]) -> None:
    gone = started(after_ms)
    assert sorted(number for number, _ in gone) == list(range(len(after_ms)))
    assert all(late >= -0.000_001 for _, late in gone)
    assert [after_ms[number] for number, _ in gone] == sorted(after_ms)


def test_an_item_added_later_with_an_earlier_instant_starts_first() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        gone: asyncio.Queue[str] = asyncio.Queue()
        timers: TimerQueue[str] = TimerQueue(gone.put_nowait)
        timers.add(loop.time() + 3600, "in an hour")
        timers.add(loop.time() + 0.01, "at once")
        assert await asyncio.wait_for(gone.get(), 30) == "at once"
        assert timers.clear() == ["in an hour"]

    event_loop.run(main())


def test_a_cleared_item_does_not_start() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        gone: list[str] = []
        timers: TimerQueue[str] = TimerQueue(gone.append)
        timers.add(loop.time() + 0.01, "left")
        assert timers.clear() == ["left"]
        await asyncio.sleep(0.03)
        assert gone == []

    event_loop.run(main())
