"""Messages from people, and templates as the vendor tells of them: what callbacks brought."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from bulksend.messaging.stop_words import Keyword
from bulksend.operations.access import record_reading
from bulksend.operations.inbound import list_inbound
from bulksend.operations.json_shape import checked_after
from bulksend.operations.messages import Filter
from bulksend.operations.templates import list_templates, preview_template, show_template, sync
from ops.http.argument_formats import After, AfterId, Instant, Limit, Phone, one_of
from ops.http.idempotency import Once
from ops.http.services import Operator, ServicesDep, Viewer, vendor_of

router = APIRouter(tags=["inbound"], prefix="/v1")


@router.get("/inbound")
def inbound(
    services: ServicesDep,
    principal: Viewer,
    campaign: Annotated[
        str | None, Query(description="Only answers to this campaign, by id or name.")
    ] = None,
    phone: Annotated[Phone | None, Query(description="Only from this person.")] = None,
    keyword: Annotated[
        Annotated[str, one_of(Keyword)] | None, Query(description="Only stop words or start words.")
    ] = None,
    since: Annotated[
        Instant | None, Query(description="Only received at or after this time, ISO 8601.")
    ] = None,
    until: Annotated[Instant | None, Query(description="Only received before this time, ISO 8601.")] = None,
    limit: Limit = 100,
    after: AfterId = None,
) -> dict[str, Any]:
    """Messages from people, newest first. Viewers see masked numbers and no texts."""
    of = services.settings
    filter = Filter(
        campaign=campaign,
        phone=phone,
        since=since,
        until=until,
        default_region=of.default_region,
        timezone=of.timezone,
    )
    page = list_inbound(
        services.database,
        services.cipher,
        filter,
        keyword=keyword,
        limit=limit,
        before=checked_after(after),
        full=principal.sees_numbers,
    )
    record_reading(services.database, principal, "find inbound")
    return {"items": page.items, "next": page.next}


@router.get("/templates")
def templates(
    services: ServicesDep, principal: Viewer, limit: Limit = 100, after: After = None
) -> dict[str, Any]:
    """Templates by name and language: status, category, quality and why one was rejected."""
    page = list_templates(services.database, limit=limit, after=after)
    return {"items": page.items, "next": page.next}


@router.get("/templates/{name}")
def template(name: str, services: ServicesDep, principal: Viewer) -> dict[str, Any]:
    """One template in each of its languages: what a message must give it, and how it changed."""
    return show_template(services.database, name)


@router.post("/templates/sync")
def sync_templates(services: ServicesDep, principal: Operator, once: Once) -> Response:
    """Read templates and senders from the vendor. What changed for the worse pauses the campaigns that use it."""
    calls = vendor_of(services, tries=3)
    with services.database.translated_errors():
        done = sync(services.database, calls, actor=principal.actor)
    # Outside of the kept answer: the vendor takes long, and a repeated reading changes nothing.
    return once.answer(lambda _: done.as_json())


class Row(BaseModel):
    """The values of a template's variables."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    language: str | None = Field(None, max_length=20, description="Where it has several, e.g. en_US.")
    row: dict[str, str | int | float] = Field(
        {}, description='Values of its variables, by number or name: {"1": "Ada"}.'
    )


@router.post("/templates/{name}/preview")
def preview(name: str, services: ServicesDep, _: Viewer, body: Row | None = None) -> dict[str, Any]:
    """A template as a person would see it. Changes nothing, and takes no Idempotency-Key: no value is kept."""
    asked = Row.model_validate({}) if body is None else body
    return preview_template(services.database, name, language=asked.language, row=asked.row)
