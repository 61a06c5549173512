"""Group commit: what several threads hand in at the same time is taken by one call, so that they share its commit."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class GroupCommit(Generic[Item, Result]):
    """Thread-safe. The first caller takes its own item at once; calls that come meanwhile wait and form the next group.

    ``take`` gets a group and returns a result for each item, in their order. It must be safe to repeat with the same
    items: a group that fails is taken again item by item, so that one bad item does not touch the others. An error of
    type ``common``, such as a database that is away, is the error of all. No thread of its own: one of the callers
    takes the group for all, and hands the lead on.
    """

    def __init__(
        self,
        take: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        common: type[Exception],
        most: int = 200,
    ) -> None:
        self._take = take
        self._common = common
        self._most = most
        self.changed = threading.Condition()
        """Notified whenever a call has come to wait."""
        self._waiting: deque[_Call[Item, Result]] = deque()
        self._leader: _Call[Item, Result] | None = None

    def __call__(self, item: Item) -> Result:
        """The result of this item; raises what ``take`` raised for it."""
        call: _Call[Item, Result] = _Call(item)
        with self.changed:
            self._waiting.append(call)
            self.changed.notify_all()
            if self._leader is None:
                self._leader = call
                call.wakes.set()
        try:
            call.wakes.wait()
            if not call.ended:
                self._take_a_group(call)
        finally:
            self._hand_on(call)
        return call.result()

    @property
    def waiting(self) -> int:
        """How many calls wait for the next group."""
        return len(self._waiting)

    def _take_a_group(self, leader: _Call[Item, Result]) -> None:
        with self.changed:
            group = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
        try:
            self._run(group)
        finally:
            # An interrupt ends the leader's call alone: what is not done yet is taken by another caller.
            undone = [call for call in group if not call.ended and call is not leader]
            with self.changed:
                self._waiting.extendleft(reversed(undone))
            for call in group:
                if call.ended:
                    call.wakes.set()

    def _hand_on(self, call: _Call[Item, Result]) -> None:
        """Take a call that ends out of the line; where it led, the next one leads."""
        with self.changed:
            if not call.ended and call in self._waiting:
                self._waiting.remove(call)
            if self._leader is call:
                self._leader = self._waiting[0] if self._waiting else None
                if self._leader is not None:
                    self._leader.wakes.set()

    def _run(self, group: Sequence[_Call[Item, Result]]) -> None:
        try:
            results = self._take([call.item for call in group])
        except Exception as error:  # noqa: BLE001 - each caller gets it raised
            if len(group) > 1 and not isinstance(error, self._common):
                for call in group:
                    self._run([call])
                return
            for call in group:
                call.failed = error
        else:
            for call, result in zip(group, results, strict=True):
                call.became = (result,)


class _Call(Generic[Item, Result]):
    """One item, and what became of it."""

    __slots__ = ("became", "failed", "item", "wakes")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.became: tuple[Result] | None = None
        self.failed: Exception | None = None
        self.wakes = threading.Event()

    @property
    def ended(self) -> bool:
        return self.became is not None or self.failed is not None

    def result(self) -> Result:
        if self.failed is not None:
            raise self.failed
        assert self.became is not None
        return self.became[0]
