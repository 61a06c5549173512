"""Tokens of the address that receipts come to. Two or more may be live, so that one replaces another without a gap."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from bulksend.operations import receipt_tokens
from bulksend.operations.campaigns import NO_REASON
from bulksend.operations.json_shape import Page
from ops.http.argument_formats import After, Limit, Name, Network
from ops.http.idempotency import Once
from ops.http.routes.keys import Why
from ops.http.services import Admin, ServicesDep

router = APIRouter(prefix="/v1/receipt-tokens", tags=["receipt tokens"])


class NewToken(BaseModel):
    """A token that is asked for."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Name, Field(description="Where its address is set.")]
    ips: Annotated[
        list[Network],
        Field(max_length=100, description="Addresses and networks that may use it; without: all."),
    ] = []


@router.get("")
def list_tokens(
    services: ServicesDep, principal: Admin, limit: Limit = 100, after: After = None
) -> dict[str, Any]:
    """Every token, without its secret, the oldest first."""
    with services.database.read() as tx:
        return asdict(Page.part(receipt_tokens.list_tokens(tx), limit=limit, after=after))


@router.post("", status_code=201)
def add(asked: NewToken, services: ServicesDep, principal: Admin, once: Once) -> Response:
    """Make a token. `token`, and `path`, the address that has it, are shown in this answer only."""
    return once.answer(
        lambda database: receipt_tokens.add_token(
            database, name=asked.name, ips=asked.ips, actor=principal.actor
        ),
        status=201,
        location="/v1/receipt-tokens/{id}",
        secret=("token", "path"),
    )


@router.get("/{id}")
def show(id: str, services: ServicesDep, principal: Admin) -> dict[str, Any]:
    """One token, without its secret."""
    with services.database.read() as tx:
        return receipt_tokens.show_token(tx, id)


@router.delete("/{id}")
def revoke(id: str, services: ServicesDep, principal: Admin, why: Why = NO_REASON) -> dict[str, Any]:
    """Refuse what comes to its address from now on; every serving process does so within a second."""
    return receipt_tokens.revoke_token(services.database, id, actor=principal.actor, why=why)
