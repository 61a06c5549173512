"""What became of a campaign: its numbers as JSON, and its report as a page."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from bulksend.operations.breakdown import break_down
from bulksend.operations.json_shape import masked_words
from bulksend.operations.report import report as write_report
from ops.http.services import ServicesDep, Viewer

router = APIRouter(prefix="/v1/campaigns", tags=["campaigns"])


@router.get("/{id}/breakdown")
def breakdown(id: str, services: ServicesDep, principal: Viewer) -> dict[str, Any]:
    """Its messages by step, country, hour and reason. Each of them is read, which takes some seconds a million."""
    with services.database.read() as tx:
        found: dict[str, Any] = {**break_down(tx, id)}
    return found if principal.sees_numbers else masked_words(found)


@router.get("/{id}/report", response_class=HTMLResponse)
def report(id: str, services: ServicesDep, principal: Viewer) -> HTMLResponse:
    """One HTML page with charts, that loads nothing and runs nothing: what `bulksend campaigns report` writes."""
    return HTMLResponse(write_report(services.database, id, timezone=services.settings.timezone))
