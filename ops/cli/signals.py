"""How commands end at a signal: at a safe point, or when an event is set."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

#: Ctrl-C, kill, and a closed terminal.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """The command got a signal. ``code`` is the exit code that a shell expects then."""

    def __init__(self, number: int) -> None:
        self.code = 128 + number
        super().__init__(signal.Signals(number).name)


def stop_event() -> threading.Event:
    """An event that SIGTERM and SIGINT set, for a process that runs until then.

    The handler runs in the main thread, which may be inside ``wait`` and hold the event's lock: it would wait for
    itself for ever. So another thread sets the event.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _thread.start_new_thread(stop.set, ()))
    return stop


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], None]]:
    """Note signals while the block runs, and yield a function to call at safe points: it raises Stopped after one.

    An exception in the middle of a transaction would leave a connection in an unknown state.
    """
    seen: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        seen.append(number)

    def check() -> None:
        if seen:
            raise Stopped(seen[0])

    # A signal that was ignored at the start, as by nohup, stays ignored.
    before = {each: old for each in _SIGNALS if (old := signal.getsignal(each)) is not signal.SIG_IGN}
    for each in before:
        signal.signal(each, note)
    try:
        yield check
        check()
    finally:
        for each, old in before.items():
            # After the first signal the command is ending, and a second one must not cut its output.
            signal.signal(each, signal.SIG_IGN if seen else old)
