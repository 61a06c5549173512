"""Exports: files of messages, refused rows or people, written in the background."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Response

from bulksend.errors import BulksendError, InvalidValue
from bulksend.messaging import Status
from bulksend.operations import campaigns, exports
from bulksend.operations.access import Role
from bulksend.operations.messages import Filter
from ops.export_files import FORMATS, check_fits, checked_format
from ops.http.routes.exports import file_of
from ops.web.forms import Form, ViewerForm
from ops.web.pages import Page, ViewerPage
from ops.web.problems import Problem, problem_of

router = APIRouter(prefix="/exports")
SHOWN = 25
AUDIENCE = "audience:"
WHAT = (
    "messages",
    "refused",
    *(f"{AUDIENCE}{of}" for of in ("undelivered", "unread", "unsent", "all", "code")),
)
FIELDS = ("campaign", "what", "code", "format", "status", "since", "until")


@router.get("")
def listed(
    page: ViewerPage, campaign: str = "", what: str = "messages", after: str | None = None
) -> Response:
    """The exports, and a form for another one: ``campaign`` and ``what`` fill it in."""
    is_people = what.startswith(AUDIENCE)
    given = dict.fromkeys(FIELDS, "") | {"format": "xlsx" if is_people else "csv", "campaign": campaign}
    return _page(page, given | {"what": what if what in WHAT else "messages"}, after=after)


def _page(
    page: Page,
    typed: dict[str, str],
    *,
    full: bool = False,
    after: str | None = None,
    problem: Problem | None = None,
) -> Response:
    found = exports.list_exports(page.database, page.user, limit=SHOWN, after=after)
    with page.database.read() as tx:
        names = campaigns.names(tx, [each["campaign_id"] for each in found.items if each["campaign_id"]])
    kinds = [each for each in WHAT if page.may(Role.SENDER) or not each.startswith(AUDIENCE)]
    return page.render(
        "exports.html",
        found=found,
        names=names,
        typed=typed,
        full=full,
        after=after,
        problem=problem,
        kinds=_choices(page, "exports.what.", kinds),
        formats=_choices(page, "exports.format.", [ending.lstrip(".") for ending in FORMATS]),
        statuses=list(Status),
    )


def _choices(page: Page, keys: str, values: Sequence[str]) -> list[tuple[str, str]]:
    """Each value with its text, whose key begins with ``keys``."""
    return [(value, page.locale.t(keys + value)) for value in values]


@router.post("")
def begin(form: ViewerForm) -> Response:
    """Have a file written."""
    page = form.page
    try:
        _request(form)
    except BulksendError as error:
        typed = {name: form.text(name) for name in FIELDS}
        return _page(page, typed, full=form.is_on("full"), problem=problem_of(error))
    page.services.jobs.wake(exports.KIND)
    return page.redirect("/exports", "exports.said")


def _request(form: Form) -> dict[str, Any]:
    page, what = form.page, form.text("what", "messages")
    if what not in WHAT:
        raise InvalidValue("what", what[:40], "is none of the choices")
    audience = what.removeprefix(AUDIENCE) if what.startswith(AUDIENCE) else None
    if audience == "code":
        audience = f"code={form.text('code')}"
    ending = f".{form.text('format', 'csv')}"
    checked_format(ending, field="format")
    wanted = Filter(
        **{name: form.optional(name) for name in ("campaign", "status", "since", "until")},
        default_region=page.services.settings.default_region,
        timezone=page.locale.zone,
    )
    return exports.request_export(
        page.database,
        page.user,
        wanted,
        format=ending.lstrip("."),
        refused=what == "refused",
        masked=audience is None and not form.is_on("full"),
        audience=audience,
        check_fits=lambda rows: check_fits(ending, rows, "format"),
    )


@router.get("/{id}/file")
def file(id: str, page: ViewerPage) -> Response:
    """The file, for its requester and for admins."""
    return file_of(page.request, page.services, page.user, id)
