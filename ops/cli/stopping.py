"""A command that is told to stop ends at a safe point, with a sentence about what goes on without it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

#: Ctrl-C, the polite kill, and a terminal that was closed.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """The command was told to stop by a signal; ``code`` is what a shell expects it to end with."""

    def __init__(self, number: int) -> None:
        self.code = 128 + number
        super().__init__(signal.Signals(number).name)


@contextmanager
def stopped_by_signals() -> Iterator[Callable[[], None]]:
    """Note signals while the block runs. What it yields raises Stopped once there was one: call it at safe points.

    An exception in the middle of a transaction would leave a connection of which nothing is known.
    """
    seen: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        seen.append(number)

    def check() -> None:
        if seen:
            raise Stopped(seen[0])

    # What was started with a signal ignored, as by nohup, goes on ignoring it.
    before = {each: old for each in _SIGNALS if (old := signal.getsignal(each)) is not signal.SIG_IGN}
    for each in before:
        signal.signal(each, note)
    try:
        yield check
        check()
    finally:
        for each, old in before.items():
            # After the first signal the end is under way, and a second one must not cut its sentence.
            signal.signal(each, signal.SIG_IGN if seen else old)
