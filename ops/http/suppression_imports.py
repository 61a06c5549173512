"""Does imports of suppressions: the posted file is read and imported all or nothing, together with the job's end."""

from __future__ import annotations

from sqlalchemy import Connection

from bulksend.errors import InvalidInput, WrongState
from bulksend.ledger.database import Database
from bulksend.ledger.ids import new_id
from bulksend.messaging.argument_naming import as_json_field
from bulksend.operations.suppression_imports import result_of, without_job
from bulksend.operations.suppressions import ImportReport
from ops.http.jobs import JobStopped, Run
from producer.suppression_files import SuppressionFile
from producer.uploads import StoredFile, UploadStore


class SuppressionImports:
    """The imports, and the files that they are made of."""

    def __init__(self, database: Database, store: UploadStore) -> None:
        self._database = database
        self.store = store

    def work(self, run: Run) -> None:
        """Do one import. Raises InvalidInput, JobStopped."""
        given = run.job.arguments
        file = SuppressionFile(
            path=self.store.path(run.job.id, given["file"]),
            naming=as_json_field,
            columns=[f"{name}={column}" for name, column in given["map"].items()],
            encoding=given["encoding"],
            sheet=given["sheet"],
            default_region=given["region"],
        )

        def end(tx: Connection, report: ImportReport, notes: list[str]) -> None:
            run.rows_total = report.rows
            if not run.finish_in(tx, result_of(report, notes)):
                raise JobStopped

        try:
            file.take_in(
                self._database,
                scope=given["scope"],
                reason=given["reason"],
                actor=run.job.actor,
                source=given["source"],
                dry_run=given["dry_run"],
                on_row=run.count,
                also=end,
            )
        except InvalidInput:
            self.store.remove(run.job.id)
            raise
        # What was only tried may be imported after it; `tidy` deletes it soon.
        if not (given["dry_run"] and given.get("keep")):
            self.store.remove(run.job.id)

    def again(self, id: str, name: str) -> StoredFile:
        """The file of a dry run, for the import after it. Raises WrongState where it is gone, DiskFull, Unfit."""
        if not self.store.path(id, name).exists():
            raise WrongState(
                "the file is kept for some minutes after a dry run, and is gone; choose it again"
            )
        return self.store.link(id, name, new_id())

    def tidy(self) -> None:
        """Delete the files that no job needs."""
        for id in without_job(self._database, self.store.abandoned(complete=True)):
            self.store.remove(id)
