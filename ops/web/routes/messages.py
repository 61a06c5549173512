"""Messages by filters, and the truth about one of them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from bulksend.bootstrap import working_limiter
from bulksend.errors import InvalidInput, MessageNotFound, WrongState
from bulksend.messaging import Kind, Status
from bulksend.messaging.states import ENDED
from bulksend.messaging.units import counted
from bulksend.operations import campaigns, messages, unknowns
from bulksend.operations.json_shape import checked_after, masked_texts
from bulksend.operations.message_story import code_of, looks, story
from bulksend.operations.messages import Filter
from bulksend.operations.why import Why, explain
from ops.http.services import REDIS_S
from ops.web.forms import OperatorForm
from ops.web.pages import Page, ViewerPage
from ops.web.problems import Problem, problem_of

router = APIRouter()
SHOWN = 50
RESOLUTIONS = ("accepted", "failed", "resend")


@router.get("/messages")
def message_list(
    page: ViewerPage,
    status: str = "",
    kind: str = "",
    campaign: Annotated[str, Query(max_length=200)] = "",
    sender: str = "",
    since: str = "",
    until: str = "",
    after: str | None = None,
) -> Response:
    """A page of them, newest first. The address holds the filter and the place in the list."""
    typed = {
        "status": status,
        "kind": kind,
        "campaign": campaign,
        "sender": sender,
        "since": since,
        "until": until,
    }
    wanted = Filter(
        **{name: value or None for name, value in typed.items()},
        default_region=page.services.settings.default_region,
        timezone=page.locale.zone,
    )
    values: dict[str, Any] = {
        "filter": typed,
        "after": after,
        "statuses": list(Status),
        "kinds": list(Kind),
        "problem": None,
    }
    try:
        with page.database.read() as tx:
            found = messages.find(tx, wanted, limit=SHOWN, before=checked_after(after))
            names = campaigns.names(tx, {item["campaign_id"] for item in found.items})
    except InvalidInput as error:
        problem = problem_of(error)
        nothing: dict[str, Any] = {"found": None, "items": [], "names": {}, "problem": problem}
        return page.render("messages.html", **values | nothing)
    if found.items:
        by = ", ".join(wanted.given) or "no filter"
        page.note_reading("find messages", why=f"{counted(len(found.items), 'message')} by {by}")
    items = found.items if page.user.sees_numbers else [messages.masked(item) for item in found.items]
    return page.render("messages.html", found=found, items=items, names=names, **values)


@router.get("/messages/{id}")
def message(id: str, page: ViewerPage) -> Response:
    """One message: how it stands, what holds it, what happened to it."""
    return _shown(page, id)


@router.post("/messages/{id}/resolve")
def resolve(id: str, form: OperatorForm) -> Response:
    """Say what became of a message that may have gone out."""
    page, as_, why = form.page, form.text("as"), form.text("why")
    try:
        with page.database.read() as tx:
            unknowns.check_allowed(tx, id, page.user.check_send)
        done = unknowns.resolve(page.database, [id], as_=as_, actor=page.user.actor, why=why)
        if done.refused:
            raise WrongState(done.refused[0]["why"])
    except MessageNotFound:
        raise
    except InvalidInput as error:
        return _shown(page, id, problem=problem_of(error), typed={"as": as_, "why": why})
    return page.redirect(f"/messages/{id}", "message.resolved." + as_)


def _shown(
    page: Page, id: str, *, problem: Problem | None = None, typed: dict[str, str] | None = None
) -> Response:
    with page.database.read() as tx:
        shown = messages.show(tx, id, page.services.cipher)
        look = looks(tx, shown) if page.user.sees_numbers else None
        name = campaigns.names(tx, {shown["campaign_id"]}).get(shown["campaign_id"], "")
    page.note_reading("show message", subject=shown["id"])
    held = None if Status(shown["status"]) in ENDED else _why(page, id)
    why = None if held is None else held.as_json()
    if not page.user.sees_numbers:
        shown, why = messages.masked(shown), masked_texts(why)
    return page.render(
        "message.html",
        message=shown,
        why=why,
        look=look,
        campaign_name=name,
        steps=story(shown),
        codes={attempt["n"]: code_of(attempt) for attempt in shown["attempts"]},
        problem=problem,
        typed=typed or {"as": "", "why": ""},
        resolutions=[each for each in RESOLUTIONS if each != "resend" or shown["kind"] != Kind.OTP],
    )


def _why(page: Page, id: str) -> Why:
    of, silent = page.services.settings, list[str]()
    return explain(
        page.database,
        working_limiter(of, page.database, silent.append, timeout_s=REDIS_S),
        id,
        account=of.account(),
        default_rate=of.default_rate,
        timezone=page.locale.zone,
        silent="".join(silent),
    )
