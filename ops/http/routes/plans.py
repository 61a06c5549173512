"""Plans: post a campaign to see what it would do; then send exactly that."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from bulksend.bootstrap import time_rules
from bulksend.errors import IdempotencyKeyReused
from bulksend.ledger import plans
from bulksend.ledger.ids import new_id
from bulksend.ledger.plans import Plan
from bulksend.operations.access import Principal
from bulksend.operations.idempotency import check_key
from bulksend.operations.json_shape import Page, masked_words
from ops.http.argument_formats import AfterId, Limit, Phone
from ops.http.campaign_uploads import apply_plan, file_plan, find_out_about, found_plan, plans_of, poster
from ops.http.idempotency import Once
from ops.http.routes.campaigns import (
    CampaignBody,
    IdempotencyKey,
    body_of,
    checked_body,
)
from ops.http.services import Sender, Services, ServicesDep, Viewer
from ops.http.uploads import Posted, receive
from producer.campaign_plans import frozen_options
from producer.row_sends import preview_rows, send_test
from producer.uploads.forecast import Asked

router = APIRouter(prefix="/v1/plans", tags=["plans"])


class TestSendBody(BaseModel):
    """A test send."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    to: Phone = Field(description="A number of yours.")
    row: int | None = Field(None, ge=1, description="The row of the file; default: the first that is sent.")


@router.post("", status_code=201, openapi_extra=body_of(CampaignBody))
async def post(
    request: Request,
    response: Response,
    services: ServicesDep,
    principal: Sender,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Freeze what a campaign would do; nothing is sent. Takes what POST /v1/campaigns takes."""
    if idempotency_key is not None:
        check_key(idempotency_key)
    posted = await receive(request, services.uploads.store, new_id())
    answer, repeated = await run_in_threadpool(_make, services, principal, posted, idempotency_key)
    response.headers["Location"] = f"/v1/plans/{answer['plan_id']}"
    if repeated:
        response.headers["Idempotent-Replayed"] = "true"
    return answer


def _make(
    services: Services, principal: Principal, posted: Posted, idempotency_key: str | None
) -> tuple[dict[str, Any], bool]:
    """The plan, and whether an earlier request made it. A file that no plan needs is deleted."""
    file = posted.file
    with services.uploads.store.deleted_on_error(file.id, Exception):
        body = checked_body(posted)
        if body.dry_run:
            raise RequestValidationError(
                [{"loc": ("body", "dry_run"), "msg": "a plan is a dry run: leave it out", "type": "extra"}]
            )
        request_key = None if idempotency_key is None else _request_key(principal, idempotency_key)
        earlier = None if request_key is None else _earlier(services, request_key)
        if earlier is not None:
            _check_same(services, principal, earlier, posted)
            services.uploads.store.remove(file.id)
            return plans_of(services).show(earlier.id), True
        made = find_out_about(services, Asked.PLAN, body.options(), file, poster(principal), request_key)
    return plans_of(services).show(made["id"]), False


def _request_key(principal: Principal, idempotency_key: str) -> str:
    return hashlib.sha256(f"{principal.id} {idempotency_key}".encode()).hexdigest()


def _earlier(services: Services, request_key: str) -> Plan | None:
    with services.database.read() as tx:
        return plans.by_request(tx, request_key)


def _check_same(services: Services, principal: Principal, earlier: Plan, posted: Posted) -> None:
    """Raises IdempotencyKeyReused unless the request is that of the plan."""
    options, _ = services.uploads.check(checked_body(posted).options(), posted.file, poster(principal))
    is_same = frozen_options(earlier) == options
    if not is_same or json.loads(earlier.outlook)["file"]["sha256"] != posted.file.sha256:
        raise IdempotencyKeyReused(
            f"the Idempotency-Key made plan {earlier.id} of another file or with other options; use a new key"
        )


@router.get("")
def find(services: ServicesDep, principal: Viewer, limit: Limit = 100, after: AfterId = None) -> Page:
    """The newest plans first."""
    return plans_of(services).page(limit=limit, after=after)


@router.get("/{id}")
def show(id: str, services: ServicesDep, principal: Viewer) -> dict[str, Any]:
    """A plan: exactly what `bulksend plan --json` prints. Its samples are for those who see numbers."""
    shown = plans_of(services).show(id)
    return shown if principal.sees_numbers else {**masked_words(shown), "samples": []}


@router.get("/{id}/preview")
def preview(
    id: str,
    services: ServicesDep,
    principal: Sender,
    rows: Annotated[int, Query(ge=1, le=100, description="How many rows.")] = 10,
) -> dict[str, Any]:
    """The first rows that become messages, as they will look; a one-time code is stars."""
    run = file_plan(services, principal, found_plan(services, principal, id))
    return {
        "items": preview_rows(run, services.database, rows, rules=time_rules(services.settings)),
        "next": None,
    }


@router.post("/{id}/test", status_code=202)
def test(
    id: str, asked: TestSendBody, services: ServicesDep, principal: Sender, once: Once
) -> dict[str, Any]:
    """Send one row to a number of yours, really, and outside of the campaign and its counts."""
    run = file_plan(services, principal, found_plan(services, principal, id))
    done = send_test(services.settings, services.database, run, to=asked.to, row=asked.row, key=once.key)
    return done.as_json()


@router.post("/{id}/apply", status_code=202)
def apply(
    id: str, response: Response, services: ServicesDep, principal: Sender, once: Once
) -> dict[str, Any]:
    """Send exactly what the plan says. 409 with the differences if anything of it changed, or if it expired."""
    answer = apply_plan(services, principal, found_plan(services, principal, id))
    response.headers["Location"] = f"/v1/campaigns/{answer['campaign_id']}"
    if answer["repeated"]:
        response.headers["Idempotent-Replayed"] = "true"
    return answer
