"""Senders and the account: how fast they send, what slows or holds them, and what an operator may change."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from bulksend.errors import BulksendError, InvalidValue, SenderNotFound
from bulksend.messaging import parse_sender
from bulksend.messaging.outcome import Scope
from bulksend.messaging.units import parse_rate
from bulksend.operations.json_shape import masked_words
from bulksend.operations.sender_pages import sender_now, senders_now
from bulksend.operations.senders import change_sender, parse_quota, set_paused, show_account
from ops.web.forms import Form, OperatorForm
from ops.web.pages import Page, ViewerPage
from ops.web.problems import Problem, problem_of
from simulator import REHEARSAL_ACCESS_KEY_ID

router = APIRouter()


@router.get("/senders")
def senders(page: ViewerPage) -> Response:
    """Every sender: there are few."""
    return _list(page)


@router.post("/senders")
def add(form: OperatorForm) -> Response:
    """Put a sender on record."""
    page, services = form.page, form.page.services
    typed = {name: form.text(name) for name in ("phone", "rate", "name")}
    try:
        phone = parse_sender(
            typed["phone"][:64], default_region=services.settings.default_region, field="phone"
        )
        page.user.check_sender(phone)
        change_sender(
            page.database,
            phone,
            actor=page.user.actor,
            register_at=services.settings.default_rate,
            name=typed["name"] or None,
            rate=parse_rate(typed["rate"], field="rate") if typed["rate"] else None,
        )
    except InvalidValue as error:
        return _list(page, problem_of(error), typed)
    return page.redirect(f"/senders/{phone}", "senders.added", phone=f"+{phone}")


def _list(page: Page, problem: Problem | None = None, typed: dict[str, str] | None = None) -> Response:
    services = page.services
    found = senders_now(services.settings, page.database, services.limiter)
    account = show_account(page.database, services.settings, rehearsal_key=REHEARSAL_ACCESS_KEY_ID)
    if not page.user.sees_numbers:
        found, account = masked_words(found), masked_words(account)
    return page.render(
        "senders.html",
        found=found,
        account=account,
        problem=problem,
        typed=typed or {"phone": "", "rate": "", "name": ""},
    )


@router.get("/senders/{phone}")
def sender(page: ViewerPage, phone: str) -> Response:
    """One of them."""
    return _one(page, _digits(phone))


def _one(
    page: Page, phone: str, problem: Problem | None = None, typed: dict[str, str] | None = None
) -> Response:
    services = page.services
    found: dict[str, Any] = sender_now(services.settings, page.database, services.limiter, phone)
    if not page.user.sees_numbers:
        found = masked_words(found)
    now = {
        "name": found["name"],
        "rate": f"{found['rate']:g}/s",
        "quota": "" if found["quota"] is None else str(found["quota"]),
    }
    return page.render(
        "sender.html",
        found=found,
        problem=problem,
        typed=typed or now,
    )


@router.post("/senders/{phone}/settings")
def change(phone: str, form: OperatorForm) -> Response:
    """Change what of rate, name and the account's quota is not as it is."""
    page, id = form.page, _digits(phone)
    page.user.check_sender(id)
    typed = {name: form.text(name) for name in ("rate", "name", "quota")}
    try:
        now = change_sender(page.database, id, actor=page.user.actor)
        rate = parse_rate(typed["rate"], field="rate")
        quota = parse_quota(typed["quota"] or "none", field="quota")
        if quota != now.quota:
            page.user.check_unlimited()
        change_sender(
            page.database,
            id,
            actor=page.user.actor,
            name=None if typed["name"] == now.name else typed["name"],
            rate=None if rate == now.rate else rate,
            quota=None if quota == now.quota else quota,
            no_quota=quota is None and now.quota is not None,
        )
    except InvalidValue as error:
        return _one(page, id, problem_of(error), typed)
    return page.redirect(f"/senders/{id}", "senders.changed", phone=f"+{id}")


@router.post("/senders/{phone}/pause")
def pause(phone: str, form: OperatorForm) -> Response:
    """Hold its messages."""
    return _set_sender_paused(form, phone, True)


@router.post("/senders/{phone}/resume")
def resume(phone: str, form: OperatorForm) -> Response:
    """Release them."""
    return _set_sender_paused(form, phone, False)


def _set_sender_paused(form: Form, phone: str, paused: bool) -> Response:
    page, id = form.page, _digits(phone)
    page.user.check_sender(id)
    try:
        _set_paused(form, Scope.SENDER, id, paused)
    except SenderNotFound:
        raise
    except BulksendError as error:
        return _one(page, id, problem_of(error))
    said = "senders.said.paused" if paused else "senders.said.resumed"
    return page.redirect(f"/senders/{id}", said, phone=f"+{id}")


@router.post("/account/pause")
def pause_account(form: OperatorForm) -> Response:
    """Hold everything."""
    return _set_account_paused(form, True)


@router.post("/account/resume")
def resume_account(form: OperatorForm) -> Response:
    """Release everything."""
    return _set_account_paused(form, False)


def _set_account_paused(form: Form, paused: bool) -> Response:
    page = form.page
    page.user.check_unlimited()
    try:
        _set_paused(form, Scope.ACCOUNT, page.services.settings.account(), paused)
    except InvalidValue as error:
        return _list(page, problem_of(error))
    return page.redirect(
        "/senders", "senders.said.account_paused" if paused else "senders.said.account_resumed"
    )


def _set_paused(form: Form, scope: Scope, id: str, paused: bool) -> None:
    """Raises InvalidValue without a reason."""
    page, why = form.page, form.required("why")
    set_paused(page.database, page.services.limiter, scope, id, paused, actor=page.user.actor, why=why)


def _digits(phone: str) -> str:
    """The number in an address. Raises SenderNotFound."""
    if not (phone.isascii() and phone.isdigit() and len(phone) <= 20):
        raise SenderNotFound("there is no such sender")
    return phone
