"""Posted files are taken in: small ones by a thread of ``serve``, large ones by a process that it starts for them.

A file whose process ended goes on where it stopped, in any other.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import DBAPIError

from bulksend.errors import BulksendError, InvalidInput, Unavailable, code_of
from bulksend.ledger import campaign_control, campaigns, plans, uploads
from bulksend.ledger.driver_errors import log_text
from bulksend.ledger.ids import new_id
from bulksend.ledger.uploads import Upload
from producer.uploads.requests import Uploads, report_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bulksend.ledger.campaigns import Campaign

log = structlog.get_logger(__name__)

#: A file whose intake does not renew its lease for this time is another one's.
LEASE_MS, RENEW_S = 6_000, 1.5
#: Files of other processes are looked for this often.
LOOK_S = 1.0
#: Reading and checking a row computes: a larger file would slow the answers of the process that takes it in.
SMALL_BYTES = 1 << 20
#: As many unexpected errors of its intake end an upload.
MOST_FAILURES = 5
SWEEP_S = 600.0


class _GivenUp(Exception):
    """This intake stops here; the file stays for another one."""


class UploadIntake:
    """Takes in what ``uploads`` puts on record. ``start`` it, and ``stop`` it in order."""

    def __init__(self, of: Uploads, *, large: bool = False, stopping: threading.Event | None = None) -> None:
        """Of the files above SMALL_BYTES if ``large``, else of the others. ``stopping`` stops it as ``stop`` does."""
        self._of = of
        self._large = large
        self._owner = new_id()
        self._stopping = threading.Event() if stopping is None else stopping
        self._changed = threading.Condition()
        self._ended: dict[str, BulksendError | None] = {}
        """The results that callers wait for."""
        self._awaited: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)
        self._swept_at = float("-inf")

    def start(self) -> None:
        """Begin to take files in, on a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End after the chunk that is being stored. What is left goes on at the next start."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def drain(self) -> int:
        """Take in what waits, on this thread, until nothing does or ``stopping`` is set; returns how many files."""
        taken = 0
        while not self._stopping.is_set() and (upload := self._next()) is not None:
            self._take(upload)
            taken += 1
        return taken

    def waits(self) -> bool:
        """Whether a file waits that is on this disk."""
        return next(self._found(), None) is not None

    @contextmanager
    def awaiting(self, id: str) -> Iterator[None]:
        """Results of this file are kept for ``result`` in the block."""
        with self._changed:
            self._awaited.add(id)
        try:
            yield
        finally:
            with self._changed:
                self._awaited.discard(id)
                self._ended.pop(id, None)

    def result(self, id: str, seconds: float) -> BulksendError | None:
        """Wait up to ``seconds`` for the end of an intake of this process; the error that refused it, if one did."""
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: id in self._ended or self._stopping.is_set(), seconds)
            return self._ended.get(id)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.drain()
                self._sweep()
            except Exception as error:  # noqa: BLE001 - the ledger may be away; the file waits
                log.warning("uploads_not_taken_in", error=log_text(error))
            with self._changed:
                if not self._stopping.is_set():
                    self._changed.wait(LOOK_S)

    def _next(self) -> Upload | None:
        """A file that no other intake has; it is this one's now."""
        for upload in self._found():
            if self._of.database.retrying(
                lambda tx, id=upload.id: uploads.claim(tx, id, self._owner, LEASE_MS)  # type: ignore[misc]
            ):
                return upload
        return None

    def _found(self) -> Iterator[Upload]:
        """The files that wait and are on this disk."""
        of = self._of
        over, most = (SMALL_BYTES, None) if self._large else (0, SMALL_BYTES)
        with of.database.read() as tx:
            found = uploads.waiting(tx, over_bytes=over, most_bytes=most)
        return (each for each in found if of.store.path(each.id, each.file).exists())

    def _take(self, upload: Upload) -> None:
        lease = _Lease(self._of, upload.id, self._owner, self._stopping)
        database, owner = self._of.database, self._owner
        try:
            with lease:
                report = self._take_in(upload, lease)
        except _GivenUp:
            database.retrying(lambda tx: uploads.release(tx, upload.id, owner))
        except InvalidInput as error:
            if not lease.lost:
                self._refuse(upload, code_of(type(error)), error)
        except (Unavailable, DBAPIError) as error:
            log.warning("upload_interrupted", upload_id=upload.id, error=log_text(error))
            self._stopping.wait(LOOK_S)
            database.retrying(lambda tx: uploads.release(tx, upload.id, owner))
        except Exception as error:  # noqa: BLE001 - its text may be private
            self._failed(upload, error)
        else:
            database.retrying(
                lambda tx: uploads.finish(tx, upload.id, owner, campaign_id=report[0], report=report[1])
            )
            self._end(upload, None)

    def _take_in(self, upload: Upload, lease: _Lease) -> tuple[str, str]:
        """Store every row; the campaign's id and what to keep of the report."""
        plan = self._of.plan(upload)
        run = replace(self._of.intake, began=lease.begun, between=lease.check)
        report = plan.run(run)
        return report.campaign_id, report_json(report.as_json())

    def _failed(self, upload: Upload, error: Exception) -> None:
        log.error("upload_failed", upload_id=upload.id, error=type(error).__name__)
        if upload.failures + 1 < MOST_FAILURES:
            self._of.database.retrying(lambda tx: uploads.release(tx, upload.id, self._owner, failed=True))
            self._stopping.wait(LOOK_S)
            return
        why = "its intake failed repeatedly for an unexpected reason, which is in the log of `serve`"
        self._refuse(upload, "internal_error", InvalidInput(why))

    def _refuse(self, upload: Upload, code: str, error: BulksendError) -> None:
        refused = self._of.database.retrying(
            lambda tx: uploads.refuse(tx, upload.id, self._owner, code=code, why=str(error))
        )
        if refused and upload.campaign_id == upload.id:
            self._cancel_empty(upload, str(error))
        self._end(upload, error)

    def _cancel_empty(self, upload: Upload, why: str) -> None:
        """End the campaign that was made for this file if no row was taken in: it would stay `intake` for ever."""
        with self._of.database.read() as tx:
            campaign = campaigns.get(tx, upload.id)
        if not campaign.rows_read and campaign.intake_done_at is None:
            campaign_control.cancel(self._of.database, campaign.id, actor=upload.created_by, why=why)

    def _end(self, upload: Upload, error: BulksendError | None) -> None:
        self._of.delete(upload.id)
        with self._changed:
            if upload.id in self._awaited:
                self._ended[upload.id] = error
            self._changed.notify_all()

    def _sweep(self) -> None:
        """Delete files that were never completed, or never put on record."""
        if time.monotonic() - self._swept_at < SWEEP_S:
            return
        self._swept_at = time.monotonic()
        found = self._of.store.abandoned(complete=not self._of.settings.upload_keep)
        if not found:
            return
        with self._of.database.read() as tx:
            needed = uploads.live_ids(tx, found) | plans.live_files(tx, found)
        for id in set(found) - needed:
            self._of.store.remove(id)
            log.info("upload_deleted", upload_id=id, why="it was never put on record")


class _Lease:
    """Keeps one file for this intake, on a thread of its own: a chunk or a look at a large file takes its time."""

    def __init__(self, of: Uploads, id: str, owner: str, stopping: threading.Event) -> None:
        self._of = of
        self._id = id
        self._owner = owner
        self._stopping = stopping
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="upload lease", daemon=True)
        self.lost = False

    def __enter__(self) -> _Lease:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def check(self) -> None:
        """Raises _GivenUp when the file is another intake's, or the process stops."""
        if self.lost or self._stopping.is_set():
            raise _GivenUp

    def begun(self, campaign: Campaign) -> None:
        """The campaign exists; its rows come next."""
        self._of.database.retrying(lambda tx: uploads.begin(tx, self._id, self._owner, campaign.id))

    def _keep(self) -> None:
        while not self._done.wait(RENEW_S):
            try:
                kept = self._of.database.retrying(
                    lambda tx: uploads.renew(tx, self._id, self._owner, LEASE_MS), patience_s=2.0
                )
            except (Unavailable, DBAPIError) as error:
                log.warning("upload_lease_not_renewed", upload_id=self._id, error=log_text(error))
                continue
            if not kept:
                self.lost = True
                return
