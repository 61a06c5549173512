"""Suppressions: numbers and countries that must not get a kind of message; and imports of many."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from bulksend.ledger.database import Database
from bulksend.ledger.ids import new_id
from bulksend.messaging.recipient import checked_region
from bulksend.messaging.units import parse_instant_ms
from bulksend.operations.access import Principal, record_reading
from bulksend.operations.suppression_imports import KIND, request_import, show_import
from bulksend.operations.suppressions import (
    add_suppression,
    list_suppressions,
    masked,
    parse_subject,
    remove_suppressions,
)
from ops.http.argument_formats import Country, Cursor, Instant, Subject
from ops.http.idempotency import REPLAYED, Once, OneAnswer
from ops.http.services import Operator, Services, ServicesDep, Viewer
from ops.http.uploads import Posted, checked, form_body, receive

router = APIRouter(prefix="/v1/suppressions", tags=["suppressions"])
_LIST = "suppressions"

Scope = Annotated[Literal["marketing", "all"], Field(description="What to suppress.")]
Phone = Annotated[Subject, Field(description="A number, or a whole country as country:GB.")]
Text = Annotated[str, Field(min_length=1, max_length=500)]
Region = Annotated[Country | None, Field(description="Country of a number without its code.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class NewSuppression(_Body):
    """One to add."""

    phone: Phone
    reason: Text
    scope: Scope = "marketing"
    until: Annotated[Instant | None, Field(description="When it ends, ISO 8601; default: never.")] = None
    region: Region = None


class RemovedSuppression(_Body):
    """Those to remove."""

    phone: Phone
    why: Text
    scope: Annotated[Literal["marketing", "all"] | None, Field(description="Default: of every scope.")] = None
    region: Region = None


class Import(_Body):
    """How the file of an import is read, and what its suppressions say."""

    scope: Scope = "marketing"
    reason: Text = "imported"
    source: Annotated[str | None, Field(max_length=100, description="Default: the file and the key.")] = None
    dry_run: Annotated[bool, Field(strict=True, description="Check every row and count; change nothing.")] = (
        False
    )
    region: Region = None
    map: Annotated[dict[str, str], Field(description='The column of the numbers: {"to": "Mobile No."}.')] = {}
    encoding: Annotated[str | None, Field(max_length=40)] = None
    sheet: Annotated[str | None, Field(max_length=100)] = None


@router.get("")
def get(
    services: ServicesDep,
    principal: Viewer,
    phone: Subject | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[Cursor, Query(description="The `next` of the page before.")] = "",
) -> dict[str, Any]:
    """The suppressions, in a fixed order. Numbers are masked for viewers."""
    page = list_suppressions(
        services.database,
        after=services.cursors.unseal(after, _LIST) if after else "",
        limit=limit,
        subject=None if phone is None else _subject(services, phone, None),
    )
    if page.items:
        record_reading(services.database, principal, "list suppressions", why=f"{len(page.items)} of them")
    items = page.items if principal.sees_numbers else list(map(masked, page.items))
    return {"items": items, "next": page.next and services.cursors.seal(page.next, _LIST)}


@router.post("", status_code=201)
def post(asked: NewSuppression, services: ServicesDep, principal: Operator, once: Once) -> Response:
    """Suppress a number or a country, at once, also for queued messages."""
    subject = _subject(services, asked.phone, asked.region)
    until = None
    if asked.until is not None:
        zone, now_ms = services.settings.timezone or "UTC", int(time.time() * 1000)
        until = parse_instant_ms(asked.until, timezone=zone, now_ms=now_ms, field="until")

    def act(database: Database) -> dict[str, Any]:
        add_suppression(
            database, subject, scope=asked.scope, reason=asked.reason, actor=principal.actor, until=until
        )
        return {"subject": subject, "scope": asked.scope}

    return once.answer(act, status=201)


@router.delete("")
def delete(asked: RemovedSuppression, services: ServicesDep, principal: Operator) -> dict[str, Any]:
    """Remove the suppressions of a number or a country. The number is in the body: addresses are logged."""
    subject = _subject(services, asked.phone, asked.region)
    count = remove_suppressions(
        services.database, subject, scope=asked.scope, actor=principal.actor, why=asked.why
    )
    return {"subject": subject, "removed": count}


@router.post("/import", status_code=202, openapi_extra=form_body("import", Import))
async def post_import(request: Request, services: ServicesDep, principal: Operator, once: Once) -> Response:
    """Suppress every number of a file (.csv, .xlsx, .jsonl), all or nothing, in the background.

    Rows that are not numbers are listed in its result, and are NOT suppressed.
    """
    posted = await receive(request, services.imports.store, new_id(), "import")
    return await run_in_threadpool(_import, services, principal, once, posted)


def _import(services: Services, principal: Principal, once: OneAnswer, posted: Posted) -> Response:
    """Queue the import. A file that no job needs is deleted."""
    file, store = posted.file, services.imports.store
    try:
        asked = checked(posted.options, Import.model_validate, "import")
        arguments = asked.model_dump() | {"file": file.path.name, "region": _region(services, asked.region)}
        answer = once.answer(
            lambda database: request_import(database, principal, file.id, arguments),
            status=202,
            location="/v1/suppressions/import/{id}",
            body=f"{file.sha256} {json.dumps(posted.options, sort_keys=True)}",
            after=lambda: services.jobs.wake(KIND),
        )
    except BaseException:
        store.remove(file.id)
        raise
    if set(map(str.lower, REPLAYED)) & set(answer.headers):
        store.remove(file.id)
    return answer


@router.get("/import/{id}")
def get_import(id: str, services: ServicesDep, principal: Operator) -> dict[str, Any]:
    """Status, progress and result of an import: counts, and the refused rows by their number in the file."""
    return show_import(services.database, id)


def _subject(services: Services, phone: str, region: str | None) -> str:
    return parse_subject(phone, _region(services, region), field="phone")


def _region(services: Services, given: str | None) -> str | None:
    return services.settings.default_region if given is None else checked_region(given, "region")
