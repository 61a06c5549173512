"""The search box: whatever is pasted goes by POST, since it may be a number. The address has it sealed."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Response

from bulksend.messaging.units import counted
from bulksend.operations import campaigns, look_up, messages
from bulksend.operations.inbound import list_inbound
from bulksend.operations.look_up import Found
from bulksend.operations.messages import Filter
from bulksend.operations.suppressions import list_suppressions
from ops.web import sealed
from ops.web.forms import ViewerForm
from ops.web.pages import Page, ViewerPage, query

router = APIRouter()
SHOWN = 25


@router.post("/search")
def search(form: ViewerForm) -> Response:
    """To the only hit, or to the list of them. ``message``: the other messages of its person."""
    # Longer texts name nothing, and their address would be refused.
    page, text = form.page, look_up.cleaned(form.text("q"))
    of_message = form.optional("message")
    if of_message is not None:
        with page.database.read() as tx:
            text = str(messages.show(tx, of_message, page.services.cipher)["to"])
    elif text:
        found = _found(page, text)
        only = None if found.phone is not None and _of_person(page, found.phone) else _only(found)
        if only is not None:
            _record(page, found)
            return page.redirect(only)
    return page.redirect("/search" + query({"s": sealed.seal(text, page.token) if text else ""}))


@router.get("/search")
def results(
    page: ViewerPage, s: Annotated[str, Query(max_length=2000)] = "", after: str | None = None
) -> Response:
    """What a sealed text names, in groups."""
    text = sealed.unseal(s, page.token) if s else None
    if not text:
        return page.render("search.html", found=None, is_stale=bool(s), sealed=s, said_text="")
    found = _found(page, text, after)
    person = _of_person(page, found.phone) if found.phone is not None else {}
    with page.database.read() as tx:
        names = campaigns.names(tx, {item["campaign_id"] for item in found.messages.items})
    _record(page, found, is_person=bool(person))
    sees = page.user.sees_numbers
    return page.render(
        "search.html",
        found=found,
        items=found.messages.items if sees else [messages.masked(item) for item in found.messages.items],
        person=person,
        names=names,
        is_stale=False,
        sealed=s,
        after=after,
        said_text=look_up.cleaned(text) if sees else look_up.shown(look_up.cleaned(text)),
    )


def _found(page: Page, text: str, after: str | None = None) -> Found:
    region = page.services.settings.default_region
    with page.database.read() as tx:
        return look_up.look_up(tx, text, default_region=region, limit=SHOWN, after=after)


def _of_person(page: Page, phone: str) -> dict[str, list[dict[str, object]]]:
    """What there is of a person beside messages; empty where there is nothing."""
    replies = list_inbound(
        page.database, page.services.cipher, Filter(phone=phone), limit=5, full=page.user.sees_numbers
    ).items
    suppressed = list_suppressions(page.database, subject=phone).items
    return {"replies": replies, "suppressions": suppressed} if replies or suppressed else {}


def _record(page: Page, found: Found, *, is_person: bool = False) -> None:
    """That numbers, or what a person wrote, were read."""
    if found.messages.items or is_person:
        by = "phone" if found.phone is not None else "search"
        why = f"{counted(len(found.messages.items), 'message')} by {by}"
        page.note_reading("find messages", why=why)


def _only(found: Found) -> str | None:
    """The page of the only hit; None where there are several, or none."""
    if found.count != 1:
        return None
    for path, ids in (
        ("/messages/", [item["id"] for item in found.messages.items]),
        ("/campaigns/", [item["campaign_id"] for item in found.campaigns]),
        ("/templates/", found.templates),
        ("/senders/", [item["phone"] for item in found.senders]),
    ):
        if ids:
            return path + quote(str(ids[0]), safe="")
    return None
