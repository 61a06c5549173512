"""Consents: who agreed to get messages, where and when."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from bulksend.messaging import parse_recipient
from bulksend.operations.access import record_reading
from bulksend.operations.consents import list_consents, masked
from ops.http.argument_formats import Cursor, Phone
from ops.http.services import ServicesDep, Viewer

router = APIRouter(prefix="/v1/consents", tags=["consents"])
_LIST = "consents"


@router.get("")
def get(
    services: ServicesDep,
    principal: Viewer,
    phone: Annotated[Phone | None, Query(description="Only of this person.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[Cursor, Query(description="The `next` of the page before.")] = "",
) -> dict[str, Any]:
    """The consents, in a fixed order. Numbers are masked for viewers."""
    region = services.settings.default_region
    page = list_consents(
        services.database,
        after=services.cursors.unseal(after, _LIST) if after else "",
        limit=limit,
        subject=None if phone is None else parse_recipient(phone, default_region=region, field="phone"),
    )
    if page.items:
        record_reading(services.database, principal, "list consents", why=f"{len(page.items)} of them")
    items = page.items if principal.sees_numbers else list(map(masked, page.items))
    return {"items": items, "next": page.next and services.cursors.seal(page.next, _LIST)}
