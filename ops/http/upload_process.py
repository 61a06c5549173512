"""Has large posted files taken in by a process of their own, ``bulksend intake``.

Reading and checking millions of rows computes: on a thread of ``serve`` it would hold up the answers to other requests.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable

import structlog

from bulksend.errors import TooManyRequests, Unavailable
from bulksend.ledger.driver_errors import log_text
from ops.local.process import ChildProcess, RestartPauses
from producer.uploads import StoredFile

log = structlog.get_logger(__name__)

#: How often the ledger is asked for files that another process left.
LOOK_S = 1.0
#: A stop waits this long for the chunk that is being stored. The file goes on at the next start all the same.
STOP_S = 10.0
_STDERR = 2
#: Each holds a thread and a process while it reads its file.
MOST_FORECASTS = 2


def start_intake(*options: str) -> ChildProcess:
    """The command, with the settings, the log and the folder of this process. Raises OSError."""
    return ChildProcess((sys.executable, "-m", "ops.cli.main", "intake", *options), output=_STDERR)


class LargeUploads:
    """Starts the process when a file waits. It leaves when none does, and ends with this one."""

    def __init__(
        self,
        waits: Callable[[], bool],
        start_child: Callable[[], ChildProcess] = start_intake,
        stop_s: float = STOP_S,
    ) -> None:
        """``waits`` tells whether a file does."""
        self._waits = waits
        self._start_child = start_child
        self._stop_s = stop_s
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._child: ChildProcess | None = None
        self._pauses = RestartPauses()
        self._forecasts = threading.BoundedSemaphore(MOST_FORECASTS)
        self._thread = threading.Thread(target=self._run, name="large uploads", daemon=True)

    def start(self) -> None:
        """Begin to look for files."""
        self._thread.start()

    def wake(self) -> None:
        """Look at once."""
        self._wake.set()

    def find_out(self, file: StoredFile) -> None:
        """Have a process of its own answer the question beside a file, however long it takes.

        Raises TooManyRequests, and Unavailable when the process died.
        """
        if not self._forecasts.acquire(blocking=False):
            raise TooManyRequests(
                f"{MOST_FORECASTS} dry runs or plans of large files are under way; repeat it when one has ended"
            )
        try:
            status = start_intake("--forecast", file.id).wait()
        finally:
            self._forecasts.release()
        if status:
            raise Unavailable(f"the process that read the file ended with status {status}; its log says why")

    def ask_to_stop(self) -> None:
        """Have the process end after the chunk that it stores, without waiting."""
        with self._lock:
            self._stopping.set()
            if self._child is not None:
                self._child.ask_to_stop()
        self._wake.set()

    def stop(self) -> None:
        """End the process in order. What is left of a file goes on at the next start."""
        self.ask_to_stop()
        if not self._thread.is_alive():
            return
        self._thread.join(self._stop_s)
        with self._lock:
            if self._child is not None:
                self._child.ask_to_stop(signal.SIGKILL)
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                if self._waits():
                    self._stopping.wait(self._one_child())
                    continue
            except Exception as error:  # noqa: BLE001 - the ledger may be away; the file waits
                log.warning("uploads_not_taken_in", error=log_text(error))
            self._wake.wait(LOOK_S)

    def _one_child(self) -> float:
        """Have a process take in what waits; returns the wait in seconds until the next may start."""
        began = time.monotonic()
        with self._lock:
            if self._stopping.is_set():
                return 0.0
            child = self._child = self._start_child()
        log.info("intake_started", pid=child.pid)
        status = child.wait()
        with self._lock:
            self._child = None
        if self._stopping.is_set():
            return 0.0
        if status == 0:
            self._pauses = RestartPauses()
            return 0.0
        pause = self._pauses.after(time.monotonic() - began)
        log.warning("intake_ended", status=status, again_in_s=pause)
        return pause
