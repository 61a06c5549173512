"""Suppressions: numbers and countries that must not get a kind of message. A number is always in a body."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from bulksend.errors import AccessDenied, InvalidInput
from bulksend.messaging.recipient import checked_region
from bulksend.messaging.units import parse_instant_ms
from bulksend.operations.access import record_reading
from bulksend.operations.suppression_imports import KIND, after_dry_run, request_import, show_import
from bulksend.operations.suppressions import (
    OWN_COLUMNS,
    add_suppression,
    list_suppressions,
    masked,
    parse_scope,
    parse_subject,
    remove_suppressions,
    stream_suppressions,
)
from ops.export_files import csv_lines
from ops.web.forms import Fields, Form, OperatorFileForm, OperatorForm, SenderForm, ViewerForm
from ops.web.pages import OperatorPage, Page, ViewerPage
from ops.web.problems import problem_of
from producer.uploads import StoredFile

router = APIRouter()
_LIST = "suppressions"
SHOWN = 50
_FIELDS = ("phone", "country", "scope", "reason", "until")


@router.get("/suppressions")
def suppressions(page: ViewerPage, after: Annotated[str, Query(max_length=2000)] = "") -> Response:
    """A page of them; those that were looked up come by POST."""
    return _list(page, after)


def _list(
    page: Page, after: str = "", form: Form | None = None, error: InvalidInput | None = None, which: str = ""
) -> Response:
    cursors = page.services.cursors
    found = list_suppressions(page.database, after=cursors.unseal(after, _LIST) if after else "", limit=SHOWN)
    _note_reading(page, len(found.items))
    return _shown(
        page,
        found.items,
        form,
        error,
        which,
        next=found.next and cursors.seal(found.next, _LIST),
        after=after,
        looked=None,
    )


def _shown(
    page: Page,
    items: list[dict[str, Any]],
    form: Form | None = None,
    error: InvalidInput | None = None,
    which: str = "",
    **more: Any,
) -> Response:
    problem = None if error is None else problem_of(error)
    return page.render(
        "suppressions.html",
        items=items if page.user.sees_numbers else list(map(masked, items)),
        problem=problem,
        which=which,
        typed={} if form is None else {name: form.text(name) for name in _FIELDS},
        **more,
    )


def _note_reading(page: Page, count: int) -> None:
    if count:
        page.note_reading("list suppressions", why=f"{count} of them")


@router.post("/suppressions")
def look_up(form: ViewerForm) -> Response:
    """Those of one number or country."""
    page = form.page
    try:
        subject = _subject(form)
        found = list_suppressions(page.database, subject=subject)
    except InvalidInput as error:
        return _list(page, form=form, error=error, which="look")
    _note_reading(page, len(found.items))
    return _shown(page, found.items, form, next=None, after="", looked=subject)


@router.post("/suppressions/add")
def add(form: OperatorForm) -> Response:
    """Suppress a number or a country, at once, also for messages that wait."""
    page = form.page
    try:
        subject, scope = _subject(form), parse_scope(form.text("scope"), field="scope")
        reason, until = form.required("reason"), form.optional("until")
        end = None
        if until is not None:
            now_ms = int(time.time() * 1000)
            end = parse_instant_ms(until, timezone=page.locale.zone, now_ms=now_ms, field="until")
        add_suppression(page.database, subject, scope=scope, reason=reason, actor=page.user.actor, until=end)
    except InvalidInput as error:
        return _list(page, form=form, error=error, which="add")
    return page.redirect("/suppressions", "suppressions.added")


@router.post("/suppressions/remove")
def remove(form: OperatorForm) -> Response:
    """Remove those of a number or a country, of one scope."""
    page = form.page
    try:
        subject, why = _subject(form), form.required("why")
        scope = parse_scope(form.text("scope"), field="scope")
        count = remove_suppressions(page.database, subject, scope=scope, actor=page.user.actor, why=why)
    except InvalidInput as error:
        return _list(page, form=form, error=error, which="remove")
    return page.redirect("/suppressions", "suppressions.removed", count=count)


@router.post("/suppressions/export")
def export(form: SenderForm) -> Response:
    """All of them as CSV, which an import takes as it is. The file is made while it is sent."""
    page = form.page
    record_reading(page.database, page.user, "export suppressions")

    return StreamingResponse(
        csv_lines(stream_suppressions(page.database), OWN_COLUMNS),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="suppressions.csv"'},
    )


def _subject(form: Form) -> str:
    """A number, or the country where one is named. Raises InvalidValue."""
    country = form.text("country")
    if country and not form.text("phone"):
        return parse_subject(f"country:{checked_region(country, 'country')}", None, field="country")
    region = form.page.services.settings.default_region
    return parse_subject(form.required("phone")[:64], region, field="phone")


@router.post("/suppressions/import")
async def take_file(form: OperatorFileForm) -> Response:
    """Store a file, and try its import: every row is checked, nothing is changed."""
    page, store = form.page, form.page.services.imports.store
    try:
        fields, file = await form.receive(store, ("scope", "reason", "column"))
        with store.deleted_on_error(file.id, Exception):
            await run_in_threadpool(_try_import, page, fields, file)
    except AccessDenied:
        raise
    except InvalidInput as error:
        return await run_in_threadpool(partial(_list, page, error=error, which="import"))
    return page.redirect(f"/suppressions/imports/{file.id}")


def _try_import(page: Page, fields: Fields, file: StoredFile) -> None:
    column = fields.text("column")
    arguments = {
        "scope": parse_scope(fields.text("scope"), field="scope"),
        "reason": fields.required("reason"),
        "source": None,
        "dry_run": True,
        "keep": True,
        "map": {"to": column} if column else {},
        "encoding": None,
        "sheet": None,
        "file": file.path.name,
        "region": page.services.settings.default_region,
    }
    request_import(page.database, page.user, file.id, arguments)
    page.services.jobs.wake(KIND)


@router.get("/suppressions/imports/{id}")
def show(page: OperatorPage, id: str) -> Response:
    """How far an import is, and what it came to."""
    return page.render("suppression_import.html", found=show_import(page.database, id))


@router.post("/suppressions/imports/{id}/run")
def run(id: str, form: OperatorForm) -> Response:
    """Import for good what a dry run tried."""
    page, store = form.page, form.page.services.imports.store
    arguments = after_dry_run(page.database, id)
    file = page.services.imports.again(id, arguments["file"])
    with store.deleted_on_error(file.id, Exception):
        request_import(page.database, page.user, file.id, arguments)
    store.remove(id)
    page.services.jobs.wake(KIND)
    return page.redirect(f"/suppressions/imports/{file.id}")
