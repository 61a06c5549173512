"""Webhooks: endpoints, their secrets and states, and the deliveries to them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from bulksend import bootstrap
from bulksend.errors import BulksendError, InvalidInput, NotFound
from bulksend.messaging.webhook_bodies import CHOICES
from bulksend.operations import webhooks
from bulksend.operations.campaigns import NO_REASON
from ops.web.forms import AdminForm, Form
from ops.web.pages import AdminPage, Page
from ops.web.problems import problem_of
from ops.web.secret_forms import answer_once, new_form

router = APIRouter(prefix="/webhooks")

#: Endpoints and deliveries on a page.
ENDPOINTS, DELIVERIES = 20, 50
STATUSES = ("pending", "delivered", "dead")


@router.get("")
def list_webhooks(page: AdminPage, after: str | None = None) -> Response:
    """Endpoints with what each has done lately."""
    with page.database.read() as tx:
        found = webhooks.list_endpoints(tx, after=after, limit=ENDPOINTS)
        states = {each["id"]: webhooks.state(tx, each["id"]) for each in found.items}
    return page.render(
        "webhooks.html", found=found, states=states, after=after, most_waiting=webhooks.MOST_WAITING
    )


@router.get("/new")
def new(page: AdminPage) -> Response:
    """The form of an endpoint to add."""
    return _form(page)


@router.post("")
def add(form: AdminForm) -> Response:
    """Add an endpoint; its secret is in this answer alone."""
    page = form.page
    try:
        made = answer_once(
            form,
            lambda database: webhooks.add(
                database,
                bootstrap.cipher(page.services.settings),
                form.text("url"),
                events=form.every("events"),
                numbers=form.is_on("numbers"),
                allowed=page.services.settings.webhook_networks(),
                actor=page.user.actor,
            ),
            secret=("secret",),
        )
    except InvalidInput as error:
        return _form(page, form=form, error=error)
    return _secret(page, made, "webhooks.added")


@router.get("/{id}")
def show(page: AdminPage, id: str, status: str = "", after: str | None = None) -> Response:
    """An endpoint, and the deliveries to it."""
    return _show(page, id, status=status if status in STATUSES else "", after=after)


def _show(
    page: Page,
    id: str,
    *,
    status: str = "",
    after: str | None = None,
    error: BulksendError | None = None,
    typed: Form | None = None,
) -> Response:
    with page.database.read() as tx:
        endpoint, state = webhooks.show(tx, id), webhooks.state(tx, id)
        found = webhooks.deliveries(tx, id, status=status or None, after=after, limit=DELIVERIES)
    problem = None if error is None else problem_of(error)
    return page.render(
        "webhook.html",
        endpoint=endpoint,
        state=state,
        found=found,
        filter={"status": status},
        after=after,
        statuses=STATUSES,
        most_waiting=webhooks.MOST_WAITING,
        rotation_s=webhooks.ROTATION_MS // 1000,
        once=new_form(),
        problem=problem,
        typed={name: "" if typed is None else typed.text(name)[:40] for name in ("since", "until")},
    )


@router.get("/{id}/edit")
def edit(page: AdminPage, id: str) -> Response:
    """The form of an endpoint to change."""
    with page.database.read() as tx:
        endpoint = webhooks.show(tx, id)
    return _form(page, endpoint=endpoint)


@router.post("/{id}")
def change(form: AdminForm, id: str) -> Response:
    """Change the address where one is given, the events and the numbers; the secret stays."""
    page = form.page
    with page.database.read() as tx:
        endpoint = webhooks.show(tx, id)
    try:
        webhooks.change(
            page.database,
            bootstrap.cipher(page.services.settings),
            id,
            url=form.optional("url"),
            events=form.every("events"),
            numbers=form.is_on("numbers"),
            allowed=page.services.settings.webhook_networks(),
            actor=page.user.actor,
        )
    except InvalidInput as error:
        return _form(page, endpoint=endpoint, form=form, error=error)
    return page.redirect(f"/webhooks/{id}", "webhooks.changed")


@router.post("/{id}/secret")
def rotate(form: AdminForm, id: str) -> Response:
    """Make a new secret, which is in this answer alone; the old one signs for a day more."""
    page = form.page
    cipher = bootstrap.cipher(page.services.settings)
    made = answer_once(
        form,
        lambda database: webhooks.rotate(database, cipher, id, actor=page.user.actor),
        secret=("secret",),
    )
    return _secret(page, made, "webhooks.rotated")


@router.post("/{id}/test")
def test(form: AdminForm, id: str) -> Response:
    """Have a notifier send webhook.test, and show that delivery."""
    page = form.page
    try:
        made = webhooks.test(page.database, id, actor=page.user.actor)
    except InvalidInput as error:
        return _show(page, id, error=error)
    return page.redirect(f"/webhooks/{id}/deliveries/{made['id']}", "webhooks.tested")


@router.post("/{id}/disable")
def disable(form: AdminForm, id: str) -> Response:
    """Stop sending; the place among the events is kept."""
    return _set_active(form, id, False)


@router.post("/{id}/enable")
def enable(form: AdminForm, id: str) -> Response:
    """Send again, from where it stopped."""
    return _set_active(form, id, True)


def _set_active(form: Form, id: str, active: bool) -> Response:
    page = form.page
    why = form.optional("why") or NO_REASON
    webhooks.set_active(page.database, id, active, actor=page.user.actor, why=why)
    return page.redirect(f"/webhooks/{id}", "webhooks.enabled" if active else "webhooks.disabled")


@router.post("/{id}/remove")
def remove(form: AdminForm, id: str) -> Response:
    """Forget an endpoint and its deliveries."""
    page = form.page
    webhooks.remove(page.database, id, actor=page.user.actor, why=form.optional("why") or NO_REASON)
    return page.redirect("/webhooks", "webhooks.removed")


@router.post("/{id}/replay")
def replay(form: AdminForm, id: str) -> Response:
    """Send those that were ticked again; without any, all that are dead, within the times where given."""
    page, ids = form.page, form.every("ids")
    if form.is_on("ticked") and not ids:
        return _show(page, id, error=InvalidInput("tick the deliveries to send again"))
    try:
        count = webhooks.replay(
            page.database,
            id,
            ids=ids,
            since=form.optional("since"),
            until=form.optional("until"),
            timezone=page.locale.zone,
            actor=page.user.actor,
        )
    except InvalidInput as error:
        return _show(page, id, error=error, typed=form)
    return page.redirect(f"/webhooks/{id}", "webhooks.replayed", count=count)


@router.get("/{id}/deliveries/{delivery}")
def show_delivery(page: AdminPage, id: str, delivery: str) -> Response:
    """One delivery, with its tries."""
    with page.database.read() as tx:
        endpoint, found = webhooks.show(tx, id), webhooks.delivery(tx, delivery)
    if found["endpoint_id"] != id:
        raise NotFound("this delivery is to another endpoint")
    return page.render(
        "webhook_delivery.html",
        endpoint=endpoint,
        found=found,
        most_tries=webhooks.MOST_TRIES,
        tries_kept=webhooks.TRIES_KEPT,
    )


def _form(
    page: Page,
    *,
    endpoint: dict[str, Any] | None = None,
    form: Form | None = None,
    error: BulksendError | None = None,
) -> Response:
    problem = None if error is None else problem_of(error)
    if form is not None:
        typed = {"url": form.text("url"), "events": form.every("events"), "numbers": form.is_on("numbers")}
    elif endpoint is not None:
        typed = {"url": "", "events": endpoint["events"], "numbers": endpoint["numbers"]}
    else:
        typed = {"url": "", "events": [], "numbers": False}
    return page.render(
        "webhook_form.html",
        endpoint=endpoint,
        typed=typed,
        choices=[(each, each) for each in CHOICES],
        problem=problem,
        once=new_form(),
    )


def _secret(page: Page, made: dict[str, Any], title: str) -> Response:
    return page.render(
        "secret.html",
        title=title,
        about=made["url"],
        secrets=[("webhooks.secret", made["secret"])],
        next_step="webhooks.secret_next",
        back=f"/webhooks/{made['id']}",
    )
