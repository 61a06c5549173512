"""Campaigns that are being made of a posted file: what was chosen so far, kept beside the file for a day."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from bulksend.errors import NotFound
from bulksend.ledger.ids import is_id, new_id
from producer.uploads.store import DRAFT, StoredFile, UploadStore

_WORK = ".work"


@dataclass(frozen=True, slots=True)
class Draft:
    """A posted file, with the fields of its campaign as they were typed.

    ``problem``: why it could not be planned or sent, as JSON; None where nothing was wrong.
    """

    id: str
    file: str
    sha256: str
    bytes: int
    by: str
    fields: Mapping[str, Any]
    made_at_ms: int
    problem: Mapping[str, Any] | None = None


class Drafts:
    """The drafts in the folder of posted files."""

    def __init__(self, store: UploadStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def begin(self, file: StoredFile, fields: Mapping[str, Any], *, by: str) -> Draft:
        """A draft of a file that has just come."""
        made = int(self._clock() * 1000)
        return self.keep(Draft(file.id, file.path.name, file.sha256, file.bytes, by, fields, made))

    def keep(self, draft: Draft) -> Draft:
        """Keep a draft in place of what was kept of it. Raises NotFound where its file is gone."""
        folder = self._store.folder / draft.id
        part = folder / f"{DRAFT}.{new_id()}"
        try:
            opened = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(opened, "w") as file:
                json.dump(asdict(draft), file)
            part.replace(folder / DRAFT)
        except FileNotFoundError:
            raise _gone() from None
        return draft

    def get(self, id: str) -> Draft:
        """The draft of an id. Raises NotFound."""
        found = self.find(id)
        if found is None:
            raise _gone()
        return found

    def find(self, id: str) -> Draft | None:
        """The draft of an id; None where there is none."""
        if not is_id(id):
            return None
        try:
            kept = json.loads((self._store.folder / id / DRAFT).read_text())
        except OSError:
            return None
        return Draft(**kept) if self._store.path(id, kept["file"]).exists() else None

    def file(self, draft: Draft) -> StoredFile:
        """Its file."""
        return StoredFile(draft.id, self._store.path(draft.id, draft.file), draft.sha256, draft.bytes)

    def again(self, draft: Draft) -> Draft:
        """The same once more, with an id of its own: of the first a plan was made. Raises DiskFull, Unfit, NotFound."""
        if not self._store.path(draft.id, draft.file).exists():
            raise _gone()
        file = self._store.link(draft.id, draft.file, new_id())
        return self.keep(replace(draft, id=file.id, problem=None, made_at_ms=int(self._clock() * 1000)))

    @contextmanager
    def working(self, draft: Draft) -> Iterator[bool]:
        """A block in which the draft is being planned or sent; yields False where it is already.

        A lock of the file system says so: it ends with its process, however that ends. Raises NotFound.
        """
        try:
            opened = os.open(self._store.folder / draft.id / _WORK, os.O_CREAT | os.O_RDWR, 0o600)
        except FileNotFoundError:
            raise _gone() from None
        try:
            yield _locks(opened)
        finally:
            os.close(opened)

    def is_working(self, id: str) -> bool:
        """Whether a process plans or sends it now."""
        if not is_id(id):
            return False
        try:
            opened = os.open(self._store.folder / id / _WORK, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            return not _locks(opened)
        finally:
            os.close(opened)


def _locks(opened: int) -> bool:
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _gone() -> NotFound:
    return NotFound("the file of this campaign is not here any more; choose it again")
