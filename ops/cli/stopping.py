"""A command that is told to stop ends with a sentence about what goes on without it."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

#: Ctrl-C, the polite kill, and a terminal that was closed.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """The command was told to stop by a signal; ``code`` is what a shell expects it to end with."""

    def __init__(self, number: int) -> None:
        self.code = 128 + number
        super().__init__(signal.Signals(number).name)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise Stopped in the block at the first signal, and ignore further ones: the end is under way."""

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    # What was started with a signal ignored, as by nohup, goes on ignoring it.
    before = {each: old for each in _SIGNALS if (old := signal.getsignal(each)) is not signal.SIG_IGN}
    for each in before:
        signal.signal(each, stop)
    try:
        yield
    except Stopped:
        raise
    except BaseException:
        _restore(before)
        raise
    _restore(before)


def _restore(before: Mapping[signal.Signals, Any]) -> None:
    for each, old in before.items():
        signal.signal(each, old)
