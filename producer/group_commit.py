"""Group commit: items that several threads hand in at the same time share one transaction.

The worker's batcher (bulksend/batcher.py) does the same on an event loop: its callers must not block, and
it may wait a moment to fill a batch. Here each caller is a thread of a program that uses the producer, without a loop.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class GroupCommit(Generic[Item, Result]):
    """Thread-safe. The first caller commits its own item at once; the calls of that time wait and form the next group.

    ``commit`` gets a group and returns a result for each item, in their order. It must be safe to repeat with the same
    items: after a failure each item is committed alone, so that a bad item does not affect the others. An error of
    type ``common``, such as an unreachable database, fails the whole group. There is no extra thread: one of the
    callers leads, commits the group for all, and passes the lead on.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        common: type[Exception],
        max_size: int = 200,
    ) -> None:
        self._commit = commit
        self._common = common
        self._max_size = max_size
        self.changed = threading.Condition()
        """Notified when a call begins to wait."""
        self._waiting: deque[_Call[Item, Result]] = deque()
        self._leader: _Call[Item, Result] | None = None

    def __call__(self, item: Item) -> Result:
        """The result of this item. Raises the error of ``commit`` for it."""
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
                self._commit_group(call)
        finally:
            self._pass_lead(call)
        return call.result()

    @property
    def waiting(self) -> int:
        """How many calls wait for the next group."""
        return len(self._waiting)

    def _commit_group(self, leader: _Call[Item, Result]) -> None:
        with self.changed:
            group = [self._waiting.popleft() for _ in range(min(self._max_size, len(self._waiting)))]
        try:
            self._run(group)
        finally:
            # An interrupt ends only the leader's call: another caller commits the items that are not done.
            undone = [call for call in group if not call.ended and call is not leader]
            with self.changed:
                self._waiting.extendleft(reversed(undone))
            for call in group:
                if call.ended:
                    call.wakes.set()

    def _pass_lead(self, call: _Call[Item, Result]) -> None:
        """Remove a call that ends; where it led, the next one leads."""
        with self.changed:
            if not call.ended and call in self._waiting:
                self._waiting.remove(call)
            if self._leader is call:
                self._leader = self._waiting[0] if self._waiting else None
                if self._leader is not None:
                    self._leader.wakes.set()

    def _run(self, group: Sequence[_Call[Item, Result]]) -> None:
        try:
            results = self._commit([call.item for call in group])
        except Exception as error:  # noqa: BLE001 - each caller gets it raised
            if len(group) > 1 and not isinstance(error, self._common):
                for call in group:
                    self._run([call])
                return
            for call in group:
                call.failed = error
        else:
            for call, result in zip(group, results, strict=True):
                call.value = (result,)


@dataclass(slots=True, eq=False)
class _Call(Generic[Item, Result]):
    """One item, and its result or error."""

    item: Item
    value: tuple[Result] | None = None
    failed: Exception | None = None
    wakes: threading.Event = field(default_factory=threading.Event)

    @property
    def ended(self) -> bool:
        return self.value is not None or self.failed is not None

    def result(self) -> Result:
        """The result. Raises the error where the item failed."""
        if self.failed is not None:
            raise self.failed
        assert self.value is not None
        return self.value[0]
