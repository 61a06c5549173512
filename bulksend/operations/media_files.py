"""The files of messages that are kept, so that they can be uploaded again before the vendor deletes them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from bulksend.errors import Unfit
from bulksend.ledger.ids import is_id
from bulksend.settings import Settings

#: The folder in that of posted files.
FOLDER = "media"
#: A file that no upload of the ledger needs is deleted when it is older: its upload may be under way.
ABANDONED_S = 3600.0


class MediaFiles:
    """A folder of mode 0700 with a file of mode 0600 for each upload, by our id. All processes share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def from_settings(cls, of: Settings) -> MediaFiles:
        """In the folder of posted files."""
        return cls(Path(of.upload_dir) / FOLDER)

    def keep(self, id: str, content: bytes) -> None:
        """Keep a content, whole or not at all. Raises Unfit when the folder cannot be written."""
        part = self._folder / f"{id}.{os.getpid()}.part"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.chmod(0o700)
            part.unlink(missing_ok=True)
            with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._folder / id)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise Unfit(
                f"the upload folder (BULKSEND_UPLOAD_DIR) cannot be used: {error.strerror or type(error).__name__}; "
                "choose one that this process may write"
            ) from None

    def read(self, id: str) -> bytes | None:
        """A content; None where it is not here."""
        try:
            return (self._folder / id).read_bytes()
        except OSError:
            return None

    def has(self, id: str) -> bool:
        """Whether a content is here."""
        return (self._folder / id).is_file()

    def remove(self, id: str) -> None:
        """Let go of a content, which may be gone already."""
        (self._folder / id).unlink(missing_ok=True)

    def old(self, clock: Callable[[], float] = time.time) -> list[str]:
        """The ids of contents that are older than ABANDONED_S. What a kill left half-written is deleted."""
        before = clock() - ABANDONED_S
        found = []
        for path in self._folder.glob("*"):
            try:
                is_old = path.stat().st_mtime < before
            except FileNotFoundError:
                continue
            if is_old and is_id(path.name):
                found.append(path.name)
            elif is_old and path.suffix == ".part":
                path.unlink(missing_ok=True)
        return found
