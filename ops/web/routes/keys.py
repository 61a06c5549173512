"""Keys of programs, and tokens of the address that receipts come to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Response

from bulksend.errors import BulksendError, InvalidInput
from bulksend.messaging import Kind
from bulksend.operations import api_keys, receipt_tokens
from bulksend.operations.access import Role
from bulksend.operations.campaigns import NO_REASON
from bulksend.operations.json_shape import Page as Items
from bulksend.operations.senders import list_senders
from ops.web.forms import AdminForm, Form
from ops.web.pages import AdminPage, Page
from ops.web.problems import problem_of
from ops.web.secret_forms import answer_once, new_form

router = APIRouter(prefix="/keys")

#: Keys on a page.
KEYS = 50


@router.get("")
def list_keys(page: AdminPage, show: str = "", after: str | None = None) -> Response:
    """The keys that live, or all; and the receipt tokens."""
    with page.database.read() as tx:
        keys, tokens = api_keys.list_keys(tx), receipt_tokens.list_tokens(tx)
    keys = [{**key, "status": _status(key)} for key in keys]
    tokens = [{**token, "status": "revoked" if token["revoked_at"] else "active"} for token in tokens]
    shown = keys if show == "all" else [key for key in keys if key["status"] == "active"]
    return page.render(
        "keys.html",
        found=Items.part(shown[::-1], limit=KEYS, after=after),
        has_ended=any(key["status"] != "active" for key in keys),
        tokens=tokens if show == "all" else [each for each in tokens if each["status"] == "active"],
        has_revoked_tokens=any(each["status"] != "active" for each in tokens),
        filter={"show": show if show == "all" else ""},
        after=after,
        once=new_form(),
    )


def _status(key: dict[str, Any]) -> str:
    if key["revoked_at"]:
        return "revoked"
    ends = key["expires_at"]
    return "expired" if ends and datetime.fromisoformat(ends) <= datetime.now(UTC) else "active"


@router.get("/new")
def new(page: AdminPage) -> Response:
    """The form of a key to add."""
    return _form(page)


@router.post("")
def add(form: AdminForm) -> Response:
    """Make a key, which is in this answer alone."""
    page = form.page
    page.user.check_unlimited()
    asked = api_keys.KeyRequest(
        name=form.text("name"),
        role=form.text("role"),
        kinds=form.every("kinds"),
        senders=form.every("senders"),
        expires=form.optional("expires"),
        default_region=page.services.settings.default_region,
        timezone=page.locale.zone,
    )
    try:
        made = answer_once(
            form,
            lambda database: api_keys.add_key(database, asked, actor=page.user.actor),
            secret=("key",),
        )
    except InvalidInput as error:
        return _form(page, form, error)
    return page.render(
        "secret.html",
        title="keys.added",
        about=made["name"],
        secrets=[("keys.key", made["key"])],
        next_step="keys.key_next",
        back="/keys",
    )


@router.post("/{id}/revoke")
def revoke(form: AdminForm, id: str) -> Response:
    """Refuse a key from now on: this process at once, every other within a second."""
    page = form.page
    api_keys.revoke_key(page.database, id, actor=page.user.actor, why=form.optional("why") or NO_REASON)
    page.services.keys.forget(id)
    return page.redirect("/keys", "keys.revoked")


@router.get("/receipt-tokens/new")
def new_token(page: AdminPage) -> Response:
    """The form of a receipt token to add."""
    return _token_form(page)


@router.post("/receipt-tokens")
def add_token(form: AdminForm) -> Response:
    """Make a receipt token; its address is in this answer alone."""
    page = form.page
    ips = form.text("ips").replace(",", " ").split()
    try:
        made = answer_once(
            form,
            lambda database: receipt_tokens.add_token(
                database, name=form.text("name"), ips=ips, actor=page.user.actor
            ),
            secret=("token", "path"),
        )
    except InvalidInput as error:
        return _token_form(page, form, error)
    return _token_shown(page, made, "keys.token_added")


@router.post("/receipt-tokens/{id}/rotate")
def rotate_token(form: AdminForm, id: str) -> Response:
    """Make another token like this one, which stays live until it is revoked."""
    page = form.page
    made = answer_once(
        form,
        lambda database: receipt_tokens.rotate_token(database, id, actor=page.user.actor),
        secret=("token", "path"),
    )
    return _token_shown(page, made, "keys.token_rotated")


@router.post("/receipt-tokens/{id}/revoke")
def revoke_token(form: AdminForm, id: str) -> Response:
    """Refuse what comes to the address of a token from now on."""
    page = form.page
    receipt_tokens.revoke_token(
        page.database, id, actor=page.user.actor, why=form.optional("why") or NO_REASON
    )
    return page.redirect("/keys", "keys.token_revoked")


def _form(page: Page, form: Form | None = None, error: BulksendError | None = None) -> Response:
    problem = None if error is None else problem_of(error)
    senders = [each.phone for each in list_senders(page.database)]
    texts = {name: "" if form is None else form.text(name) for name in ("name", "role", "expires")}
    ticked = {name: [] if form is None else form.every(name) for name in ("kinds", "senders")}
    return page.render(
        "key_form.html",
        problem=problem,
        typed=texts | ticked,
        roles=[role.value for role in Role],
        kinds=[kind.value for kind in Kind],
        senders=senders,
        once=new_form(),
    )


def _token_form(page: Page, form: Form | None = None, error: BulksendError | None = None) -> Response:
    problem = None if error is None else problem_of(error)
    return page.render(
        "receipt_token_form.html",
        problem=problem,
        typed={name: "" if form is None else form.text(name) for name in ("name", "ips")},
        once=new_form(),
    )


def _token_shown(page: Page, made: dict[str, Any], title: str) -> Response:
    address = str(page.request.base_url).rstrip("/")
    return page.render(
        "secret.html",
        title=title,
        about=made["name"],
        secrets=[("keys.callback", None if made["path"] is None else f"{address}{made['path']}")],
        next_step="keys.callback_next",
        back="/keys",
    )
