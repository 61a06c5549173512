"""The operator log: who did what, to which object, when, from where, and why."""

from __future__ import annotations

import re
import time
from typing import Any

from fastapi import APIRouter, Response

from bulksend.errors import BulksendError, InvalidInput, InvalidValue
from bulksend.operations import acts
from bulksend.operations.acts import Sought
from ops.web.forms import AdminForm
from ops.web.pages import AdminPage, Page, query
from ops.web.problems import problem_of

router = APIRouter(prefix="/acts")

FILTERS = ("actor", "act", "scope", "subject", "since", "until", "readings")
#: Acts on a page.
ACTS = 50
_NUMBER = re.compile(r"\+?[\d\s().-]{7,}")


@router.get("")
def list_acts(
    page: AdminPage,
    actor: str = "",
    act: str = "",
    scope: str = "",
    subject: str = "",
    since: str = "",
    until: str = "",
    readings: str = "",
    after: str | None = None,
) -> Response:
    """Acts by a filter that stands in the address."""
    values = (actor, act, scope, subject, since, until, "1" if readings else "")
    return _show(page, dict(zip(FILTERS, values, strict=True)), after=after)


@router.post("")
def filter_acts(form: AdminForm) -> Response:
    """To the address of a filter. A form may hold a recipient's number by mistake, an address never does."""
    wanted = {name: form.text(name) for name in FILTERS}
    if _NUMBER.fullmatch(wanted["subject"]):
        if wanted["scope"] != "sender":
            why = "a recipient's number stands in no address; search for it in the box above, or under Suppressions"
            return _show(form.page, wanted | {"subject": ""}, error=InvalidValue("subject", "", why))
        wanted["subject"] = re.sub(r"\D", "", wanted["subject"])
    return form.page.redirect(f"/acts{query(wanted)}")


def _show(
    page: Page, wanted: dict[str, str], *, after: str | None = None, error: BulksendError | None = None
) -> Response:
    found: Any = None
    if error is None:
        try:
            found = _find(page, wanted, after)
        except InvalidInput as refused:
            error = refused
    problem = None if error is None else problem_of(error)
    return page.render(
        "acts.html",
        problem=problem,
        found=found,
        filter=wanted,
        after=after,
        scopes=acts.SCOPES,
        acts=acts.ACTS,
    )


def _find(page: Page, wanted: dict[str, str], after: str | None) -> Any:
    sought = acts.times(
        Sought(
            actor=wanted["actor"],
            act=wanted["act"],
            scope=wanted["scope"],
            subject=wanted["subject"],
            readings=bool(wanted["readings"]),
        ),
        wanted["since"],
        wanted["until"],
        timezone=page.locale.zone,
        now_ms=int(time.time() * 1000),
    )
    with page.database.read() as tx:
        return acts.find_acts(tx, sought, after=after, limit=ACTS)
