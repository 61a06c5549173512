"""Templates, as the vendor has them: status, category and its history, quality, how they look, what they hold."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from bulksend.errors import BulksendError, Unavailable, WrongState
from bulksend.operations.json_shape import masked_texts
from bulksend.operations.template_pages import recent_changes, template_now
from bulksend.operations.templates import list_templates, preview_template, sync
from ops.http.services import vendor_of
from ops.web.forms import Form, OperatorForm, ViewerForm
from ops.web.pages import Page, ViewerPage
from ops.web.problems import Problem, problem_of

router = APIRouter()
SHOWN = 50
#: How long a sync may wait for an answer of the vendor.
SYNC_S = 20.0
STATUSES = ("APPROVED", "PENDING", "REJECTED", "PAUSED", "DISABLED", "FLAGGED")


@router.get("/templates")
def template_list(
    page: ViewerPage,
    name: Annotated[str, Query(max_length=200)] = "",
    status: Annotated[str, Query(max_length=40)] = "",
    after: Annotated[str, Query(max_length=600)] = "",
) -> Response:
    """A page of them, and what changed last."""
    return _list(page, name, status, after)


def _list(
    page: Page,
    name: str = "",
    status: str = "",
    after: str = "",
    problem: Problem | None = None,
    problems: tuple[str, ...] = (),
) -> Response:
    found = list_templates(
        page.database, limit=SHOWN, after=after or None, name=name or None, status=status or None
    )
    with page.database.read() as tx:
        changes = recent_changes(tx)
    items, shown = list(found.items), changes
    if not page.user.sees_numbers:
        items, shown = masked_texts(items), masked_texts(changes)
    return page.render(
        "templates.html",
        items=items,
        next=found.next,
        after=after,
        filter={"name": name, "status": status},
        statuses=STATUSES,
        changes=shown,
        problem=problem,
        problems=problems,
    )


@router.post("/templates")
def sync_now(form: OperatorForm) -> Response:
    """Read templates and senders from the vendor."""
    page = form.page
    try:
        with page.database.translated_errors():
            done = sync(page.database, vendor_of(page.services, seconds=SYNC_S), actor=page.user.actor)
    except (Unavailable, WrongState) as error:
        return _list(page, problem=problem_of(error))
    if done.problems:
        return _list(page, problems=tuple(done.problems))
    return page.redirect(
        "/templates",
        "templates.synced",
        templates=done.templates,
        senders=done.senders,
        changed=done.changed,
    )


@router.get("/templates/{name}")
def template(page: ViewerPage, name: str) -> Response:
    """One of them, in each of its languages."""
    return _one(page, name)


@router.post("/templates/{name}")
def look(name: str, form: ViewerForm) -> Response:
    """The same with values that a person typed: they are not kept, and stand in no address."""
    return _one(form.page, name, form)


def _one(page: Page, name: str, form: Form | None = None) -> Response:
    found = template_now(page.database, name)
    if not page.user.sees_numbers:
        found = masked_texts(found)
    chosen = "" if form is None else form.text("language")
    looks: dict[str, Any] = {}
    for item in found["items"]:
        typed = {}
        if form is not None and item["language"] == chosen:
            typed = {
                key[2:]: form.text(key) for key in form.names() if key.startswith("v-") and form.text(key)
            }
        looks[item["language"]] = _look(page, name, item, typed)
    return page.render("template.html", name=found["items"][0]["name"], found=found, looks=looks)


def _look(page: Page, name: str, item: dict[str, Any], typed: dict[str, str]) -> dict[str, Any] | None:
    """How a language looks with these values; None where its text is not known."""
    shape = item["components"]
    if shape is None:
        return None
    parts = [shape["header"] or {"variables": []}, shape["body"], *shape["buttons"]]
    wanted = list(dict.fromkeys(each for part in parts for each in part["variables"]))
    try:
        made = preview_template(page.database, name, language=item["language"], row=typed)
    except BulksendError:
        return None
    return {"message": made, "wanted": wanted, "typed": typed}
