"""Imports of suppressions as background jobs: requested, shown, and which files they still need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bulksend.errors import WrongState
from bulksend.ledger import jobs
from bulksend.ledger.database import Database
from bulksend.ledger.jobs import Job
from bulksend.messaging.units import format_instant
from bulksend.operations.access import Principal
from bulksend.operations.suppressions import ImportReport

KIND = "import"
#: The most refused rows that an answer lists.
MOST_REFUSED = 1000


def request_import(
    database: Database, principal: Principal, id: str, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Queue an import of the stored file ``id``. The import itself is put on record when it takes place."""
    with database.write() as tx:
        jobs.add(tx, KIND, arguments, requested_by=principal.id, actor=principal.actor, id=id)
        return as_json(jobs.get(tx, id, KIND))


def show_import(database: Database, id: str) -> dict[str, Any]:
    """An import. Raises NotFound."""
    with database.read() as tx:
        return as_json(jobs.get(tx, id, KIND))


def after_dry_run(database: Database, id: str) -> Mapping[str, Any]:
    """The arguments of the import that a dry run tried. Raises NotFound; WrongState where it was none, or failed."""
    with database.read() as tx:
        job = jobs.get(tx, id, KIND)
    if job.status != jobs.DONE or not job.arguments["dry_run"]:
        raise WrongState("this is no dry run that is done; nothing was imported")
    return {**job.arguments, "dry_run": False}


def without_job(database: Database, ids: Sequence[str]) -> set[str]:
    """Those of the ids of stored files that no open job needs. Deletes expired jobs."""
    with database.write() as tx:
        jobs.delete_expired(tx)
        return set(ids) - jobs.open_ids(tx, ids)


def result_of(report: ImportReport, notes: Sequence[str]) -> dict[str, Any]:
    """The result of an import as its job keeps it."""
    shown = report.as_json()
    refused = [row._asdict() for row in report.refused[:MOST_REFUSED]]
    return {**shown, "refused_count": len(report.refused), "refused": refused, "notes": [*notes]}


def as_json(job: Job) -> dict[str, Any]:
    """The interface's answer about an import; ``result`` is null until it is done."""
    return {
        "id": job.id,
        "status": job.status,
        "progress": {"rows": job.rows_done, "of": job.rows_total},
        **{name: job.arguments[name] for name in ("file", "scope", "reason", "dry_run")},
        "result": job.result,
        "error": job.error,
        "created_at": format_instant(job.created_at),
        "expires_at": None if job.expires_at is None else format_instant(job.expires_at),
    }
