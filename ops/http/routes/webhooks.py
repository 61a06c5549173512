"""Webhooks: endpoints, their secrets, and the deliveries to them. Admins only."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from bulksend import bootstrap
from bulksend.messaging.webhook_bodies import CHOICES as EVENT_CHOICES
from bulksend.operations import webhooks
from bulksend.operations.campaigns import NO_REASON
from ops.http import argument_formats
from ops.http.argument_formats import AfterId, Instant, Limit, one_of
from ops.http.idempotency import Once
from ops.http.services import Admin, ServicesDep

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])
Events = Annotated[
    list[Annotated[str, one_of(EVENT_CHOICES)]],
    Field(max_length=40, description="Types or groups, such as message.delivered, campaign.*; empty: all."),
]
Url = Annotated[argument_formats.Url, Field(description="https://host/path of your program.")]
Numbers = Annotated[bool, Field(strict=True, description="Send phone numbers in full.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewWebhook(_Body):
    """An endpoint to add."""

    url: Url
    events: Events = []
    numbers: Numbers = False


class WebhookChange(_Body):
    """What to change; what is left out stays."""

    url: Url | None = None
    events: Events | None = None
    numbers: Numbers | None = None
    status: Literal["active", "disabled"] | None = None
    why: Annotated[str | None, Field(max_length=500, description="For the operator log.")] = None


class Replay(_Body):
    """Which deliveries to send again; without any of these, all that are dead."""

    ids: Annotated[list[Annotated[str, Field(max_length=40)]], Field(max_length=1000)] = []
    since: Annotated[Instant | None, Field(description="Made since then, ISO 8601.")] = None
    until: Annotated[Instant | None, Field(description="Made before then, ISO 8601.")] = None


@router.get("")
def list_webhooks(
    services: ServicesDep, principal: Admin, limit: Limit = 100, after: AfterId = None
) -> dict[str, Any]:
    """Every endpoint, without the query of its URL and without its secret, the oldest first."""
    with services.database.read() as tx:
        page = webhooks.list_endpoints(tx, after=after, limit=limit)
    return {"items": page.items, "next": page.next}


@router.post("", status_code=201)
def add(asked: NewWebhook, services: ServicesDep, principal: Admin, once: Once) -> Response:
    """Send events to a URL from now on. ``secret`` is shown once."""
    return once.answer(
        lambda database: webhooks.add(
            database,
            bootstrap.cipher(services.settings),
            asked.url,
            events=asked.events,
            numbers=asked.numbers,
            allowed=services.settings.webhook_networks(),
            actor=principal.actor,
        ),
        status=201,
        location="/v1/webhooks/{id}",
        secret=("secret",),
    )


@router.get("/{id}")
def show(id: str, services: ServicesDep, principal: Admin) -> dict[str, Any]:
    """One endpoint."""
    with services.database.read() as tx:
        return webhooks.show(tx, id)


@router.patch("/{id}")
def change(id: str, asked: WebhookChange, services: ServicesDep, principal: Admin) -> dict[str, Any]:
    """Change the URL, the events, the numbers; or disable and enable it. The secret stays."""
    shown = webhooks.change(
        services.database,
        bootstrap.cipher(services.settings),
        id,
        url=asked.url,
        events=asked.events,
        numbers=asked.numbers,
        allowed=services.settings.webhook_networks(),
        actor=principal.actor,
    )
    if asked.status is None:
        return shown
    active, why = asked.status == "active", asked.why or NO_REASON
    webhooks.set_active(services.database, id, active, actor=principal.actor, why=why)
    return show(id, services, principal)


@router.delete("/{id}", status_code=204)
def remove(id: str, services: ServicesDep, principal: Admin) -> None:
    """Forget an endpoint and its deliveries."""
    webhooks.remove(services.database, id, actor=principal.actor, why=NO_REASON)


@router.post("/{id}/secret")
def rotate(id: str, services: ServicesDep, principal: Admin, once: Once) -> Response:
    """Make a new secret, shown once. The one before it signs as well for 24 hours."""
    cipher = bootstrap.cipher(services.settings)
    return once.answer(
        lambda database: webhooks.rotate(database, cipher, id, actor=principal.actor), secret=("secret",)
    )


@router.post("/{id}/test", status_code=202)
def test(id: str, services: ServicesDep, principal: Admin, once: Once) -> Response:
    """Have a notifier send ``webhook.test``; the delivery shows the answer."""
    return once.answer(
        lambda database: webhooks.test(database, id, actor=principal.actor),
        status=202,
        location="/v1/webhooks/{endpoint_id}/deliveries",
    )


@router.get("/{id}/deliveries")
def deliveries(
    id: str,
    services: ServicesDep,
    principal: Admin,
    status: Annotated[Literal["pending", "delivered", "dead"] | None, Query()] = None,
    limit: Limit = 100,
    after: AfterId = None,
) -> dict[str, Any]:
    """What was sent to an endpoint, the newest first."""
    with services.database.read() as tx:
        page = webhooks.deliveries(tx, id, status=status, after=after, limit=limit)
    return {"items": page.items, "next": page.next}


@router.post("/{id}/replay")
def replay(id: str, asked: Replay, services: ServicesDep, principal: Admin, once: Once) -> Response:
    """Send deliveries again, each with its webhook-id: those of ``ids``, or all that are dead."""
    return once.answer(
        lambda database: {
            "replayed": webhooks.replay(
                database,
                id,
                ids=asked.ids,
                since=asked.since,
                until=asked.until,
                timezone=services.settings.timezone,
                actor=principal.actor,
            )
        }
    )
