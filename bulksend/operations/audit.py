"""Prove the promises from the ledger: now, or as a background job. What an audit found is kept in the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection

from bulksend.errors import LedgerUnfit, LedgerUnreachable
from bulksend.ledger import audit as ledger_audit
from bulksend.ledger import audit_records, campaigns, jobs, operator_log
from bulksend.ledger.audit import Report
from bulksend.ledger.audit_records import Result
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.jobs import Job
from bulksend.messaging.units import format_instant
from bulksend.operations.access import Principal
from bulksend.operations.json_shape import Page

KIND = "audit"


@dataclass(frozen=True, slots=True)
class Audited:
    """An audit that has ended: what it found, how long it took, and why that is not kept (None: it is)."""

    report: Report
    seconds: float
    not_kept: str | None = None


def audit(tx: Connection, campaign: str | None = None) -> Report:
    """Check every rule, for the whole ledger or for one campaign, by id or name. Raises CampaignNotFound."""
    id = None if campaign is None else campaigns.find(tx, campaign).id
    return ledger_audit.audit(tx, campaign_id=id)


def audit_and_keep(database: Database, *, campaign: str | None = None, actor: str) -> Audited:
    """Check every rule, and keep what was found. Raises CampaignNotFound.

    A ledger that may only be read, such as a replica, is checked all the same.
    """
    began = time.monotonic()
    with database.read() as tx:
        id = None if campaign is None else campaigns.find(tx, campaign).id
        report = ledger_audit.audit(tx, campaign_id=id)
    seconds = time.monotonic() - began
    try:
        with database.translated_errors(), database.write() as tx:
            audit_records.keep(tx, report, campaign_id=id, actor=actor, took_ms=int(seconds * 1000))
    except (LedgerUnreachable, LedgerUnfit) as error:
        return Audited(report, seconds, str(error))
    return Audited(report, seconds)


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
    if not end({"holds": report.holds}):
        return False
    audit_records.keep(tx, report, campaign_id=None, actor=actor, took_ms=int(seconds * 1000))
    return True


def audits(tx: Connection) -> dict[str, Any]:
    """``last``: what the newest audit of the whole ledger found, or None. ``running``: when the one that runs was asked
    for. ``error``: of the newest job."""
    kept, running = audit_records.newest(tx), _open(tx)
    newest = jobs.newest(tx, KIND, requested_by=None, limit=1)
    return {
        "last": None if kept is None else _shown(kept),
        "running": None if running is None else format_instant(running.created_at),
        "error": newest[0].error if newest else None,
    }


def find_page(tx: Connection, *, limit: int, after: str | None) -> Page:
    """The audits that are kept, newest first, those of single campaigns too. Raises InvalidValue for ``after``."""
    kept = [
        {"id": each.id, "campaign_id": each.campaign_id} | _shown(each)
        for each in audit_records.newest_first(tx)
    ]
    return Page.part(kept, limit=limit, after=after)


def last(tx: Connection) -> dict[str, Any] | None:
    """When the newest audit of the whole ledger ended, how long ago that is, and how many cases broke a rule."""
    kept = audit_records.newest(tx)
    if kept is None:
        return None
    shown = _shown(kept)
    age_ms = max(0, read_clock(tx) - kept.ended_at)
    return {"at": shown["at"], "age_seconds": age_ms / 1000, "broken": shown["broken"]}


def _shown(kept: Result) -> dict[str, Any]:
    return as_json(kept.report) | {
        "at": format_instant(kept.ended_at),
        "seconds": round(kept.took_ms / 1000, 1),
        "by": kept.actor,
        "broken": kept.broken,
    }


def _open(tx: Connection) -> Job | None:
    newest = jobs.newest(tx, KIND, requested_by=None, limit=1)
    return newest[0] if newest and newest[0].status in (jobs.QUEUED, jobs.RUNNING) else None
