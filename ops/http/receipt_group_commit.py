"""Group commit of callbacks: all that come while the group before is committed share one row and one commit.

Where the ledger does not take a group in time it goes to the spool, and from there to the ledger once that is back. A
callback counts as stored when either has it. Where neither does, its sender gets an error and repeats it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue

import structlog

from bulksend.errors import LedgerUnreachable
from bulksend.failpoints import reach
from bulksend.ledger.driver_errors import log_text
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.raw_receipts import Callback, Group, pack
from bulksend.ledger.receipt_spool import ReceiptSpool

log = structlog.get_logger(__name__)

#: A group that has this many or this much is closed also while another one is committed.
MOST, MOST_BYTES = 500, 8 * 1024 * 1024
#: The ledger has this long to take a group, and is tried again this long after it failed.
PATIENCE_S, AWAY_S = 2.0, 1.0
#: Bytes of callbacks in memory, each with an overhead; more are refused, and their senders repeat them.
MOST_WAITING = 64 * 1024 * 1024
_OVERHEAD = 500
#: How often the spool is looked at.
DRAIN_S = 1.0

Store = Callable[[Sequence[Group]], None]


@dataclass(slots=True)
class _Open:
    """A group of callbacks; ``ended`` is set when the ledger or the spool has it, or neither takes it."""

    loop: asyncio.AbstractEventLoop
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    stored: bool = False
    callbacks: list[Callback] = field(default_factory=list)
    size: int = 0


class ReceiptGroupCommit:
    """``add`` belongs to one event loop; one thread commits.

    ``store`` puts groups into the ledger and raises when the ledger does not take them. It may be called again with the
    same groups; without groups it only asks whether the ledger is there.
    """

    def __init__(
        self,
        store: Store,
        spool: ReceiptSpool,
        cipher: Cipher,
        *,
        wall_ms: Callable[[], float] = lambda: time.time() * 1000,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._store = store
        self._spool = spool
        self._cipher = cipher
        self._wall_ms = wall_ms
        self._patience_s = patience_s
        self._open: _Open | None = None
        self._size = 0
        self._committing = 0
        self._queue: SimpleQueue[_Open | None] = SimpleQueue()
        self._ledger = ThreadPoolExecutor(1, "receipts-ledger")
        self._in_ledger: Future[None] | None = None
        self._away_until = 0.0
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._commit_all, name="receipts-commit", daemon=True),
            threading.Thread(target=self._drain_all, name="receipts-spool", daemon=True),
        ]
        self._started = False

    async def add(self, callback: Callback) -> bool:
        """Whether the callback is stored. False: its sender must repeat it."""
        size = len(callback.body) + _OVERHEAD
        if self._size + size > MOST_WAITING:
            return False
        group = self._open
        if group is None:
            loop = asyncio.get_running_loop()
            group = self._open = _Open(loop)
            self._start()
            # After the callbacks that have come already.
            loop.call_soon(self._hand_over_when_free)
        self._size += size
        group.size += size
        group.callbacks.append(callback)
        if len(group.callbacks) >= MOST or group.size >= MOST_BYTES:
            self._hand_over(group)
        await group.ended.wait()
        return group.stored

    def close(self) -> None:
        """Commit what waits and end the threads. What is in the spool stays there."""
        if not self._started:
            self._ledger.shutdown()
            return
        if self._open is not None:
            self._hand_over(self._open)
        self._stop.set()
        self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._ledger.shutdown(wait=False)
        self._spool.close()

    def _start(self) -> None:
        if not self._started:
            self._started = True
            for thread in self._threads:
                thread.start()

    def _hand_over_when_free(self) -> None:
        """Commit the open group, unless another one is being committed."""
        if self._open is not None and not self._committing:
            self._hand_over(self._open)

    def _hand_over(self, group: _Open) -> None:
        if self._open is group:
            self._open = None
            self._committing += 1
            self._queue.put(group)

    def _commit_all(self) -> None:
        while (group := self._queue.get()) is not None:
            try:
                self._commit(pack(group.callbacks, self._cipher, int(self._wall_ms())))
            except Exception as error:  # noqa: BLE001 - the thread goes on, and the senders repeat
                log.error("receipts_refused", callbacks=len(group.callbacks), error=log_text(error))
            else:
                group.stored = True
            group.loop.call_soon_threadsafe(self._finish, group)

    def _finish(self, group: _Open) -> None:
        self._size -= group.size
        self._committing -= 1
        group.ended.set()
        self._hand_over_when_free()

    def _commit(self, group: Group) -> None:
        """Into the ledger, else into the spool. Raises OSError where neither takes it."""
        reach("before_receipts")
        if not self._store_in_time(group):
            self._spool.save(group)
        reach("after_receipts")

    def _store_in_time(self, group: Group) -> bool:
        """Whether the ledger took the group within its time. It may take it later, also when this says no."""
        if time.monotonic() < self._away_until or (
            self._in_ledger is not None and not self._in_ledger.done()
        ):
            return False
        self._in_ledger = self._ledger.submit(self._store, [group])
        try:
            self._in_ledger.result(self._patience_s)
        except TimeoutError:
            log.warning("receipts_spooled", why=f"the ledger took longer than {self._patience_s:g} s")
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the ledger, the spool takes it
            log.warning("receipts_spooled", why=log_text(error))
        else:
            return True
        self._away_until = time.monotonic() + AWAY_S
        return False

    def _drain_all(self) -> None:
        while True:
            try:
                if not self._spool.is_empty:
                    self._store([])
                    groups = self._spool.drain(self._store)
                    log.info("receipts_drained", groups=groups)
            except LedgerUnreachable:
                pass
            except Exception as error:  # noqa: BLE001 - tried again
                log.error("receipts_not_drained", error=log_text(error))
            if self._stop.wait(DRAIN_S):
                return
