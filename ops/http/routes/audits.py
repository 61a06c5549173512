"""Audits: what the proofs of the promises found."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from bulksend.operations import audit
from ops.http.argument_formats import AfterId, Limit
from ops.http.services import ServicesDep, Viewer

router = APIRouter(prefix="/v1/audits", tags=["audits"])


@router.get("")
def list_audits(
    services: ServicesDep, principal: Viewer, limit: Limit = 100, after: AfterId = None
) -> dict[str, Any]:
    """The audits that are kept, newest first: when, by whom, and what each rule checked and found."""
    with services.database.read() as tx:
        return asdict(audit.find_page(tx, limit=limit, after=after))
