"""The engine's loop: the monotonic clock, and timers that are not early."""

from __future__ import annotations

import asyncio
import time

from worker import event_loop


def test_its_clock_is_the_monotonic_one() -> None:
    """Not that of whole milliseconds, nor that of the start of a turn."""

    async def main() -> None:
        before, now = time.monotonic(), asyncio.get_running_loop().time()
        assert before <= now <= time.monotonic()

    event_loop.run(main())


def test_a_timer_is_never_early() -> None:
    """One that waits again for the rest of a millisecond would spin."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for tenths in range(60):
            at = loop.time() + tenths / 10_000
            due = loop.create_future()
            loop.call_at(at, due.set_result, None)
            await due
            assert loop.time() >= at

    event_loop.run(main())


def test_a_timer_that_is_due_has_its_turn_at_once() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ran: list[str] = []
        loop.call_at(loop.time(), ran.append, "due")
        loop.call_at(loop.time() + 3600, ran.append, "in an hour").cancel()
        await asyncio.sleep(0)
        assert ran == ["due"]

    event_loop.run(main())
