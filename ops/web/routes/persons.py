"""When a person asks: all that is held, or to be forgotten; and legal holds. A number is always in a body."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from fastapi import APIRouter, Response

from bulksend.bootstrap import answering_redis
from bulksend.errors import InvalidInput, InvalidValue
from bulksend.messaging import parse_recipient
from bulksend.operations.legal_holds import list_holds, place_hold, remove_hold
from bulksend.operations.person_export import export_person
from bulksend.operations.persons import forget
from ops.http.services import REDIS_S
from ops.web.forms import AdminForm, Form
from ops.web.pages import AdminPage, Page
from ops.web.problems import problem_of

router = APIRouter()


@router.get("/persons")
def persons(page: AdminPage) -> Response:
    """What to do when a person asks, and the holds."""
    return _page(page)


def _page(
    page: Page, which: str = "", form: Form | None = None, error: InvalidInput | None = None
) -> Response:
    """``which`` form the error is of; what was typed stays in it."""
    problem = None if error is None else problem_of(error)
    typed = {} if form is None else {name: form.text(name) for name in ("phone", "why", "again", "campaign")}
    return page.render(
        "persons.html",
        holds=list_holds(page.database),
        which=which,
        problem=problem,
        typed=typed,
    )


@router.post("/persons/export")
def post_export(form: AdminForm) -> Response:
    """A file with all that is held about a person."""
    page = form.page
    try:
        number, why = _number(form), form.required("why")
        with page.database.translated_errors():
            held = export_person(page.database, page.services.cipher, number, actor=page.user.actor, why=why)
    except InvalidInput as error:
        return _page(page, "export", form, error)
    return Response(
        json.dumps(held, ensure_ascii=False, indent=2),
        media_type="application/json",
        headers={"Content-Disposition": 'attachment; filename="person.json"'},
    )


@router.post("/persons/forget")
def post_forget(form: AdminForm) -> Response:
    """Erase a person, and say what is left."""
    page, services = form.page, form.page.services
    of = services.settings
    try:
        number, why = _number(form), form.required("why")
        if _number(form, "again") != number:
            raise InvalidValue("again", "", "is not the same number")
        with page.database.translated_errors():
            done = forget(
                page.database,
                services.cipher,
                of,
                number,
                actor=page.user.actor,
                why=why,
                open_redis=None if of.redis_url is None else partial(answering_redis, of, timeout_s=REDIS_S),
            )
    except InvalidInput as error:
        return _page(page, "forget", form, error)
    return page.render("person_forgotten.html", done=done.as_json())


@router.post("/persons/holds")
def post_hold(form: AdminForm) -> Response:
    """Place a campaign or a person under legal hold."""
    page = form.page
    try:
        campaign, phone, why = form.optional("campaign"), form.optional("phone"), form.required("why")
        if (campaign is None) == (phone is None):
            raise InvalidValue("phone", "", "or a campaign is to be named: one of the two")
        person = None if phone is None else _number(form)
        hold: dict[str, Any] = place_hold(
            page.database, campaign=campaign, person=person, actor=page.user.actor, why=why
        )
    except InvalidInput as error:
        return _page(page, "hold", form, error)
    return page.redirect("/persons", "persons.hold_placed", subject=hold["subject"])


@router.post("/persons/holds/{id}/remove")
def post_removed(id: str, form: AdminForm) -> Response:
    """End a legal hold."""
    page = form.page
    try:
        hold = remove_hold(page.database, id, actor=page.user.actor, why=form.required("why"))
    except InvalidValue as error:
        return _page(page, "remove", None, error)
    return page.redirect("/persons", "persons.hold_removed", subject=hold["subject"])


def _number(form: Form, field: str = "phone") -> str:
    """Raises InvalidValue."""
    region = form.page.services.settings.default_region
    return parse_recipient(form.required(field)[:64], default_region=region, field=field)
