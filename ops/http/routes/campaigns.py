"""Campaigns: post one with its rows or a file, see them, and act on them."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from bulksend.errors import InvalidInput
from bulksend.ledger.ids import new_id
from bulksend.operations import campaigns as operations
from bulksend.operations.access import Principal
from ops.http.parts import P, Parts, Sender, Viewer
from ops.http.uploads import ROWS, Posted, receive
from producer.uploads import CampaignOptions, Poster

router = APIRouter(prefix="/v1/campaigns", tags=["campaigns"])
#: The answer waits this long for the counts; a file that takes longer is `intake`.
ANSWER_S = 1.0


class CampaignBody(BaseModel):
    """The options of a campaign: those of `bulksend send` by their JSON names."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True, allow_inf_nan=False)

    name: str | None = Field(None, description="default: the file's name")
    sender: str = Field(description="the business number that sends")
    kind: str = Field(description="otp, utility or marketing")
    type: str = Field(description="text, image, video, audio, document, location, sticker or template")
    content: dict[str, Any] = Field(description="the vendor's Content object, {{column}} in any string")
    key: str | None = Field(None, description="finds this campaign again; default: the Idempotency-Key")
    send_at: str | None = Field(None, description="ISO 8601; default: now")
    ttl_seconds: float | None = Field(
        None, gt=0, description="drop what cannot be sent within this long of its due time"
    )
    rate: float | str | None = Field(None, description="maximum rate, 40 or 40/s; default: the sender's")
    on_unknown: str | None = Field(None, description="hold (default) or resend")
    timezone: str | None = Field(None, description="zone of times without one")
    region: str | None = Field(None, description="country of numbers without a country code")
    map: dict[str, str] = Field({}, description='which column has which name: {"to": "Mobile No."}')
    encoding: str | None = Field(None, description="encoding of a text file that is not UTF-8")
    sheet: str | None = Field(None, description="sheet of a workbook; default: the first")
    again: bool = Field(False, description="send also to those who have the same message")
    into: str | None = Field(None, description="id or name of a campaign that gets the rows it does not have")
    dry_run: bool = Field(False, description="check every row and count; change nothing")

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


_WITH_ROWS: dict[str, Any] = CampaignBody.model_json_schema()
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    **_WITH_ROWS,
                    "properties": {
                        **_WITH_ROWS["properties"],
                        "rows": {"type": "array", "minItems": 1, "items": {"type": "object"}},
                    },
                    "required": [*_WITH_ROWS["required"], "name", "rows"],
                }
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "campaign": _WITH_ROWS,
                        "file": {"type": "string", "format": "binary"},
                    },
                    "required": ["campaign", "file"],
                },
                "encoding": {"campaign": {"contentType": "application/json"}},
            },
        },
    }
}
IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=255, description="finds this campaign again"),
]


@router.post("", status_code=202, openapi_extra=_BODY)
async def post(
    request: Request, response: Response, parts: P, principal: Sender, idempotency_key: IdempotencyKey = None
) -> dict[str, Any]:
    """Send a campaign. Its rows are stored before the answer; of a large file they are taken in after it."""
    id = new_id()
    posted = await receive(request, parts.uploads.store, id)
    answer = await run_in_threadpool(_take, parts, principal, posted, idempotency_key)
    if "campaign_id" in answer:
        response.headers["Location"] = f"/v1/campaigns/{answer['campaign_id']}"
        if answer["repeated"]:
            response.headers["Idempotent-Replayed"] = "true"
    return answer


def _take(parts: Parts, principal: Principal, posted: Posted, idempotency_key: str | None) -> dict[str, Any]:
    """Put it on record, and wait a moment for its counts. A file that is not on record is deleted."""
    id = posted.file.id
    with parts.upload_intake.awaiting(id):
        try:
            body = _body(posted)
            by = Poster(principal.id, principal.actor, principal.check_send)
            if body.dry_run:
                forecast = parts.uploads.forecast(body.options(), posted.file, by)
                parts.uploads.store.remove(id)
                return forecast
            parts.uploads.accept(body.options(), posted.file, by, idempotency_key=idempotency_key)
        except (InvalidInput, RequestValidationError):
            parts.uploads.store.remove(id)
            raise
        refused = parts.upload_intake.result(id, ANSWER_S)
    if refused is not None:
        raise refused
    with parts.database.read() as tx:
        return operations.posted(tx, id)


def _body(posted: Posted) -> CampaignBody:
    try:
        body = CampaignBody.model_validate(posted.options)
    except ValidationError as error:
        raise RequestValidationError(
            [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
        ) from None
    if body.name is None and posted.file.path.name == ROWS:
        raise RequestValidationError([{"loc": ("body", "name"), "msg": "Field required", "type": "missing"}])
    return body


@router.get("/{id}")
def show(id: str, parts: P, principal: Viewer) -> dict[str, Any]:
    """One campaign by its id or name: exactly what `bulksend campaigns show --json` prints."""
    return operations.show(parts.settings, parts.database, id)
