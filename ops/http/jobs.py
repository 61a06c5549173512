"""Runs the background jobs of the ledger, a thread for each kind, in every ``serve``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection

from bulksend.errors import InvalidInput
from bulksend.ledger import jobs
from bulksend.ledger.database import Database
from bulksend.ledger.driver_errors import log_text
from bulksend.ledger.jobs import Job

log = structlog.get_logger(__name__)

#: How often a thread looks for a job that another process queued, or that a dead one left.
LOOK_S = 2.0
#: How often the progress of a running job is noted.
NOTE_S = 1.0
#: How often what expired is deleted.
TIDY_S = 300.0
#: A stop waits this long for a job to give up.
STOP_S = 10.0


class JobStopped(Exception):
    """This process stops, or the job's lease is lost: the run ends, and another one begins the job again."""


class Run:
    """One run of a job. Its lease is renewed, and its progress noted, by a thread of its own."""

    def __init__(self, database: Database, job: Job, lease_s: float, stopping: threading.Event) -> None:
        self.job = job
        self.rows_total: int | None = None
        self._rows = 0
        self._database = database
        self._lease_s = lease_s
        self._stopping = stopping
        self._lost = threading.Event()
        self._over = threading.Event()

    def count(self, rows: int = 1) -> None:
        """Note that this number of further rows are done. Raises JobStopped where the run must end."""
        self._rows += rows
        if self._lost.is_set() or self._stopping.is_set():
            raise JobStopped

    def finish(self, result: Mapping[str, Any]) -> None:
        """End the job well. Raises JobStopped where another run has it by now."""
        if not self._database.retrying(lambda tx: self.finish_in(tx, result)):
            raise JobStopped

    def finish_in(self, tx: Connection, result: Mapping[str, Any]) -> bool:
        """End the job well in the transaction of its last change; returns whether the run still had it."""
        return jobs.finish(tx, self.job, result, self._rows, self.rows_total)

    def keep(self) -> None:
        """Renew the lease until ``let_go``."""
        every_s = min(NOTE_S, self._lease_s / 3)
        while not self._over.wait(every_s):
            try:
                with self._database.write() as tx:
                    kept = jobs.renew(tx, self.job, int(self._lease_s * 1000), self._rows, self.rows_total)
            except Exception as error:  # noqa: BLE001 - the lease lasts a while without the ledger
                log.warning("job_lease_not_renewed", job=self.job.id, error=log_text(error))
                continue
            if not kept:
                self._lost.set()
                return

    def let_go(self) -> None:
        """Stop renewing."""
        self._over.set()


@dataclass(frozen=True, slots=True)
class Work:
    """What to do for a kind of job."""

    do: Callable[[Run], None]
    """Does a job and ends it with ``Run.finish``. It may be begun again after any instruction."""
    tidy: Callable[[], None]
    """Deletes what expired. Called now and then."""


class JobRunner:
    """The threads. ``works`` has what to do for each kind."""

    def __init__(self, database: Database, works: Mapping[str, Work], *, lease_s: float) -> None:
        self._database = database
        self._works = works
        self._lease_s = lease_s
        self._stopping = threading.Event()
        self._wake = {kind: threading.Event() for kind in works}
        self._threads = [
            threading.Thread(target=self._loop, args=(kind,), name=f"jobs {kind}", daemon=True)
            for kind in works
        ]

    def start(self) -> None:
        """Begin to look for jobs."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Give running jobs back, and end the threads."""
        self._stopping.set()
        for event in self._wake.values():
            event.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(STOP_S)

    def wake(self, kind: str) -> None:
        """Look for a job of this kind at once."""
        self._wake[kind].set()

    def _loop(self, kind: str) -> None:
        tidy_at = float("-inf")
        while not self._stopping.is_set():
            try:
                if time.monotonic() >= tidy_at:
                    tidy_at = time.monotonic() + TIDY_S
                    self._works[kind].tidy()
                ran = self._run_one(kind)
            except Exception as error:  # noqa: BLE001 - the ledger may be away, and the thread goes on
                log.warning("jobs_failed", kind=kind, error=log_text(error))
                ran = False
            if not ran:
                self._wake[kind].wait(LOOK_S)
                self._wake[kind].clear()

    def _run_one(self, kind: str) -> bool:
        """Run the next job of a kind; returns whether there was one."""
        job = self._database.retrying(lambda tx: jobs.claim(tx, kind, int(self._lease_s * 1000)))
        if job is None:
            return False
        run = Run(self._database, job, self._lease_s, self._stopping)
        keeper = threading.Thread(target=run.keep, name=f"lease {job.id}", daemon=True)
        keeper.start()
        try:
            self._do(run)
        finally:
            run.let_go()
            keeper.join()
        return True

    def _do(self, run: Run) -> None:
        job = run.job
        if not self._database.retrying(lambda tx: jobs.begin(tx, job)):
            return
        log.info("job_begun", job=job.id, kind=job.kind, run=job.runs)
        try:
            with self._database.translated_errors():
                self._works[job.kind].do(run)
        except JobStopped:
            self._database.retrying(lambda tx: jobs.give_back(tx, job))
            log.info("job_stopped", job=job.id, kind=job.kind)
        except (InvalidInput, UnicodeEncodeError) as error:
            # The other error quotes the text.
            reason = str(error) if isinstance(error, InvalidInput) else "a text has half of a character"
            self._database.retrying(lambda tx: jobs.fail(tx, job, reason))
            log.info("job_failed", job=job.id, kind=job.kind, error=reason)
        except Exception as error:  # noqa: BLE001 - the next job is another one
            # Its text may hold private data. The lease lapses, and the job is begun again.
            log.error("job_crashed", job=job.id, kind=job.kind, error=log_text(error))
        else:
            log.info("job_done", job=job.id, kind=job.kind)
