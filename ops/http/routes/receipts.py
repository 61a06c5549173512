"""Receipts that were taken in: what did not find its message or could not be read, and reading it again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from bulksend.operations import receipts
from bulksend.operations.access import Role, record_reading
from bulksend.operations.callbacks import CallbackRules
from ops.http.argument_formats import After, Limit
from ops.http.idempotency import Once
from ops.http.services import Operator, ServicesDep, Viewer

router = APIRouter(prefix="/v1/receipts", tags=["receipts"])


@router.get("")
def list_receipts(
    services: ServicesDep,
    principal: Viewer,
    state: Annotated[
        Literal["orphan", "unreadable"] | None,
        Query(description="orphan: their message is not known; unreadable: callbacks that were set aside."),
    ] = None,
    bodies: Annotated[bool, Query(description="With the bodies of unreadable ones; for operators.")] = False,
    limit: Limit = 100,
    after: After = None,
) -> dict[str, Any]:
    """Receipts, newest first."""
    if bodies:
        principal.check_role(Role.OPERATOR)
    page = receipts.list_receipts(
        services.database, services.cipher, state=state, limit=limit, after=after, bodies=bodies
    )
    if bodies and page.items:
        record_reading(services.database, principal, "read callbacks", why=f"{len(page.items)} unreadable")
    return asdict(page)


@router.post("/reparse")
def reparse(services: ServicesDep, principal: Operator, once: Once) -> Response:
    """Read callbacks again that were set aside, e.g. after an update.

    Up to 10,000 at a time; with an Idempotency-Key 500, in one transaction with the answer.
    """
    rules = CallbackRules.from_settings(services.settings, services.cipher)
    return once.answer(
        lambda database: receipts.reparse(database, rules, actor=principal.actor).as_json(),
    )
