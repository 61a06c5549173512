"""Senders (business numbers, which are public) and the vendor account: limits and pauses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from bulksend.ledger.database import Database
from bulksend.messaging import parse_sender
from bulksend.messaging.outcome import Scope
from bulksend.messaging.units import parse_rate
from bulksend.operations.access import Principal
from bulksend.operations.json_shape import masked_words, to_json
from bulksend.operations.limiter import set_flag
from bulksend.operations.senders import (
    change_sender,
    list_senders,
    set_paused,
    show_account,
    show_sender,
)
from ops.http.argument_formats import Phone, Quota, RatePerSecond, RateText
from ops.http.idempotency import Once, OneAnswer
from ops.http.services import Operator, Services, ServicesDep, Viewer
from simulator import REHEARSAL_ACCESS_KEY_ID

router = APIRouter(prefix="/v1", tags=["senders"])


class Why(BaseModel):
    """The reason of an act, for the operator log."""

    model_config = ConfigDict(extra="forbid")

    why: Annotated[str, Field(min_length=1, max_length=500)]


class SenderChange(BaseModel):
    """What to change; what is not given stays."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str | None, Field(max_length=100)] = None
    rate: Annotated[
        RatePerSecond | RateText | None, Field(description="Messages per second, 80 or 80/s.")
    ] = None
    quota: Annotated[
        Quota | Literal["none"] | None,
        Field(
            description="The account's quota: unique recipients per rolling 24 h over all senders; none: by its tier."
        ),
    ] = None


@router.get("/senders")
def get_senders(services: ServicesDep, principal: Viewer) -> dict[str, Any]:
    """Every sender on record. There are few: all are on one page."""
    found = {"items": [to_json(sender) for sender in list_senders(services.database)], "next": None}
    return found if principal.sees_numbers else masked_words(found)


@router.get("/senders/{phone}")
def get_one(phone: Phone, services: ServicesDep, principal: Viewer) -> dict[str, Any]:
    """One sender: its limits, whether it is paused, and its pace: less than 1 after the vendor throttled it."""
    found = show_sender(services.settings, services.database, _digits(services, phone))
    return found if principal.sees_numbers else masked_words(found)


@router.patch("/senders/{phone}")
def patch(phone: Phone, asked: SenderChange, services: ServicesDep, principal: Operator) -> dict[str, Any]:
    """Change a sender's rate or name, or the account's quota; workers apply it within seconds."""
    id = _digits(services, phone)
    principal.check_sender(id)
    if asked.quota is not None:
        principal.check_unlimited()
    sender = change_sender(
        services.database,
        id,
        actor=principal.actor,
        name=asked.name,
        rate=None if asked.rate is None else _rate(asked.rate),
        quota=None if asked.quota == "none" else asked.quota,
        no_quota=asked.quota == "none",
    )
    return to_json(sender)


@router.post("/senders/{phone}/pause")
def pause(phone: Phone, asked: Why, services: ServicesDep, principal: Operator, once: Once) -> Response:
    """Hold all messages of this sender."""
    return _set_sender_paused(services, principal, once, phone, True, asked.why)


@router.post("/senders/{phone}/resume")
def resume(phone: Phone, asked: Why, services: ServicesDep, principal: Operator, once: Once) -> Response:
    """Release the messages of this sender."""
    return _set_sender_paused(services, principal, once, phone, False, asked.why)


@router.get("/account", tags=["account"])
def get_account(services: ServicesDep, principal: Viewer) -> dict[str, Any]:
    """Whether the account is paused, the limits in force, how many messages are unknown, and the vendor's address."""
    shown = show_account(services.database, services.settings, rehearsal_key=REHEARSAL_ACCESS_KEY_ID)
    return shown if principal.sees_numbers else masked_words(shown)


@router.post("/account/pause", tags=["account"])
def pause_account(asked: Why, services: ServicesDep, principal: Operator, once: Once) -> Response:
    """Hold the messages of all senders and campaigns."""
    return _set_account_paused(services, principal, once, True, asked.why)


@router.post("/account/resume", tags=["account"])
def resume_account(asked: Why, services: ServicesDep, principal: Operator, once: Once) -> Response:
    """Release the messages of the account."""
    return _set_account_paused(services, principal, once, False, asked.why)


def _set_sender_paused(
    services: Services, principal: Principal, once: OneAnswer, phone: str, paused: bool, why: str
) -> Response:
    id = _digits(services, phone)
    principal.check_sender(id)
    return _set_paused(services, principal, once, Scope.SENDER, id, paused, why)


def _set_account_paused(
    services: Services, principal: Principal, once: OneAnswer, paused: bool, why: str
) -> Response:
    principal.check_unlimited()
    return _set_paused(services, principal, once, Scope.ACCOUNT, services.settings.account(), paused, why)


def _set_paused(
    services: Services, principal: Principal, once: OneAnswer, scope: Scope, id: str, paused: bool, why: str
) -> Response:
    def act(database: Database) -> dict[str, object]:
        # The limiter is told after the commit.
        return set_paused(database, lambda: None, scope, id, paused, actor=principal.actor, why=why).as_json()

    return once.answer(act, after=lambda: set_flag(services.limiter, scope, id, paused=paused))


def _digits(services: Services, phone: str) -> str:
    return parse_sender(phone[:64], default_region=services.settings.default_region, field="phone")


def _rate(rate: float | str) -> float:
    return parse_rate(rate if isinstance(rate, str) else f"{rate:.9f}", field="rate")
