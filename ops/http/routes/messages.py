"""``/v1/messages``: send, find, show, explain, resolve; and ``/v1/unknown``, those that may have gone out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from bulksend.bootstrap import working_limiter
from bulksend.errors import InvalidInput, InvalidValue, WrongState
from bulksend.ledger.database import Database
from bulksend.ledger.unknowns import Trace
from bulksend.messaging import Status
from bulksend.messaging.units import counted
from bulksend.operations import messages, unknowns
from bulksend.operations.access import record_reading
from bulksend.operations.json_shape import Page, checked_after, masked_texts
from bulksend.operations.messages import Filter
from bulksend.operations.unknowns import MOST_RESOLVED
from bulksend.operations.why import explain
from ops.http.argument_formats import AfterId, Instant, Limit, Phone, one_of
from ops.http.idempotency import HEADER, REPLAYED, Once
from ops.http.message_json import ManyMessages, MessageAnswer, NewMessages
from ops.http.sending import Sending
from ops.http.services import REDIS_S, Operator, Sender, Services, ServicesDep, Viewer

router = APIRouter(tags=["messages"], prefix="/v1")


class MessagePage(BaseModel):
    """Messages, newest first, and what the next page starts after; null at the end."""

    items: list[dict[str, Any]]
    next: str | None


@router.post(
    "/messages",
    status_code=202,
    response_model=MessageAnswer | ManyMessages,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": NewMessages.schema_of_body()}},
        },
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "schema": {"type": "string", "maxLength": 255, "format": "idempotency-key"},
                "description": "Makes a repeated request safe: it is done once.",
            }
        ],
    },
)
async def send(request: Request, principal: Sender) -> Response:
    """Send one message, or up to 1,000 as `{"messages": […]}`, each stored or refused by itself.

    The answer comes when the messages are stored, or with `wait_seconds` (at most 30) when they have ended.
    """
    sending: Sending = request.app.state.sending
    given = request.headers.get(HEADER)
    body, replayed = await sending.answer(request.scope, await request.body(), given, principal)
    return Response(body, 202, REPLAYED if replayed else None, media_type="application/json")


class Filters(BaseModel):
    """Which messages."""

    model_config = ConfigDict(extra="forbid")

    campaign: str | None = Field(None, description="Only of this campaign, by id or name.")
    phone: Phone | None = Field(None, description="Only to this recipient.")
    since: Instant | None = Field(None, description="Only queued at or after this time, ISO 8601.")
    until: Instant | None = Field(None, description="Only queued at or before this time, ISO 8601.")


@router.get("/messages")
def find(
    services: ServicesDep,
    principal: Viewer,
    campaign: str | None = None,
    phone: Phone | None = None,
    message_id: str | None = None,
    request_id: str | None = None,
    status: Annotated[str, one_of(Status)] | None = None,
    since: Instant | None = None,
    until: Instant | None = None,
    limit: Limit = 100,
    after: AfterId = None,
) -> MessagePage:
    """The newest matching messages first."""
    wanted = _filter(
        services, campaign, phone, since, until, message_id=message_id, request_id=request_id, status=status
    )
    with services.database.read() as tx:
        page = messages.find(tx, wanted, limit=limit, before=checked_after(after))
    return _page(services, principal, page, "find messages", wanted)


@router.get("/messages/{id}")
def show(id: str, services: ServicesDep, principal: Viewer) -> dict[str, Any]:
    """One message with all its attempts, receipts and acts."""
    with services.database.read() as tx:
        shown = messages.show(tx, id, services.cipher)
    record_reading(services.database, principal, "show message", subject=shown["id"])
    return shown if principal.sees_numbers else messages.masked(shown)


@router.get("/messages/{id}/why")
def why(id: str, services: ServicesDep, principal: Viewer) -> dict[str, Any]:
    """Which gate holds a message, and the earliest time it can be sent."""
    of = services.settings
    silent: list[str] = []
    answer = explain(
        services.database,
        working_limiter(of, services.database, silent.append, timeout_s=REDIS_S),
        id,
        account=of.account(),
        default_rate=of.default_rate,
        timezone=of.timezone,
        silent="".join(silent),
    ).as_json()
    masked = masked_texts(answer)
    if masked != answer:
        record_reading(services.database, principal, "show message", subject=answer["id"], why="why it waits")
    return answer if principal.sees_numbers else masked


class Resolve(BaseModel):
    """What was found out about a message that may have gone out."""

    model_config = ConfigDict(extra="forbid")

    as_: Literal["accepted", "failed", "resend"] = Field(alias="as")
    why: str = Field(min_length=1, max_length=500, description="The reason, for the operator log.")
    dry_run: bool = Field(False, strict=True, description="Change nothing; tell what would be done.")


@router.post("/messages/{id}/resolve")
def resolve(id: str, asked: Resolve, principal: Operator, once: Once) -> Response:
    """Resolve an unknown message by what you found out."""

    def act(database: Database) -> dict[str, Any]:
        with database.read() as tx:
            unknowns.check_allowed(tx, id, principal.check_send)
        done = unknowns.resolve(
            database, [id], as_=asked.as_, actor=principal.actor, why=asked.why, dry_run=asked.dry_run
        )
        if done.refused:
            raise WrongState(done.refused[0]["why"])
        return {"id": id, "status": "unknown" if asked.dry_run and done.resolved else done.status}

    return once.answer(act)


class ResolveMany(Resolve):
    """Which messages, by ids or by a filter, and what was found out about them."""

    ids: list[str] = Field([], max_length=MOST_RESOLVED)
    filter: Filters | None = None
    trace: list[Annotated[str, one_of(Trace)]] = Field(
        [], max_length=len(Trace), description="Only with one of these traces."
    )


@router.post("/messages/resolve")
def resolve_many(asked: ResolveMany, services: ServicesDep, principal: Operator, once: Once) -> Response:
    """Resolve unknown messages by ids, or the newest 1,000 that match; `more` says that others match."""
    by_filter = asked.filter is not None or bool(asked.trace)
    if bool(asked.ids) == by_filter:
        raise InvalidInput("give either ids, or filter or trace")
    filters = asked.filter or Filters(campaign=None, phone=None, since=None, until=None)
    wanted = _filter(services, filters.campaign, filters.phone, filters.since, filters.until)
    if by_filter and wanted.is_empty and not asked.trace:
        raise InvalidValue("filter", "", "is empty; give some of campaign, phone, since, until and trace")

    def act(database: Database) -> dict[str, Any]:
        ids, more = list(dict.fromkeys(asked.ids)), False
        if by_filter:
            with database.read() as tx:
                ids, more = unknowns.newest_ids(tx, wanted, asked.trace)
        done = unknowns.resolve(
            database,
            ids,
            as_=asked.as_,
            actor=principal.actor,
            why=asked.why,
            dry_run=asked.dry_run,
            allow=principal.check_send,
        )
        return done.as_json() | {"more": more}

    return once.answer(act)


@router.get("/unknown")
def unknown(
    services: ServicesDep,
    principal: Viewer,
    campaign: str | None = None,
    phone: Phone | None = None,
    since: Instant | None = None,
    until: Instant | None = None,
    trace: Annotated[list[Annotated[str, one_of(Trace)]] | None, Query()] = None,
    limit: Limit = 100,
    after: AfterId = None,
) -> MessagePage:
    """Messages that may have gone out, newest first, with what their attempts left behind."""
    wanted = _filter(services, campaign, phone, since, until)
    with services.database.read() as tx:
        page = unknowns.list_unknown(tx, wanted, traces=trace or (), limit=limit, before=checked_after(after))
    return _page(services, principal, page, "list unknown messages", wanted)


def _page(services: Services, principal: Viewer, page: Page, what: str, wanted: Filter) -> MessagePage:
    if page.items:
        by = ", ".join(wanted.given) or "no filter"
        record_reading(
            services.database, principal, what, why=f"{counted(len(page.items), 'message')} by {by}"
        )
    items = page.items if principal.sees_numbers else [messages.masked(item) for item in page.items]
    return MessagePage(items=items, next=page.next)


def _filter(
    services: Services,
    campaign: str | None,
    phone: str | None,
    since: str | None,
    until: str | None,
    **more: str | None,
) -> Filter:
    of = services.settings
    return Filter(
        campaign=campaign,
        phone=phone,
        since=since,
        until=until,
        default_region=of.default_region,
        timezone=of.timezone,
        **more,
    )
