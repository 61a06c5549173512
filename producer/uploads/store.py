"""The folder of posted files. A file is written as it arrives, and is complete once its name has no ``.part``."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bulksend.errors import DiskFull, InvalidValue, TooLarge, Unfit
from bulksend.failpoints import reach
from bulksend.ledger.ids import is_id

#: Ends the name of a folder whose file has not arrived completely.
_PART = ".part"
#: A folder without a row in the ledger is deleted when it has not changed for this long.
ABANDONED_S = 600.0
#: What a person chose so far for the campaign of a file; such a file is kept for longer.
DRAFT, DRAFT_S = ".draft.json", 86_400.0
_LIMIT = (
    "the limit BULKSEND_UPLOAD_MAX_MB; raise it, or post the rows as several files into one campaign (`into`)"
)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
#: Characters of a file's name that are kept.
_UNSAFE = re.compile(r"[^\w .()+,=-]", re.UNICODE)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A complete file on the disk."""

    id: str
    path: Path
    sha256: str
    bytes: int


class UploadStore:
    """The folder, mode 0700; its files have mode 0600.

    ``max_bytes`` is the limit of one file, and ``limit`` explains it.
    """

    def __init__(self, folder: Path, *, max_bytes: int, limit: str = _LIMIT) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._limit = limit

    def begin(self, id: str, name: str) -> Incoming:
        """Open a file that arrives. Raises DiskFull, and Unfit when the folder cannot be written."""
        folder = self.folder / f"{id}{_PART}"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            folder.mkdir(mode=0o700)
            return Incoming(self, id, folder, safe_name(name))
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise self.problem(error) from None

    def path(self, id: str, name: str) -> Path:
        """Where a complete file is."""
        return self.folder / id / name

    def link(self, id: str, name: str, to: str) -> StoredFile:
        """The same file once more, under another id. Raises DiskFull, and Unfit when the folder cannot be written."""
        source, folder = self.path(id, name), self.folder / f"{to}{_PART}"
        try:
            folder.mkdir(mode=0o700)
            os.link(source, folder / name)
            folder.rename(folder.with_suffix(""))
            _sync_folder(self.folder)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise self.problem(error) from None
        made = self.path(to, name)
        with made.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return StoredFile(to, made, sha256, made.stat().st_size)

    def remove(self, id: str) -> None:
        """Delete a file, complete or not. It may be gone already."""
        for folder in (self.folder / id, self.folder / f"{id}{_PART}"):
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def deleted_on_error(self, id: str, *errors: type[Exception]) -> Iterator[None]:
        """Delete the file when one of these errors ends the block."""
        try:
            yield
        except errors:
            self.remove(id)
            raise

    def abandoned(self, *, complete: bool, clock: Callable[[], float] = time.time) -> list[str]:
        """The ids of files that have not changed for ABANDONED_S, or DRAFT_S where a person makes a campaign of it.

        Those that are ``complete`` only if wanted.
        """
        now = clock()
        found = []
        for folder in self.folder.glob("*" if complete else f"*{_PART}"):
            if not is_id(folder.name.removesuffix(_PART)):
                continue
            try:
                newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
            except (FileNotFoundError, NotADirectoryError):
                continue
            if newest < now - (DRAFT_S if (folder / DRAFT).exists() else ABANDONED_S):
                found.append(folder.name.removesuffix(_PART))
        return found

    def problem(self, error: OSError) -> DiskFull | Unfit:
        """An error of the disk as one of ours."""
        if error.errno in _FULL:
            return DiskFull(
                "the disk of the upload folder (BULKSEND_UPLOAD_DIR) is full; nothing was kept. Free some space "
                "or choose a folder on another disk, and post the file again"
            )
        return Unfit(
            f"the upload folder (BULKSEND_UPLOAD_DIR) cannot be used: {error.strerror or type(error).__name__}; choose "
            "one that this process may write"
        )

    def too_large(self) -> TooLarge:
        """The error for a file above the limit."""
        return TooLarge(f"the file is larger than {self.max_bytes // 2**20:,} MB, {self._limit}")


class Incoming:
    """A file that arrives. For one thread at a time; end it by ``finish`` or ``discard``."""

    def __init__(self, store: UploadStore, id: str, folder: Path, name: str) -> None:
        self.id = id
        self._store = store
        self._folder = folder
        self._name = name
        self._digest = hashlib.sha256()
        self._bytes = 0
        # Unbuffered: what is written comes in parts of a megabyte.
        opened = os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        self._file = os.fdopen(opened, "wb", buffering=0)

    def write(self, data: bytes) -> None:
        """Append. Raises TooLarge at the limit, DiskFull."""
        self._bytes += len(data)
        if self._bytes > self._store.max_bytes:
            raise self._store.too_large()
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
            reach("upload_written")
        except OSError as error:
            raise self._store.problem(error) from None
        self._digest.update(data)

    def finish(self) -> StoredFile:
        """The file is complete: it is on the disk after this. Raises DiskFull, and InvalidValue for an empty one."""
        if not self._bytes:
            raise InvalidValue("file", self._name[:40], "is empty")
        try:
            os.fsync(self._file.fileno())
            self._file.close()
            _sync_folder(self._folder)
            complete = self._folder.with_suffix("")
            self._folder.rename(complete)
            _sync_folder(complete.parent)
        except OSError as error:
            raise self._store.problem(error) from None
        reach("upload_stored")
        return StoredFile(self.id, complete / self._name, self._digest.hexdigest(), self._bytes)

    def discard(self) -> None:
        """Leave nothing behind. Does nothing after ``finish``."""
        self._file.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def safe_name(name: str) -> str:
    """The name of a posted file without folders and unusual characters: ``people.csv``."""
    bare = _UNSAFE.sub("_", name.replace("\\", "/").rpartition("/")[2]).strip(" .")
    stem, dot, suffix = bare.rpartition(".")
    # 60 characters of 4 bytes fit into a file system's 255.
    return f"{stem[:50]}{dot}{suffix[:8]}" if stem else bare[:58] or "file"


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
