"""Writes the files of exports: a run writes a file of its own whole, and then ends its job with the file's name.

What a dead run leaves, and the file of an expired job, ``tidy`` deletes.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from bulksend.failpoints import reach
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.operations.exports import ExportRequest, delete_expired
from ops.export_files import open_writer
from ops.http.jobs import Run

MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "parquet": "application/vnd.apache.parquet",
}
_HASHED_AT_ONCE = 1 << 20


class ExportFiles:
    """The files, in a folder that all ``serve`` processes share."""

    def __init__(self, database: Database, cipher: Cipher, folder: Path) -> None:
        self._database = database
        self._cipher = cipher
        self._folder = folder

    def path(self, name: str) -> Path:
        """Where a file is."""
        return self._folder / name

    def work(self, run: Run) -> None:
        """Write the file of an export and end its job. Raises InvalidInput, JobStopped."""
        request = ExportRequest.from_job(run.job)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in self._folder.glob(f"*{run.job.id}.*"):
            _delete(left)
        path = self.path(f"{run.job.id}.{run.job.owner}.{request.format}")
        try:
            with (
                open_writer(path, request.columns, field="export") as write,
                # The transaction ends before the file does: packing a workbook takes long.
                self._database.read() as tx,
            ):
                rows, run.rows_total = request.rows(tx, self._cipher)
                for row in rows:
                    write(row)
                    reach("export_row")
                    run.count()
            reach("export_written")
            run.count(0)
            run.finish({"file": path.name, "bytes": path.stat().st_size, "sha256": _sha256(path)})
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def tidy(self) -> None:
        """Delete the files that no run of a job has: those of expired jobs and of runs that died."""
        # Before the owners are read: the owner of a file was committed before the file was made.
        found = list(self._folder.iterdir()) if self._folder.is_dir() else []
        owners = delete_expired(self._database, [_names(path)[0] for path in found])
        for path in found:
            id, owner = _names(path)
            if owners.get(id) != owner:
                _delete(path)


def _names(path: Path) -> tuple[str, str]:
    """The job and the run that a file, or a folder beside it, is of."""
    id, _, rest = path.name.lstrip(".").partition(".")
    return id, rest.partition(".")[0]


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASHED_AT_ONCE):
            digest.update(block)
    return digest.hexdigest()
