"""The flight recorder: what this process was doing, in a file that outlives it, so that others need not guess.

A kill -9 leaves no time for words. So each worker keeps a small file, mapped into memory and locked as long as the
process lives, with its lease, the message that is being rendered, and the attempts whose POST has begun. Whoever can
have the lock knows from the kernel that the owner is dead, whatever killed it, and reads: what was opened and not begun
was surely not sent; what was being rendered may be what kills. A line costs no system call.

Only files of this boot of this machine are evidence: after a power cut the pages may never have reached the disk, and
another machine's locks are not seen here. Ids only: no number, no content.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

_MAGIC = b"bulksend flight 1\n"
_ID = 36
_BOOT, _LEASE, _RENDERING, _FULL, _BEGUN = 32, 80, 128, 176, 192
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: What another boot left behind is of no use to anybody.
_STALE_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Flight:
    """What a dead worker was doing. ``begun`` None: more was under way than the recorder holds."""

    lease: str
    rendering: str | None
    begun: frozenset[str] | None


class FlightRecorder:
    """This process's own file. Without one (a folder that cannot be written) it does nothing, and says so once."""

    def __init__(self, folder: Path, *, most: int, boot: str | None = None) -> None:
        self._folder = folder
        self._boot = boot if boot is not None else boot_id()
        self._most = most
        self._path: Path | None = None
        self._file = -1
        self._map: mmap.mmap | None = None
        self._free = list(range(most))
        self._slots: dict[str, int] = {}

    def open(self) -> None:
        """Make the file and lock it."""
        if self._boot is None:
            log.info("no_flight_recorder", why="this system does not name its boots")
            return
        try:
            self._file, self._path = _made(self._folder)
            os.ftruncate(self._file, _BEGUN + self._most * _ID)
            self._map = mmap.mmap(self._file, _BEGUN + self._most * _ID)
        except OSError as error:
            log.warning("no_flight_recorder", why=error.strerror or type(error).__name__)
            self._shut()
            return
        self._map[_BOOT : _BOOT + _ID] = self._boot.encode()
        # Last: a file without it is not one yet.
        self._map[: len(_MAGIC)] = _MAGIC

    def lease(self, lease: str) -> None:
        """The lease that this process holds from now on. What began under an older one is not forgotten."""
        self._put(_LEASE, lease)

    def rendering(self, message: str) -> None:
        """Whatever kills us next, it happened while we rendered this message."""
        self._put(_RENDERING, message)

    def rendered(self) -> None:
        """Or rather not."""
        if self._map is not None:
            self._map[_RENDERING : _RENDERING + _ID] = bytes(_ID)

    def begin(self, attempt: str) -> None:
        """This attempt's POST begins now. Call it before the first byte."""
        if self._map is None:
            return
        if not self._free:
            self._map[_FULL] = 1
            return
        slot = self._slots[attempt] = self._free.pop()
        self._put(_BEGUN + slot * _ID, attempt)

    def settled(self, attempt: str) -> None:
        """The ledger knows this attempt's result."""
        slot = self._slots.pop(attempt, None)
        if slot is not None and self._map is not None:
            at = _BEGUN + slot * _ID
            self._map[at : at + _ID] = bytes(_ID)
            self._free.append(slot)

    def close(self) -> None:
        """A clean end leaves nothing to be read."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
        self._shut()

    def dead(self) -> Iterator[tuple[Flight, Path]]:
        """The flights of this machine's dead, each locked while the caller deals with it; see ``reap``."""
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
            if not data.startswith(_MAGIC) or _text(data, _BOOT) != self._boot:
                # Half made, or of another boot or machine: its lease lapses by itself.
                if time.time() - os.fstat(file).st_mtime > _STALE_S:
                    reap(path)
                return
            yield read_flight(data), path
        except BlockingIOError:
            return  # it lives, or another is dealing with it
        except OSError as error:
            log.warning("flight_not_read", error=type(error).__name__)
        finally:
            os.close(file)

    def _put(self, at: int, id: str) -> None:
        if self._map is not None:
            self._map[at : at + _ID] = id.encode()

    def _shut(self) -> None:
        if self._map is not None:
            self._map.close()
        if self._file >= 0:
            os.close(self._file)
        self._map, self._file, self._path = None, -1, None


def reap(path: Path) -> None:
    """The ledger knows what this file has to tell."""
    with contextlib.suppress(OSError):
        path.unlink()


def read_flight(data: bytes) -> Flight:
    """What is in a file."""
    begun = [_text(data, at) for at in range(_BEGUN, len(data) - _ID + 1, _ID)]
    full = bool(data[_FULL])
    return Flight(
        _text(data, _LEASE), _text(data, _RENDERING) or None, None if full else frozenset(filter(None, begun))
    )


def boot_id() -> str | None:
    """What the kernel calls this boot; None where it has no such name."""
    try:
        text = _BOOT_ID.read_text().strip()
    except OSError:
        return None
    return text if len(text) == _ID else None


def _made(folder: Path) -> tuple[int, Path]:
    """A new locked file. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        path = folder / f"worker-{os.getpid()}-{os.urandom(6).hex()}.flight"
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():
                return file, path
        except BlockingIOError:
            pass  # somebody took the empty file for a dead one's
        os.close(file)


def _text(data: Sequence[int] | bytes, at: int) -> str:
    part = bytes(data[at : at + _ID])
    try:
        text = part.decode("ascii")
    except UnicodeDecodeError:
        return ""
    # Cut off in mid-write: not an id, and what it was to announce has not happened.
    return text if len(text) == _ID and "\0" not in text else ""
