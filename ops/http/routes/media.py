"""Files of messages at the vendor: upload one, see them, delete one."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from bulksend.ledger.ids import new_id
from bulksend.messaging import mask_digits, parse_sender
from bulksend.messaging.media_files import MOST_BYTES
from bulksend.operations import media as operations
from bulksend.operations.access import Principal
from bulksend.operations.media_files import MediaFiles
from ops.http.argument_formats import After, Limit, Phone
from ops.http.idempotency import Once, OneAnswer
from ops.http.services import Operator, Sender, Services, ServicesDep, Viewer, vendor_of
from ops.http.uploads import Posted, checked, form_body, receive
from producer.uploads import UploadStore

router = APIRouter(prefix="/v1/media", tags=["media"])
_LIST = "media"


class NewFile(BaseModel):
    """Whose file it is."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    sender: Phone = Field(description="The business number that sends it.")


@router.post("", status_code=201, openapi_extra=form_body("media", NewFile))
async def post(request: Request, services: ServicesDep, principal: Sender, once: Once) -> Response:
    """Upload a file to the vendor. The same content is uploaded once for each sender, however often it is posted."""
    # What a stopped process leaves in this folder is deleted with the files of campaigns.
    store = UploadStore(
        services.uploads.store.folder, max_bytes=MOST_BYTES, limit="the most that WhatsApp takes"
    )
    posted = await receive(request, store, new_id(), "media")
    return await run_in_threadpool(_upload, services, principal, once, store, posted)


def _upload(
    services: Services, principal: Principal, once: OneAnswer, store: UploadStore, posted: Posted
) -> Response:
    file, of = posted.file, services.settings
    try:
        asked = checked(posted.options, NewFile.model_validate, "media")
        sender = parse_sender(asked.sender, default_region=of.default_region, field="sender")
        principal.check_sender(sender)
        vendor = vendor_of(services, seconds=operations.UPLOAD_S)
        with services.database.translated_errors():
            done = operations.upload(
                services.database,
                vendor,
                file.path,
                sender,
                actor=principal.actor,
                files=MediaFiles.from_settings(of),
                field="file",
            )
    finally:
        store.remove(file.id)
    # Outside of the kept answer: an upload takes long, and a repeated one finds the file.
    return once.answer(
        lambda _: done,
        status=201,
        location="/v1/media/{id}",
        body=f"{file.sha256} {json.dumps(posted.options, sort_keys=True)}",
    )


@router.get("")
def find(services: ServicesDep, principal: Viewer, limit: Limit = 100, after: After = None) -> dict[str, Any]:
    """Every file, newest first; `expired`: the vendor has it no more."""
    place = services.cursors.unseal(after, _LIST) if after else ""
    page = operations.media_page(services.database, limit=limit, after=place)
    items = [_for(principal, item) for item in page.items]
    return {"items": items, "next": page.next and services.cursors.seal(page.next, _LIST)}


@router.get("/{id}")
def show(id: str, services: ServicesDep, principal: Viewer) -> dict[str, Any]:
    """A file by its id, ours or the vendor's, and the campaigns that may still send it."""
    return _for(principal, operations.show_media(services.database, id))


@router.delete("/{id}")
def delete(id: str, services: ServicesDep, principal: Operator) -> dict[str, Any]:
    """Delete a file at the vendor. Refused while a campaign may send it."""
    principal.check_sender(operations.show_media(services.database, id)["sender"])
    with services.database.translated_errors():
        return operations.delete(
            services.database,
            vendor_of(services),
            id,
            actor=principal.actor,
            files=MediaFiles.from_settings(services.settings),
        )


def _for(principal: Principal, item: dict[str, Any]) -> dict[str, Any]:
    return item if principal.sees_numbers else item | {"name": mask_digits(item["name"])}
