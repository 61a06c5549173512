"""Consents: who agreed to get messages, where and when. A number is always in a body."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from bulksend.errors import InvalidValue
from bulksend.messaging import parse_recipient
from bulksend.operations.consents import list_consents, masked
from bulksend.operations.json_shape import Page as Found
from ops.web.forms import ViewerForm
from ops.web.pages import Page, ViewerPage
from ops.web.problems import problem_of

router = APIRouter()
_LIST = "consents"
SHOWN = 50


@router.get("/consents")
def consents(page: ViewerPage, after: Annotated[str, Query(max_length=2000)] = "") -> Response:
    """A page of them."""
    cursors = page.services.cursors
    place = cursors.unseal(after, _LIST) if after else ""
    return _shown(page, list_consents(page.database, after=place, limit=SHOWN), after=after)


@router.post("/consents")
def look_up(form: ViewerForm) -> Response:
    """Those of one person."""
    page, region = form.page, form.page.services.settings.default_region
    typed = form.text("phone")
    try:
        subject = parse_recipient(form.required("phone")[:64], default_region=region, field="phone")
    except InvalidValue as error:
        first = list_consents(page.database, limit=SHOWN)
        return _shown(page, first, problem=problem_of(error), typed=typed)
    return _shown(page, list_consents(page.database, subject=subject), looked=subject, typed=typed)


def _shown(page: Page, found: Found, **more: Any) -> Response:
    if found.items:
        page.note_reading("list consents", why=f"{len(found.items)} of them")
    items = found.items if page.user.sees_numbers else list(map(masked, found.items))
    usual = {"after": "", "looked": None, "typed": "", "problem": None}
    return page.render(
        "consents.html",
        items=items,
        next=found.next and page.services.cursors.seal(found.next, _LIST),
        **usual | more,
    )
