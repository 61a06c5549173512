"""People who may sign in: add, reset, disable them, give them another role."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Response

from bulksend.errors import BulksendError, InvalidInput, WrongState
from bulksend.messaging import Kind
from bulksend.operations import users
from bulksend.operations.access import Role
from bulksend.operations.campaigns import NO_REASON
from bulksend.operations.json_shape import Page as Items
from bulksend.operations.senders import list_senders
from ops.web.forms import AdminForm, Form
from ops.web.pages import AdminPage, Page
from ops.web.problems import problem_of
from ops.web.secret_forms import answer_once, new_form

router = APIRouter(prefix="/users")

#: Users on a page.
USERS = 50
ROLES = [role.value for role in Role]


@router.get("")
def list_users(page: AdminPage, show: str = "", after: str | None = None) -> Response:
    """The users who may sign in, or all."""
    with page.database.read() as tx:
        every = users.list_users(tx)
    shown = every if show == "all" else [each for each in every if each["disabled_at"] is None]
    return page.render(
        "users.html",
        found=Items.part(shown, limit=USERS, after=after, by="name"),
        has_disabled=any(each["disabled_at"] for each in every),
        filter={"show": show if show == "all" else ""},
        after=after,
        once=new_form(),
    )


@router.get("/new")
def new(page: AdminPage) -> Response:
    """The form of a user to add."""
    return _form(page)


@router.post("")
def add(form: AdminForm) -> Response:
    """Add a user; the link that sets a first password is in this answer alone."""
    page = form.page
    page.user.check_unlimited()
    try:
        made = answer_once(
            form,
            lambda database: users.add_user(
                database,
                name=form.text("name"),
                role=form.text("role"),
                kinds=form.every("kinds"),
                senders=form.every("senders"),
                default_region=page.services.settings.default_region,
                actor=page.user.actor,
            ),
            secret=("setup_token",),
        )
    except InvalidInput as error:
        return _form(page, form, error)
    return _link_shown(page, made, "users.added")


@router.get("/{name}")
def show(page: AdminPage, name: str) -> Response:
    """A user, and what may be done with it."""
    with page.database.read() as tx:
        user = users.show_user(tx, name)
    return page.render("user.html", found=user, path_name=quote(name, safe=""), roles=ROLES, once=new_form())


@router.post("/{name}/reset")
def reset(form: AdminForm, name: str) -> Response:
    """Take password, lock and sessions away; a new link is in this answer alone."""
    page, why = form.page, form.optional("why") or NO_REASON
    page.user.check_unlimited()
    made = answer_once(
        form,
        lambda database: users.reset_user(database, name, actor=page.user.actor, why=why),
        secret=("setup_token",),
    )
    return _link_shown(page, made, "users.was_reset")


@router.post("/{name}/disable")
def disable(form: AdminForm, name: str) -> Response:
    """Refuse a user from now on, in all sessions too."""
    page = form.page
    _check_another(page, name)
    users.disable_user(page.database, name, actor=page.user.actor, why=form.optional("why") or NO_REASON)
    return page.redirect("/users", "users.was_disabled", name=name)


@router.post("/{name}/enable")
def enable(form: AdminForm, name: str) -> Response:
    """Let a disabled user of an issuer sign in again."""
    page = form.page
    page.user.check_unlimited()
    users.enable_user(page.database, name, actor=page.user.actor, why=form.optional("why") or NO_REASON)
    return page.redirect(f"/users/{quote(name, safe='')}", "users.was_enabled", name=name)


@router.post("/{name}/role")
def change_role(form: AdminForm, name: str) -> Response:
    """Give a user another role; it holds from the next request."""
    page = form.page
    page.user.check_unlimited()
    _check_another(page, name)
    why = form.optional("why") or NO_REASON
    done = users.change_role(page.database, name, form.text("role"), actor=page.user.actor, why=why)
    role = page.locale.word("role", done["role"])
    return page.redirect(f"/users/{quote(name, safe='')}", "users.role_changed", name=name, role=role)


def _check_another(page: Page, name: str) -> None:
    """An admin who is the only one would lock everyone out of this page. Raises WrongState."""
    if name == page.user.name:
        raise WrongState(
            "this is your own user: another admin may do it, or `bulksend users` at the terminal"
        )


def _form(page: Page, form: Form | None = None, error: BulksendError | None = None) -> Response:
    problem = None if error is None else problem_of(error)
    texts = {name: "" if form is None else form.text(name)[:100] for name in ("name", "role")}
    ticked = {name: [] if form is None else form.every(name) for name in ("kinds", "senders")}
    return page.render(
        "user_form.html",
        problem=problem,
        typed=texts | ticked,
        roles=ROLES,
        kinds=[kind.value for kind in Kind],
        senders=[each.phone for each in list_senders(page.database)],
        once=new_form(),
    )


def _link_shown(page: Page, made: dict[str, Any], title: str) -> Response:
    address, token = str(page.request.base_url).rstrip("/"), made["setup_token"]
    return page.render(
        "secret.html",
        title=title,
        about=made["name"],
        secrets=[("users.link", None if token is None else f"{address}/sign-in#{token}")],
        next_step="users.link_next",
        back="/users",
    )
