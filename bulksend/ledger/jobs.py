"""Background jobs: work that a request asks for and ``serve`` does afterwards, such as an export.

A run of a job has it by a lease, by the database's clock. When the process dies, another run begins the job again from
its start; ``owner`` is the fencing token of a run, so that one that lost its lease ends nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, Update, delete, insert, or_, select, text, update

from bulksend.errors import NotFound
from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.clock import current_ms, read_clock
from bulksend.ledger.database import first, newest_first
from bulksend.ledger.ids import is_id, new_id
from bulksend.ledger.schema import OPEN_JOBS_SQL, jobs

QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"
#: A job that was begun this often and never ended takes its process down with it.
MAX_RUNS = 5
#: A job and its file are kept for this long after its end.
KEPT_MS = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Job:
    """A row of the table."""

    id: str
    kind: str
    status: str
    arguments: Mapping[str, Any]
    result: Mapping[str, Any] | None
    error: str | None
    rows_done: int
    rows_total: int | None
    requested_by: str
    actor: str
    created_at: int
    ended_at: int | None
    expires_at: int | None
    owner: str | None
    lease_until: int | None
    runs: int


def add(
    tx: Connection, kind: str, arguments: Mapping[str, Any], *, requested_by: str, actor: str, id: str = ""
) -> str:
    """Queue a job; returns its id."""
    id = id or new_id()
    tx.execute(
        insert(jobs).values(
            id=id,
            kind=kind,
            status=QUEUED,
            arguments=json.dumps(arguments),
            rows_done=0,
            requested_by=requested_by,
            actor=storable(actor, 100),
            created_at=read_clock(tx),
            runs=0,
        )
    )
    return id


def get(tx: Connection, id: str, kind: str) -> Job:
    """One job of a kind. Raises NotFound, also when it is deleted."""
    found = first(tx, _kept(kind).where(jobs.c.id == id), _made) if is_id(id) else None
    if found is None:
        raise NotFound(f"there is no {kind} {id[:40]!r}; it is kept for 24 hours after its end")
    return found


def newest(
    tx: Connection, kind: str, *, requested_by: str | None, limit: int, before: str | None = None
) -> list[Job]:
    """The jobs of a kind, newest first, those before the id ``before``; of one requester, or of all."""
    found = newest_first(_kept(kind), jobs.c.id, limit, before)
    if requested_by is not None:
        found = found.where(jobs.c.requested_by == requested_by)
    return [_made(**row) for row in tx.execute(found).mappings()]


def claim(tx: Connection, kind: str, lease_ms: int) -> Job | None:
    """The oldest job of a kind that no run has, now under a new lease; None where there is none.

    The run counts from ``begin`` on: a claim whose answer is lost has begun nothing.
    """
    now = read_clock(tx)
    oldest = (
        select(jobs)
        # The words of the partial index.
        .where(text(OPEN_JOBS_SQL), jobs.c.kind == kind)
        .where(or_(jobs.c.lease_until.is_(None), jobs.c.lease_until < now))
        .order_by(jobs.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    while (row := tx.execute(oldest).mappings().one_or_none()) is not None:
        if row["runs"] < MAX_RUNS:
            begun = {"status": RUNNING, "owner": new_id(), "lease_until": now + lease_ms, "rows_done": 0}
            tx.execute(update(jobs).where(jobs.c.id == row["id"]).values(begun))
            return _made(**{**row, **begun, "runs": row["runs"] + 1})
        error = f"it was begun {MAX_RUNS} times and never ended; the log of `serve` says why"
        tx.execute(_ending(update(jobs).where(jobs.c.id == row["id"]), now, status=FAILED, error=error))
    return None


def begin(tx: Connection, job: Job) -> bool:
    """Count the run that a claim gave; returns whether it still has the job. It can be repeated."""
    return tx.execute(_held(job).values(runs=job.runs)).rowcount == 1


def renew(tx: Connection, job: Job, lease_ms: int, rows_done: int, rows_total: int | None) -> bool:
    """Extend the lease of a run, and note its progress; returns whether the run still has the job."""
    values = {"lease_until": read_clock(tx) + lease_ms, "rows_done": rows_done, "rows_total": rows_total}
    return tx.execute(_held(job).values(values)).rowcount == 1


def finish(
    tx: Connection, job: Job, result: Mapping[str, Any], rows_done: int, rows_total: int | None = None
) -> bool:
    """End a job well; returns whether the run still had it."""
    progress = {"rows_done": rows_done, "rows_total": rows_total}
    values = {"status": DONE, "result": json.dumps(result), **progress}
    return tx.execute(_ending(_held(job), read_clock(tx), **values)).rowcount == 1


def fail(tx: Connection, job: Job, error: str) -> bool:
    """End a job with an error; returns whether the run still had it."""
    ending = _ending(_held(job), read_clock(tx), status=FAILED, error=storable(error, 500))
    return tx.execute(ending).rowcount == 1


def give_back(tx: Connection, job: Job) -> None:
    """Queue a job again whose run stops before its end; the run does not count."""
    tx.execute(_held(job).values(status=QUEUED, owner=None, lease_until=None, runs=job.runs - 1))


def delete_expired(tx: Connection, limit: int = 1000) -> list[str]:
    """Delete jobs whose time is over; returns their ids."""
    over = select(jobs.c.id).where(jobs.c.expires_at < read_clock(tx)).order_by(jobs.c.expires_at)
    ids = [str(id) for id in tx.execute(over.limit(limit)).scalars()]
    tx.execute(delete(jobs).where(jobs.c.id.in_(ids)))
    return ids


def expire(tx: Connection, ids: Sequence[str]) -> None:
    """End the time for which these jobs are kept, where they have ended: their files are gone."""
    ended = jobs.c.id.in_([id for id in ids if is_id(id)]), jobs.c.ended_at.is_not(None)
    tx.execute(update(jobs).where(*ended).values(expires_at=read_clock(tx)))


def owners(tx: Connection, ids: Sequence[str]) -> dict[str, str | None]:
    """Of each of the ids that a job has, the run that has or ended it."""
    found = tx.execute(select(jobs.c.id, jobs.c.owner).where(jobs.c.id.in_(ids)))
    return {str(id): None if owner is None else str(owner) for id, owner in found}


def open_ids(tx: Connection, ids: Sequence[str]) -> set[str]:
    """Those of the ids whose job has not ended."""
    found = select(jobs.c.id).where(jobs.c.id.in_(ids), text(OPEN_JOBS_SQL))
    return set(map(str, tx.execute(found).scalars()))


def _kept(kind: str) -> Select[Any]:
    kept = or_(jobs.c.expires_at.is_(None), jobs.c.expires_at > current_ms())
    return select(jobs).where(jobs.c.kind == kind, kept)


def _held(job: Job) -> Update:
    return update(jobs).where(jobs.c.id == job.id, jobs.c.owner == job.owner, jobs.c.status == RUNNING)


def _ending(change: Update, now: int, **values: object) -> Update:
    return change.values(ended_at=now, expires_at=now + KEPT_MS, lease_until=None, **values)


def _made(arguments: str, result: str | None, **rest: Any) -> Job:
    return Job(arguments=json.loads(arguments), result=json.loads(result or "null"), **rest)
