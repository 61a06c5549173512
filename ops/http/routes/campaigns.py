"""Campaigns: post one with its rows or a file, see them, and act on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from bulksend.errors import InvalidInput
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.database import Database
from bulksend.ledger.ids import new_id
from bulksend.messaging.states import CampaignStatus, Kind, MessageType, OnUnknown
from bulksend.operations import campaign_pages, campaign_settings, clones
from bulksend.operations import campaigns as operations
from bulksend.operations.access import Principal
from bulksend.operations.campaigns import Act
from bulksend.operations.idempotency import check_key
from bulksend.operations.json_shape import Page, masked_words
from ops.http.argument_formats import (
    After,
    AfterId,
    CampaignName,
    Canary,
    CapText,
    Country,
    Instant,
    Limit,
    LocalTime,
    MaxFailed,
    PeopleOfCampaigns,
    Phone,
    RatePerSecond,
    RateText,
    TimeZone,
    Weight,
    one_of,
)
from ops.http.campaign_uploads import find_out_about, poster, take_in
from ops.http.idempotency import Once, OneAnswer
from ops.http.message_json import MOST_TTL_S
from ops.http.services import Operator, Sender, Services, ServicesDep, Viewer
from ops.http.uploads import ROWS, Posted, checked, form_of, receive
from producer.uploads import CampaignOptions
from producer.uploads.forecast import Asked

router = APIRouter(prefix="/v1/campaigns", tags=["campaigns"])


class CloneBody(BaseModel):
    """What a clone of a campaign may have of its own, by the JSON names of `bulksend send`."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True, allow_inf_nan=False)

    name: str | None = Field(None, description="Default: the file's name.")
    key: str | None = Field(None, description="Finds this campaign again; default: the Idempotency-Key.")
    send_at: Instant | None = Field(None, description="ISO 8601; default: now.")
    local_time: LocalTime | None = Field(
        None,
        description="When by the recipients' clocks: 09:00, the next one from `send_at` on, or 2030-03-01 09:00.",
    )
    ttl_seconds: float | None = Field(
        None,
        ge=0.001,
        le=MOST_TTL_S,
        description="Drop what cannot be sent within this long of its due time.",
    )
    rate: RatePerSecond | RateText | None = Field(
        None, description="Maximum rate, 40 or 40/s; default: the sender's."
    )
    on_unknown: Annotated[str, one_of(OnUnknown)] | None = Field(
        None, description="hold (default) or resend."
    )
    cap: CapText | None = Field(
        None,
        description="Leave out people who would have more marketing messages in this time, of all campaigns: 2/7d; "
        "none: no cap. Default: BULKSEND_CAP.",
    )
    exclude: PeopleOfCampaigns = Field(
        [],
        description="Leave out the people whom these campaigns reach, or with CAMPAIGN:unsent those who surely "
        "did not get it.",
    )
    only: PeopleOfCampaigns = Field(
        [], description="Leave out all but the people of these campaigns, as for `exclude`."
    )
    require_consent: bool = Field(
        False,
        description="Refuse rows of people whose consent is neither in the row (consent_source, consent_at) nor on "
        "record.",
    )
    timezone: TimeZone | None = Field(None, description="Zone of times without one.")
    region: Country | None = Field(None, description="Country of numbers without a country code.")
    map: dict[str, str] = Field({}, description='Which column has which name: {"to": "Mobile No."}.')
    encoding: str | None = Field(None, description="Encoding of a text file that is not UTF-8.")
    sheet: str | None = Field(None, description="Sheet of a workbook; default: the first.")
    again: bool = Field(False, description="Send also to those who have the same message.")
    canary: Canary | None = Field(
        None,
        description='Send this part first, "1%" or "200" (at least 50), and the rest when its receipts are good.',
    )
    max_failed: MaxFailed | None = Field(None, description="Default: the installation's.")
    weight: Weight | None = Field(
        None, description="Its weight when the sender's campaigns share the rate; default: 1."
    )
    into: str | None = Field(
        None, description="Id or name of a campaign that gets the rows it does not have."
    )
    dry_run: bool = Field(False, description="Check every row and count; change nothing.")


class CampaignBody(CloneBody):
    """The options of a campaign: those of `bulksend send` by their JSON names."""

    sender: Phone = Field(description="The business number that sends.")
    kind: Annotated[str, one_of(Kind)] = Field(description="otp, utility or marketing.")
    type: Annotated[str, one_of(MessageType)] = Field(
        description="text, image, video, audio, document, location, sticker or template."
    )
    content: dict[str, Any] = Field(description="The vendor's Content object, {{column}} in any string.")
    media: str | None = Field(
        None, max_length=256, description="The id of an uploaded file for the content, see `/v1/media`."
    )

    def options(self) -> CampaignOptions:
        """For the intake."""
        return CampaignOptions(
            **self.model_dump(exclude={"content", "rate", "dry_run"}),
            content=json.dumps(self.content),
            rate=None
            if self.rate is None
            else f"{self.rate:.9f}"
            if isinstance(self.rate, float)
            else self.rate,
        )


def _rate_text(rate: float | str | None) -> str | None:
    """A rate as an operation takes it: a plain number is messages a second."""
    return f"{rate:.9f}" if isinstance(rate, float) else rate


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """The description of a body with rows, or with a file beside its options."""
    options: dict[str, Any] = model.model_json_schema()
    rows = {
        **options,
        "properties": {
            **options["properties"],
            "name": {"type": "string", "minLength": 1},
            "rows": {"type": "array", "minItems": 1, "items": {"type": "object"}},
        },
        "required": [*options.get("required", ()), "name", "rows"],
    }
    content = {"application/json": {"schema": rows}, "multipart/form-data": form_of("campaign", options)}
    return {"requestBody": {"required": True, "content": content}}


#: Makes the body of a request of its options. Raises ValidationError.
ReadOptions = Callable[[dict[str, Any]], CampaignBody]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Finds this campaign again.",
        json_schema_extra={"format": "idempotency-key"},
    ),
]


@router.post("", status_code=202, openapi_extra=body_of(CampaignBody))
async def post(
    request: Request,
    response: Response,
    services: ServicesDep,
    principal: Sender,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Send a campaign. Its rows are stored before the answer; of a large file they are taken in after it."""
    return await _posted(request, response, services, principal, idempotency_key, CampaignBody.model_validate)


@router.post("/{id}/clone", status_code=202, openapi_extra=body_of(CloneBody))
async def clone(
    id: str,
    request: Request,
    response: Response,
    services: ServicesDep,
    principal: Sender,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Send other rows with the sender, kind, content and options of a campaign; the answer is that of a new one."""
    await run_in_threadpool(_check, services, principal, id)

    def read(options: dict[str, Any]) -> CampaignBody:
        own = CloneBody.model_validate(options).model_dump(exclude_unset=True)
        with services.database.read() as tx:
            return CampaignBody.model_validate({**clones.clone_options(tx, id), **own})

    return await _posted(request, response, services, principal, idempotency_key, read)


async def _posted(
    request: Request,
    response: Response,
    services: Services,
    principal: Principal,
    idempotency_key: str | None,
    read: ReadOptions,
) -> dict[str, Any]:
    if idempotency_key is not None:
        check_key(idempotency_key)
    posted = await receive(request, services.uploads.store, new_id())
    answer = await run_in_threadpool(_take, services, principal, posted, idempotency_key, read)
    if "campaign_id" in answer:
        response.headers["Location"] = f"/v1/campaigns/{answer['campaign_id']}"
        if answer["repeated"]:
            response.headers["Idempotent-Replayed"] = "true"
    return answer


def _take(
    services: Services,
    principal: Principal,
    posted: Posted,
    idempotency_key: str | None,
    read: ReadOptions,
) -> dict[str, Any]:
    """Put it on record, or make its forecast. A file that is not on record is deleted."""
    file, by, store = posted.file, poster(principal), services.uploads.store
    with store.deleted_on_error(file.id, RequestValidationError, InvalidInput):
        body = checked_body(posted, read)
    if body.dry_run:
        try:
            return find_out_about(services, Asked.FORECAST, body.options(), file, by)
        finally:
            store.remove(file.id)
    return take_in(
        services,
        file,
        lambda: services.uploads.accept(body.options(), file, by, idempotency_key=idempotency_key),
    )


def checked_body(posted: Posted, read: ReadOptions = CampaignBody.model_validate) -> CampaignBody:
    """The options of a posted campaign. Raises RequestValidationError, and what ``read`` raises besides."""
    body = checked(posted.options, read)
    if body.name is None and posted.file.path.name == ROWS:
        raise RequestValidationError([{"loc": ("body", "name"), "msg": "Field required", "type": "missing"}])
    return body


@router.get("")
def find(
    services: ServicesDep,
    principal: Viewer,
    status: Annotated[str, one_of(CampaignStatus)] | None = None,
    kind: Annotated[str, one_of(Kind)] | None = None,
    sender: Phone | None = None,
    name: str | None = None,
    limit: Limit = 100,
    after: AfterId = None,
) -> Page:
    """The newest campaigns first."""
    wanted = operations.Filter(status=status, kind=kind, sender=sender, name=name)
    with services.database.read() as tx:
        return operations.find_page(tx, wanted, limit=limit, after=after)


@router.get("/{id}")
def show(id: str, services: ServicesDep, principal: Viewer) -> dict[str, Any]:
    """One campaign by its id or name: exactly what `bulksend campaigns show --json` prints."""
    shown: dict[str, Any] = {**operations.show(services.settings, services.database, id)}
    return shown if principal.sees_numbers else masked_words(shown)


class CampaignChanges(BaseModel):
    """What of a campaign changes; fields that are left out stay as they are."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True, allow_inf_nan=False)

    name: CampaignName | None = Field(None, description="A new name.")
    rate: RatePerSecond | RateText | Literal["none"] | None = Field(
        None, description='40 or "40/s"; "none": the sender\'s rate'
    )
    send_at: Instant | None = Field(None, description="ISO 8601; only before the campaign begins.")
    max_failed: MaxFailed | None = None
    weight: Weight | None = Field(None, description="Its weight when the sender's campaigns share the rate.")
    why: str | None = Field(None, max_length=500, description="The reason, for the operator log.")


class Reason(BaseModel):
    """Why an operator acts."""

    model_config = ConfigDict(extra="forbid", strict=True)

    why: str | None = Field(None, max_length=500, description="The reason, for the operator log.")


class ResumeBody(Reason):
    """A resume."""

    force: bool = Field(False, description="Also while its template cannot be sent, by what is known of it.")


class RetryBody(Reason):
    """A retry of failed messages, or what it would do."""

    dry_run: bool = Field(False, description="Count only; change nothing.")


@router.patch("/{id}")
def change(id: str, changes: CampaignChanges, services: ServicesDep, principal: Operator) -> dict[str, Any]:
    """Change a campaign while it runs. Workers heed a new rate within about a second."""
    _check(services, principal, id)
    return campaign_settings.change(
        services.database,
        id,
        actor=principal.actor,
        name=changes.name,
        rate=_rate_text(changes.rate),
        send_at=changes.send_at,
        max_failed=changes.max_failed,
        weight=changes.weight,
        why=changes.why,
        timezone=services.settings.timezone,
    )


@router.post("/{id}/pause")
def pause(
    id: str, services: ServicesDep, principal: Operator, once: Once, body: Reason | None = None
) -> Response:
    """Hold every message that has not been sent. POSTs under way get their answer."""
    return _act(services, principal, once, id, Act.PAUSE, body)


@router.post("/{id}/resume")
def resume(
    id: str, services: ServicesDep, principal: Operator, once: Once, body: ResumeBody | None = None
) -> Response:
    """Go on where it was paused; no recipient is skipped or repeated."""
    return _act(services, principal, once, id, Act.RESUME, body)


@router.post("/{id}/unschedule")
def unschedule(
    id: str, services: ServicesDep, principal: Operator, once: Once, body: Reason | None = None
) -> Response:
    """Take it off its schedule, before it begins. A PATCH with `send_at` schedules it again."""
    return _act(services, principal, once, id, Act.UNSCHEDULE, body)


@router.post("/{id}/cancel")
def cancel(
    id: str, services: ServicesDep, principal: Operator, once: Once, body: Reason | None = None
) -> Response:
    """Cancel every message that is not being sent right now. Cannot be undone."""
    return _act(services, principal, once, id, Act.CANCEL, body)


@router.post("/{id}/retry")
def retry(
    id: str, services: ServicesDep, principal: Operator, once: Once, body: RetryBody | None = None
) -> Response:
    """Queue failed messages again, never accepted or unknown ones. With `dry_run` only the numbers of each."""
    if body is None or not body.dry_run:
        return _act(services, principal, once, id, Act.RETRY, body)
    _check(services, principal, id)

    def preview(database: Database) -> dict[str, Any]:
        with database.read() as tx:
            return campaign_settings.preview_retry(tx, id).as_json()

    return once.answer(preview)


def _act(
    services: Services, principal: Principal, once: OneAnswer, id: str, what: Act, body: Reason | None
) -> Response:
    campaign = _check(services, principal, id)
    why = None if body is None else body.why
    force = isinstance(body, ResumeBody) and body.force

    def act(database: Database) -> dict[str, Any]:
        # The limiter is told after the commit.
        return operations.act(
            database, lambda: None, campaign.id, what, actor=principal.actor, why=why, force=force
        ).as_json()

    return once.answer(act, after=lambda: operations.tell_workers(services.limiter, campaign.id, what))


def _check(services: Services, principal: Principal, id: str) -> Campaign:
    with services.database.read() as tx:
        return operations.find_for(tx, principal, id)


@router.get("/{id}/refusals")
def refusals(
    id: str,
    services: ServicesDep,
    principal: Viewer,
    limit: Limit = 100,
    after: After = None,
) -> Page:
    """The rows that were refused, in the order of the file. Private values are masked."""
    with services.database.read() as tx:
        return campaign_pages.refusals(tx, id, limit=limit, after=after)


@router.get("/{id}/failures")
def failures(id: str, services: ServicesDep, principal: Viewer) -> dict[str, Any]:
    """Why messages were not, or perhaps not, sent: each reason with a sentence and what follows from it."""
    with services.database.read() as tx:
        found = campaign_pages.failures(tx, id)
    return found if principal.sees_numbers else masked_words(found)


@router.get("/{id}/timeline")
def timeline(
    id: str,
    services: ServicesDep,
    principal: Viewer,
    limit: Limit = 100,
    after: After = None,
) -> Page:
    """Messages by status at the end of each minute, kept by the relay, and the change in it."""
    with services.database.read() as tx:
        return campaign_pages.timeline(tx, id, limit=limit, after=after)
