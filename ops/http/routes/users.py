"""People who may sign in: add, list, reset, disable and enable them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from bulksend.operations import users
from bulksend.operations.access import Role
from bulksend.operations.campaigns import NO_REASON
from bulksend.operations.json_shape import Page
from ops.http.argument_formats import After, Limit, UserName
from ops.http.idempotency import Once
from ops.http.routes.keys import Kinds, Senders, Why
from ops.http.services import Admin, ServicesDep

router = APIRouter(prefix="/v1/users", tags=["users"])


class NewUser(BaseModel):
    """A user without a password. Without `kinds` or `senders` it may use all of them."""

    model_config = ConfigDict(extra="forbid")

    name: UserName
    role: Annotated[Role, Field(description="viewer, sender, operator or admin.")]
    kinds: Kinds = []
    senders: Senders = []


@router.get("")
def list_users(
    services: ServicesDep, principal: Admin, limit: Limit = 100, after: After = None
) -> dict[str, Any]:
    """Every user, by name."""
    with services.database.read() as tx:
        return asdict(Page.part(users.list_users(tx), limit=limit, after=after, by="name"))


@router.post("", status_code=201)
def add(asked: NewUser, services: ServicesDep, principal: Admin, once: Once) -> Response:
    """Add a user. `setup_token`, shown in this answer only, sets the first password within a day.

    Needs a key for all kinds and senders.
    """
    principal.check_unlimited()
    return once.answer(
        lambda database: users.add_user(
            database,
            name=asked.name,
            role=asked.role,
            kinds=asked.kinds,
            senders=asked.senders,
            default_region=services.settings.default_region,
            actor=principal.actor,
        ),
        status=201,
        location="/v1/users/{name}",
        secret=("setup_token",),
    )


@router.get("/{name}")
def show(name: str, services: ServicesDep, principal: Admin) -> dict[str, Any]:
    """One user."""
    with services.database.read() as tx:
        return users.show_user(tx, name)


@router.post("/{name}/reset")
def reset(name: str, services: ServicesDep, principal: Admin, once: Once, why: Why = NO_REASON) -> Response:
    """Take a user's password and lock away; the answer has another `setup_token`.

    Needs a key for all kinds and senders.
    """
    principal.check_unlimited()
    return once.answer(
        lambda database: users.reset_user(database, name, actor=principal.actor, why=why),
        secret=("setup_token",),
    )


@router.delete("/{name}")
def disable(name: str, services: ServicesDep, principal: Admin, why: Why = NO_REASON) -> dict[str, Any]:
    """Refuse a user from now on."""
    return users.disable_user(services.database, name, actor=principal.actor, why=why)


@router.post("/{name}/enable")
def enable(name: str, services: ServicesDep, principal: Admin, once: Once, why: Why = NO_REASON) -> Response:
    """Let a disabled user of an OpenID provider sign in there again.

    Needs a key for all kinds and senders.
    """
    principal.check_unlimited()
    return once.answer(lambda database: users.enable_user(database, name, actor=principal.actor, why=why))
