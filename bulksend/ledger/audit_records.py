"""What audits found: the newest ones are kept, with ids and counts, and nothing that belongs to a person."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from bulksend.ledger.audit import Finding, Report
from bulksend.ledger.audit_rules import RULES
from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.clock import current_ms
from bulksend.ledger.database import delete_found, first
from bulksend.ledger.ids import new_id
from bulksend.ledger.schema import audits

#: The number of audits of the whole ledger that are kept, and of those of single campaigns.
KEPT = 100
_PROMISES = {rule.name: rule.promise for rule in RULES}
_FINDING = ("rule", "checked", "broken", "offenders")


@dataclass(frozen=True, slots=True)
class Result:
    """An audit that has ended. ``campaign_id`` is None where it checked the whole ledger."""

    id: str
    campaign_id: str | None
    ended_at: int
    took_ms: int
    actor: str
    broken: int
    """The cases that broke a rule."""
    report: Report


def keep(tx: Connection, report: Report, *, campaign_id: str | None, actor: str, took_ms: int) -> None:
    """Keep the result of an audit that has just ended, and forget the oldest ones of its kind."""
    found = [{name: each[name] for name in _FINDING} for each in map(asdict, report.findings)]
    tx.execute(
        insert(audits).values(
            id=new_id(),
            campaign_id=campaign_id,
            ended_at=current_ms(),
            took_ms=took_ms,
            actor=storable(actor, 100),
            broken=sum(each.broken for each in report.findings),
            counts=json.dumps(report.counts),
            findings=json.dumps(found),
        )
    )
    same = audits.c.campaign_id.is_(None) if campaign_id is None else audits.c.campaign_id.is_not(None)
    old = select(audits.c.id).where(same).order_by(audits.c.ended_at.desc()).offset(KEPT)
    delete_found(tx, audits.c.id, old)


def newest(tx: Connection) -> Result | None:
    """The newest audit of the whole ledger; None where none is kept."""
    whole = select(audits).where(audits.c.campaign_id.is_(None))
    return first(tx, whole.order_by(audits.c.ended_at.desc()).limit(1), _made)


def newest_first(tx: Connection) -> list[Result]:
    """All that are kept, of the whole ledger and of campaigns."""
    every = select(audits).order_by(audits.c.ended_at.desc(), audits.c.id.desc())
    return [_made(**row) for row in tx.execute(every).mappings()]


def _made(counts: str, findings: str, **rest: Any) -> Result:
    found = [
        # A rule that a later version does not have any more has no promise.
        Finding(
            each["rule"], _PROMISES.get(each["rule"], ""), each["checked"], each["broken"], each["offenders"]
        )
        for each in json.loads(findings)
    ]
    return Result(report=Report(found, json.loads(counts)), **rest)
