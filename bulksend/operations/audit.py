"""Prove the promises from the ledger."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection

from bulksend.ledger import audit as ledger_audit
from bulksend.ledger import campaigns
from bulksend.ledger.audit import Report


def audit(tx: Connection, campaign: str | None = None) -> Report:
    """Check every rule, for the whole ledger or for one campaign, by id or name. Raises CampaignNotFound."""
    id = None if campaign is None else campaigns.find(tx, campaign).id
    return ledger_audit.audit(tx, campaign_id=id)


def as_json(report: Report) -> dict[str, Any]:
    """The answer of ``audit``."""
    findings = [asdict(finding) for finding in report.findings]
    return {"holds": report.holds, "counts": report.counts, "findings": findings}
