"""Groups of callbacks in files while the ledger is away. They are on the disk before the vendor gets its answer.

A file has one writer, which holds a lock on it, so that another process can tell the file of a dead one. A record is
its length, a checksum, a line of JSON and the sealed data; a record that a crash cut off was never answered.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from bulksend.failpoints import reach
from bulksend.ledger.ids import new_id
from bulksend.ledger.raw_receipts import Group

_ENDING = ".receipts"
#: Callbacks go into the ledger in transactions of this many groups.
_AT_ONCE = 20


class ReceiptSpool:
    """A folder of files. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._open: tuple[Path, int] | None = None

    def save(self, group: Group) -> None:
        """Append a group and wait until the disk has it. Raises OSError."""
        record = _record(group)
        with self._lock:
            _, file = self._open or self._begin()
            at = os.lseek(file, 0, os.SEEK_END)
            try:
                reach("spooling")
                _write_all(file, record)
                os.fsync(file)
            except OSError:
                # Whatever was written of it must not stand before the next record.
                with suppress(OSError):
                    os.ftruncate(file, at)
                self._close()
                raise

    def drain(self, store: Callable[[Sequence[Group]], None]) -> int:
        """Hand the groups of all files without a living writer, the oldest first, to ``store``, then delete the files.

        Returns how many. What ``store`` raises ends it; the same groups are handed in again then. Raises OSError.
        """
        with self._lock:
            self._close()
        drained = 0
        for path in sorted(self._folder.glob(f"*{_ENDING}")):
            drained += self._drain_file(path, store)
        return drained

    @property
    def is_empty(self) -> bool:
        """Whether there is no file."""
        return next(self._folder.glob(f"*{_ENDING}"), None) is None

    def close(self) -> None:
        """Give up the file that is being written; it stays on the disk."""
        with self._lock:
            self._close()

    def _begin(self) -> tuple[Path, int]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{new_id()}{_ENDING}"
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._open = path, file
        return self._open

    def _close(self) -> None:
        if self._open is not None:
            os.close(self._open[1])
            self._open = None

    def _drain_file(self, path: Path, store: Callable[[Sequence[Group]], None]) -> int:
        try:
            file = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return 0
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return 0
        drained = 0
        with os.fdopen(file, "rb") as opened:
            waiting: list[Group] = []
            for group in _groups(opened.read):
                waiting.append(group)
                if len(waiting) == _AT_ONCE:
                    store(waiting)
                    drained += len(waiting)
                    waiting = []
            if waiting:
                store(waiting)
                drained += len(waiting)
            reach("spool_drained")
            with suppress(FileNotFoundError):
                path.unlink()
        return drained


def groups_of(path: Path) -> Iterator[Group]:
    """The whole groups of a file. Raises OSError."""
    with path.open("rb") as opened:
        yield from _groups(opened.read)


def oldest_file_at(folder: Path) -> float | None:
    """When the oldest file of a spool was written to (seconds since the epoch); None where there is none."""
    times = []
    for path in folder.glob(f"*{_ENDING}"):
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return min(times, default=None)


def _record(group: Group) -> bytes:
    head = json.dumps([group.id, group.received_at, group.bodies]).encode() + b"\n"
    body = head + group.data
    return len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + body


def _groups(read: Callable[[int], bytes]) -> Iterator[Group]:
    """The whole records, up to the first that is cut off."""
    while len(begun := read(8)) == 8:
        length, checksum = int.from_bytes(begun[:4], "big"), int.from_bytes(begun[4:], "big")
        body = read(length)
        if len(body) < length or zlib.crc32(body) != checksum:
            return
        head, _, data = body.partition(b"\n")
        id, received_at, bodies = json.loads(head)
        yield Group(id, received_at, bodies, data)


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
