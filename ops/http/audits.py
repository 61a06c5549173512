"""Does audits of the whole ledger that a person asked for: ten million messages are a minute's work."""

from __future__ import annotations

import time

from bulksend.ledger.database import Database
from bulksend.operations import audit
from ops.http.jobs import JobStopped, Run


class Audits:
    """The audits of this process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def work(self, run: Run) -> None:
        """Do one audit, and keep what it found. Raises JobStopped."""
        began = time.monotonic()
        with self._database.read() as tx:
            report = audit.audit(tx)
        seconds = time.monotonic() - began
        run.count(sum(report.counts.values()))
        kept = self._database.retrying(
            lambda tx: audit.keep(
                tx, report, actor=run.job.actor, seconds=seconds, end=lambda result: run.finish_in(tx, result)
            )
        )
        if not kept:
            raise JobStopped

    def tidy(self) -> None:
        """Expired jobs go with those of the other kinds."""
