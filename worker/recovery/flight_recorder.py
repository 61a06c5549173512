"""The flight recorder: a small file that says what this process is doing, for its neighbours to read when it is dead.

A process that gets SIGKILL cannot write anything. So each worker keeps a file, mapped into memory and locked while the
process lives, with its lease, the message that it renders and the attempts whose POST has begun. Writing costs no
system call. When another worker can take the lock, the kernel says that the owner is dead, and the file is evidence:
an attempt that was opened and had not begun was not sent; the message that was being rendered may be what kills.

Only a file of this boot of this machine is evidence: after a power cut the pages may never have reached the disk, and
the locks of another machine are not visible here. The file holds ids only: no number, no content.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

_MAGIC = b"bulksend flight 1\n"
_ID = 36
_BOOT, _LEASE, _RENDERING, _FULL, _BEGUN = 32, 80, 128, 176, 192
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: When a file that is no evidence here is deleted.
_STALE_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Flight:
    """What a dead worker was doing. ``begun`` None: more POSTs were under way than its file has room for."""

    lease: str
    rendering: str | None
    begun: frozenset[str] | None


class FlightRecorder:
    """This process's own file. Where none can be made it records nothing and logs that once."""

    def __init__(self, folder: Path, *, most: int, boot: str | None = None) -> None:
        """``most`` bounds the POSTs that are on record at a time."""
        self._folder = folder
        self._boot = boot if boot is not None else boot_id()
        self._most = most
        self._path: Path | None = None
        self._file = -1
        self._map: mmap.mmap | None = None
        self._free = list(range(most))
        self._slots: dict[str, int] = {}

    def open(self) -> None:
        """Create the file and lock it."""
        if self._boot is None:
            log.info("no_flight_recorder", why="this system has no boot id")
            return
        try:
            self._file, self._path = _create_locked(self._folder)
            os.ftruncate(self._file, _BEGUN + self._most * _ID)
            self._map = mmap.mmap(self._file, _BEGUN + self._most * _ID)
        except OSError as error:
            log.warning("no_flight_recorder", why=error.strerror or type(error).__name__)
            self._close_file()
            return
        self._map[_BOOT : _BOOT + _ID] = self._boot.encode()
        # Last: a file without the magic is not complete.
        self._map[: len(_MAGIC)] = _MAGIC

    def hold_lease(self, lease: str) -> None:
        """Record the lease taken last. POSTs begun under an older one stay on record."""
        self._write(_LEASE, lease)

    def begin_render(self, message: str) -> None:
        """Record that this message is being rendered."""
        self._write(_RENDERING, message)

    def end_render(self) -> None:
        """Record that no message is being rendered."""
        if self._map is not None:
            self._map[_RENDERING : _RENDERING + _ID] = bytes(_ID)

    def begin_post(self, attempt: str) -> None:
        """Record that this attempt's POST begins; call it before the first byte."""
        if self._map is None:
            return
        if not self._free:
            self._map[_FULL] = 1
            return
        slot = self._slots[attempt] = self._free.pop()
        self._write(_BEGUN + slot * _ID, attempt)

    def end_post(self, attempt: str) -> None:
        """Take an attempt off the record: the ledger has its result."""
        slot = self._slots.pop(attempt, None)
        if slot is not None and self._map is not None:
            at = _BEGUN + slot * _ID
            self._map[at : at + _ID] = bytes(_ID)
            self._free.append(slot)

    def close(self) -> None:
        """Delete the file: a process that stops cleanly has nothing to tell."""
        if self._path is not None:
            discard(self._path)
        self._close_file()

    def dead(self) -> Iterator[tuple[Flight, Path]]:
        """The flights of this machine's dead workers. A file is locked until the next one is asked for."""
        for path in sorted(self._folder.glob("*.flight")):
            if path != self._path:
                yield from self._examine(path)

    def _examine(self, path: Path) -> Iterator[tuple[Flight, Path]]:
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            data = os.pread(file, 1 << 24, 0)
            if not data.startswith(_MAGIC) or _read_id(data, _BOOT) != self._boot:
                # Incomplete, or of another boot or machine: that worker's lease lapses by itself.
                if time.time() - os.fstat(file).st_mtime > _STALE_S:
                    discard(path)
                return
            yield read_flight(data), path
        except BlockingIOError:
            return  # its owner lives, or another worker reads it now
        except OSError as error:
            log.warning("flight_not_read", error=type(error).__name__)
        finally:
            os.close(file)

    def _write(self, at: int, id: str) -> None:
        if self._map is not None:
            self._map[at : at + _ID] = id.encode()

    def _close_file(self) -> None:
        if self._map is not None:
            self._map.close()
        if self._file >= 0:
            os.close(self._file)
        self._map, self._file, self._path = None, -1, None


def discard(path: Path) -> None:
    """Delete a flight's file."""
    with contextlib.suppress(OSError):
        path.unlink()


def read_flight(data: bytes) -> Flight:
    """The flight in a file's content."""
    begun = [_read_id(data, at) for at in range(_BEGUN, len(data) - _ID + 1, _ID)]
    return Flight(
        _read_id(data, _LEASE),
        _read_id(data, _RENDERING) or None,
        None if data[_FULL] else frozenset(filter(None, begun)),
    )


def boot_id() -> str | None:
    """The kernel's id of this boot; None where it has none."""
    try:
        text = _BOOT_ID.read_text().strip()
    except OSError:
        return None
    return text if len(text) == _ID else None


def _create_locked(folder: Path) -> tuple[int, Path]:
    """A new file, locked. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        path = folder / f"worker-{os.getpid()}-{os.urandom(6).hex()}.flight"
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():
                return file, path
        except BlockingIOError:
            pass  # another worker examines the file that was just created
        os.close(file)


def _read_id(data: bytes, at: int) -> str:
    """The id at an offset; empty when there is none, or when the process died while it wrote it."""
    try:
        text = data[at : at + _ID].decode("ascii")
    except UnicodeDecodeError:
        return ""
    return text if len(text) == _ID and "\0" not in text else ""
