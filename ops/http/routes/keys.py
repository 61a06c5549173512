"""Keys of programs: make, list and revoke them. And what a key says of itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from bulksend.messaging import Kind
from bulksend.operations import api_keys
from bulksend.operations.access import Role
from bulksend.operations.campaigns import NO_REASON
from bulksend.operations.json_shape import Page
from ops.http.argument_formats import After, Instant, Limit, Name, Phone, one_of
from ops.http.idempotency import Once
from ops.http.services import Admin, ServicesDep, SignedIn

router = APIRouter(tags=["keys"])

#: Parameters of every short list.
Why = Annotated[str, Query(max_length=500, description="The reason, for the operator log.")]


#: What a key or a user may send, and from which senders.
Kinds = Annotated[list[Annotated[str, one_of(Kind)]], Field(max_length=10, description="Kinds it may send.")]
Senders = Annotated[list[Phone], Field(max_length=1000, description="Senders it may use.")]


class NewKey(BaseModel):
    """A key that is asked for. Without `kinds` or `senders` it may use all of them."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Name, Field(description="The program that uses it.")]
    role: Annotated[Role, Field(description="viewer, sender, operator or admin.")]
    kinds: Kinds = []
    senders: Senders = []
    expires: Annotated[Instant | None, Field(description="ISO 8601; without: never.")] = None


@router.get("/v1/me")
def me(principal: SignedIn) -> dict[str, Any]:
    """The key that asks: its role, kinds and senders, and the address it comes from."""
    return principal.as_json()


@router.get("/v1/keys")
def list_keys(
    services: ServicesDep, principal: Admin, limit: Limit = 100, after: After = None
) -> dict[str, Any]:
    """Every key, without its secret, the oldest first."""
    with services.database.read() as tx:
        return asdict(Page.part(api_keys.list_keys(tx), limit=limit, after=after))


@router.post("/v1/keys", status_code=201)
def add(asked: NewKey, services: ServicesDep, principal: Admin, once: Once) -> Response:
    """Make a key. `key` is shown in this answer only. Needs a key for all kinds and senders."""
    principal.check_unlimited()
    wanted = api_keys.KeyRequest(
        name=asked.name,
        role=asked.role,
        kinds=asked.kinds,
        senders=asked.senders,
        expires=asked.expires,
        default_region=services.settings.default_region,
        timezone=services.settings.timezone,
    )
    return once.answer(
        lambda database: api_keys.add_key(database, wanted, actor=principal.actor),
        status=201,
        location="/v1/keys/{id}",
        secret=("key",),
    )


@router.get("/v1/keys/{id}")
def show(id: str, services: ServicesDep, principal: Admin) -> dict[str, Any]:
    """One key, without its secret."""
    with services.database.read() as tx:
        return api_keys.show_key(tx, id)


@router.delete("/v1/keys/{id}")
def revoke(id: str, services: ServicesDep, principal: Admin, why: Why = NO_REASON) -> dict[str, Any]:
    """Refuse a key from now on: this process at once, every other within a second."""
    revoked = api_keys.revoke_key(services.database, id, actor=principal.actor, why=why)
    services.keys.forget(id)
    return revoked
