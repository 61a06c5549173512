"""Exports: files of messages, written in the background."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from bulksend.errors import NotFound
from bulksend.ledger.database import Database
from bulksend.ledger.jobs import Job
from bulksend.messaging import Status
from bulksend.operations.access import Principal
from bulksend.operations.exports import KIND, as_json, list_exports, request_export, show_export
from bulksend.operations.json_shape import Page
from bulksend.operations.messages import Filter
from ops.export_files import check_fits, checked_format
from ops.http.argument_formats import AfterId, Instant, Limit, Phone, one_of
from ops.http.exports import MEDIA_TYPES
from ops.http.idempotency import Once
from ops.http.services import Services, ServicesDep, Viewer

router = APIRouter(tags=["exports"])
_NUMBER = r"[0-9]{1,18}"
_RANGE = re.compile(
    rf"bytes=(?:(?P<first>{_NUMBER})-(?P<last>{_NUMBER})?|-0*[1-9][0-9]{{0,17}})", re.IGNORECASE
)


class NewExport(BaseModel):
    """A campaign, or filters as those of ``messages find``; without any, every message."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["csv", "jsonl", "parquet", "xlsx"] = "csv"
    campaign: Annotated[str | None, Field(max_length=200, description="Its id or name.")] = None
    refused: Annotated[
        bool, Field(strict=True, description="The rows that were refused, instead of the messages.")
    ] = False
    masked: Annotated[
        bool, Field(strict=True, description="false: numbers in full; needs the role sender.")
    ] = True
    audience: Annotated[
        str | None,
        Field(
            max_length=20,
            description="People of the campaign with the columns of its content, to send to them: all, undelivered, "
            "unread, unsent, or code=131049.",
        ),
    ] = None
    phone: Annotated[Phone | None, Field(max_length=40)] = None
    message_id: Annotated[str | None, Field(max_length=256)] = None
    request_id: Annotated[str | None, Field(max_length=256)] = None
    status: Annotated[str, one_of(Status)] | None = None
    since: Annotated[Instant | None, Field(description="Taken in at or after, ISO 8601.")] = None
    until: Annotated[Instant | None, Field(description="Taken in at or before, ISO 8601.")] = None


@router.post("/v1/exports", status_code=202)
def post(asked: NewExport, services: ServicesDep, principal: Viewer, once: Once) -> Response:
    """Have a file written. Its `url` is there when its status is `done`; the file is kept for 24 hours."""
    checked_format(f".{asked.format}", field="format")
    of = services.settings
    filters = asked.model_dump(exclude={"format", "refused", "masked", "audience"})
    wanted = Filter(**filters, default_region=of.default_region, timezone=of.timezone)

    def act(database: Database) -> dict[str, Any]:
        return request_export(
            database,
            principal,
            wanted,
            format=asked.format,
            refused=asked.refused,
            masked=asked.masked,
            audience=asked.audience,
            check_fits=lambda rows: check_fits(f".{asked.format}", rows, "format"),
        )

    return once.answer(act, status=202, location="/v1/exports/{id}", after=lambda: services.jobs.wake(KIND))


@router.get("/v1/exports")
def find(
    services: ServicesDep,
    principal: Viewer,
    limit: Limit = 100,
    after: AfterId = None,
) -> Page:
    """The newest exports first: those of the key that asks, for admins all."""
    return list_exports(services.database, principal, limit=limit, after=after)


@router.get("/v1/exports/{id}")
def get(id: str, services: ServicesDep, principal: Viewer) -> dict[str, Any]:
    """Status, progress and address of an export, for the key that requested it and for admins."""
    return as_json(show_export(services.database, principal, id))


@router.get("/v1/exports/{id}/file", response_class=FileResponse)
def get_file(id: str, request: Request, services: ServicesDep, principal: Viewer) -> FileResponse:
    """The file of an export that is done, or one range of it. Its ETag is the file's SHA-256."""
    return file_of(request, services, principal, id)


def file_of(request: Request, services: Services, principal: Principal, id: str) -> FileResponse:
    """The answer with the file. Raises NotFound, AccessDenied, HTTPException."""
    job = show_export(services.database, principal, id)
    path = _path(services, job)
    format = str(job.arguments["format"])
    etag = f'"{(job.result or {})["sha256"]}"'
    _check_range(request, path.stat().st_size, etag)
    return FileResponse(
        path,
        media_type=MEDIA_TYPES[format],
        filename=f"export-{job.id}.{format}",
        headers={"ETag": etag, "Cache-Control": "private, no-store"},
    )


def _check_range(request: Request, size: int, etag: str) -> None:
    """Refuse a range behind the end, and ignore what is not one range, as RFC 9110 allows.

    The framework answers both without a problem. Raises HTTPException.
    """
    found = _RANGE.fullmatch(request.headers.get("range", "").strip())
    first = int(found["first"] or 0) if found else 0
    if found is None or (found["last"] and int(found["last"]) < first):
        kept = [(name, value) for name, value in request.scope["headers"] if name != b"range"]
        request.scope["headers"] = kept
    elif first >= size and request.headers.get("if-range", etag) == etag:
        raise HTTPException(416, f"the file has {size:,} bytes", {"Content-Range": f"bytes */{size}"})


def _path(services: Services, job: Job) -> Path:
    if job.result is None:
        raise NotFound(f"the export {job.id} has no file: its status is {job.status}")
    path = services.exports.path(str(job.result["file"]))
    if not path.is_file():
        raise NotFound(
            f"the file of the export {job.id} is not on this server; every `serve` needs the same BULKSEND_EXPORT_DIR"
        )
    return path
