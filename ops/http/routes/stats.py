"""Statistics, from the roll-up by hour alone."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from bulksend.operations.stats import parse_dimensions, show_stats
from ops.http.argument_formats import Instant
from ops.http.services import ServicesDep, Viewer

router = APIRouter(prefix="/v1", tags=["stats"])


@router.get("/stats")
def get(
    services: ServicesDep,
    principal: Viewer,
    by: Annotated[
        str,
        Query(
            max_length=100,
            description="Some of hour,kind,sender,country,code, each once.",
            json_schema_extra={"format": "dimensions"},
        ),
    ] = "hour,kind",
    since: Annotated[
        Instant | None, Query(alias="from", description="ISO 8601; default: 7 days before.")
    ] = None,
    until: Annotated[Instant | None, Query(alias="to", description="ISO 8601; default: now.")] = None,
) -> dict[str, Any]:
    """How many messages entered each status, and attempts with their latency, by whole hours (UTC)."""
    return show_stats(
        services.database,
        parse_dimensions(by, field="by"),
        since=since,
        until=until,
        timezone=services.settings.timezone,
        fields=("from", "to"),
    )
