"""The clock that measures spans of time, the clocks of other machines read by it, and waiting until an instant."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable


def steady_seconds() -> float:
    """Seconds of a clock that never jumps.

    Where the system has CLOCK_BOOTTIME, the time that a machine spends suspended counts too: a lease or a time to
    live that ends meanwhile has ended.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(clock) if clock is not None else time.monotonic()


async def wait_until(event: asyncio.Event, at: float | None) -> None:
    """Return when the event is set, or at the loop's time ``at``; None waits for the event only."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(at):
            await event.wait()


class ClockOffset:
    """How far the clock of another machine is ahead of a local one, in ms. Pure: the times are handed in.

    The other machine read its clock between a call's start and its end, so each call bounds the offset. The narrowest
    bound counts, so that one slow call does not shift the clock; it widens slowly, because clocks drift.
    """

    _WIDENS_BY = 0.0005

    def __init__(self, ahead_ms: float | None = None) -> None:
        self._ahead_ms = ahead_ms
        self.error_ms = float("inf")
        """How far the offset may be off: half of the quickest call."""
        self._observed_ms = 0.0

    def observe(self, asked_ms: float, answered_ms: float, remote_ms: float) -> None:
        """One call: the local time before and after it, and the remote clock in its answer."""
        error_ms = (answered_ms - asked_ms) / 2
        widened_ms = self.error_ms + (answered_ms - self._observed_ms) * self._WIDENS_BY
        if error_ms <= widened_ms:
            self._ahead_ms = remote_ms - (asked_ms + answered_ms) / 2
            self.error_ms = error_ms
        else:
            self.error_ms = widened_ms
        self._observed_ms = answered_ms

    def distrust(self) -> None:
        """Let the next observation count however wide its bound: another machine may answer now."""
        self.error_ms = float("inf")

    def local_ms(self, remote_ms: float) -> float:
        """The local time at an instant of the remote clock. Raises RuntimeError before the first observation."""
        if self._ahead_ms is None:
            raise RuntimeError("the remote clock has not been observed yet")
        return remote_ms - self._ahead_ms

    def remote_ms(self, local_ms: float) -> float:
        """The remote clock at a local time. Raises RuntimeError before the first observation."""
        return local_ms - self.local_ms(0.0)


class RemoteClock:
    """The clock of another machine (ms), carried on by the steady clock of this one between two answers.

    The wall clock of this machine may be stepped by minutes: it only serves until the first answer.
    """

    def __init__(self, steady_s: Callable[[], float] = steady_seconds) -> None:
        self._steady_s = steady_s
        self._offset = ClockOffset(time.time() * 1000 - self.steady_ms())

    def __call__(self) -> float:
        return self._offset.remote_ms(self.steady_ms())

    def steady_ms(self) -> float:
        """The steady clock of this machine."""
        return self._steady_s() * 1000

    def observe(self, remote_ms: float, asked_ms: float | None = None) -> None:
        """An answer that has just come, and ``steady_ms`` from before the call."""
        answered_ms = self.steady_ms()
        self._offset.observe(answered_ms if asked_ms is None else asked_ms, answered_ms, remote_ms)
