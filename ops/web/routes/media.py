"""Files of messages at the vendor: upload one, see them and who needs each, delete one."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Response
from starlette.concurrency import run_in_threadpool

from bulksend.errors import AccessDenied, BulksendError, InvalidInput, Unavailable, WrongState
from bulksend.messaging import mask_digits, parse_sender
from bulksend.messaging.media_files import MOST_BYTES
from bulksend.operations import media as operations
from bulksend.operations.media_files import MediaFiles
from bulksend.operations.senders import list_senders
from ops.http.services import vendor_of
from ops.web.forms import Fields, OperatorForm, SenderFileForm
from ops.web.pages import Page, ViewerPage
from ops.web.problems import problem_of
from producer.uploads import StoredFile, UploadStore

router = APIRouter()
_LIST = "media"
SHOWN = 20


@router.get("/media")
def media(page: ViewerPage, after: Annotated[str, Query(max_length=2000)] = "") -> Response:
    """A page of them, newest first."""
    return _list(page, after)


def _list(page: Page, after: str = "", error: BulksendError | None = None) -> Response:
    cursors, problem = page.services.cursors, None if error is None else problem_of(error)
    place = cursors.unseal(after, _LIST) if after else ""
    found = operations.media_page(page.database, limit=SHOWN, after=place)
    items = [operations.show_media(page.database, item["id"]) for item in found.items]
    return page.render(
        "media.html",
        items=[
            item if page.user.sees_numbers else item | {"name": mask_digits(item["name"])} for item in items
        ],
        next=found.next and cursors.seal(found.next, _LIST),
        after=after,
        problem=problem,
        senders=[(each.phone, f"+{each.phone} {each.name}".strip()) for each in list_senders(page.database)],
        limit_mb=MOST_BYTES >> 20,
    )


@router.post("/media")
async def upload(form: SenderFileForm) -> Response:
    """Upload a file to the vendor; the same content of a sender once."""
    page = form.page
    store = UploadStore(
        page.services.uploads.store.folder, max_bytes=MOST_BYTES, limit="the most that WhatsApp takes"
    )
    try:
        fields, file = await form.receive(store, ("sender",))
        said = await run_in_threadpool(_upload, page, store, fields, file)
    except AccessDenied:
        raise
    except (InvalidInput, Unavailable) as error:
        return await run_in_threadpool(partial(_list, page, error=error))
    return page.redirect("/media", said)


def _upload(page: Page, store: UploadStore, fields: Fields, file: StoredFile) -> str:
    of = page.services.settings
    try:
        sender = parse_sender(fields.required("sender"), default_region=of.default_region, field="sender")
        page.user.check_sender(sender)
        with page.database.translated_errors():
            done = operations.upload(
                page.database,
                vendor_of(page.services, seconds=operations.UPLOAD_S),
                file.path,
                sender,
                actor=page.user.actor,
                files=MediaFiles.from_settings(of),
                field="file",
            )
    finally:
        store.remove(file.id)
    return "media.known" if done["repeated"] else "media.uploaded"


@router.post("/media/{id}/delete")
def delete(id: str, form: OperatorForm) -> Response:
    """Delete a file at the vendor; refused while a campaign may send it."""
    page = form.page
    page.user.check_sender(operations.show_media(page.database, id)["sender"])
    try:
        with page.database.translated_errors():
            operations.delete(
                page.database,
                vendor_of(page.services),
                id,
                actor=page.user.actor,
                files=MediaFiles.from_settings(page.services.settings),
            )
    except (WrongState, Unavailable) as error:
        return _list(page, error=error)
    return page.redirect("/media", "media.deleted")
