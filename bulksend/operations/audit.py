"""Prove the promises from the ledger: now, or as a background job that keeps what it found."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection

from bulksend.ledger import audit as ledger_audit
from bulksend.ledger import campaigns, installation, jobs, operator_log
from bulksend.ledger.audit import Report
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.jobs import Job
from bulksend.messaging.units import format_instant
from bulksend.operations.access import Principal

KIND = "audit"
_LAST = "last audit"


def audit(tx: Connection, campaign: str | None = None) -> Report:
    """Check every rule, for the whole ledger or for one campaign, by id or name. Raises CampaignNotFound."""
    id = None if campaign is None else campaigns.find(tx, campaign).id
    return ledger_audit.audit(tx, campaign_id=id)


def as_json(report: Report) -> dict[str, Any]:
    """The answer of ``audit``."""
    findings = [asdict(finding) for finding in report.findings]
    return {"holds": report.holds, "counts": report.counts, "findings": findings}


def request_audit(database: Database, principal: Principal) -> bool:
    """Queue an audit of the whole ledger, on record; false where one is queued or runs."""
    with database.write() as tx:
        if _open(tx) is not None:
            return False
        id = jobs.add(tx, KIND, {}, requested_by=principal.id[:40], actor=principal.actor)
        operator_log.record(tx, actor=principal.actor, act="audit", scope="ledger", subject=id, why="")
        return True


def keep(
    tx: Connection, report: Report, *, actor: str, seconds: float, end: Callable[[Mapping[str, Any]], bool]
) -> bool:
    """Keep what the job found, in the transaction that ends it by ``end``; returns whether that still had it."""
    holds = {"holds": report.holds}
    if not end(holds):
        return False
    at = format_instant(read_clock(tx))
    kept = as_json(report) | {"at": at, "seconds": round(seconds, 1), "by": actor}
    installation.put(tx, _LAST, json.dumps(kept).encode())
    return True


def audits(tx: Connection) -> dict[str, Any]:
    """``last``: what the newest audit found, or None. ``running``: when the one that runs was asked for. ``error``."""
    kept, running = installation.get(tx, _LAST), _open(tx)
    newest = jobs.newest(tx, KIND, requested_by=None, limit=1)
    return {
        "last": None if kept is None else json.loads(kept),
        "running": None if running is None else format_instant(running.created_at),
        "error": newest[0].error if newest else None,
    }


def _open(tx: Connection) -> Job | None:
    newest = jobs.newest(tx, KIND, requested_by=None, limit=1)
    return newest[0] if newest and newest[0].status in (jobs.QUEUED, jobs.RUNNING) else None
