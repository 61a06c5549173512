"""One message: read it whole, settle an unknown one by hand, and what every ending does to its row."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, RowMapping, case, null, select, update

from bulksend.ledger import acts
from bulksend.ledger.database import db_now
from bulksend.ledger.schema import attempts, campaigns, messages, receipts
from bulksend.messaging.errors import InvalidInput
from bulksend.messaging.states import SENT, CampaignStatus, Kind, Status


class UnknownMessage(InvalidInput):
    """No message has that id."""


def wiped_payload() -> Any:
    """The payload of a message that ends: an OTP's code has no business in the ledger any longer."""
    return case((messages.c.kind == Kind.OTP.value, null()), else_=messages.c.payload)


def ending(status: Status) -> dict[str, Any]:
    """The columns every ending sets. ``accepted`` keeps a non-OTP payload, and so does ``unknown``."""
    return {
        "status": status.value,
        "owner": None,
        "gate": None,
        "gate_until": None,
        "ended_at": db_now(),
        "payload": wiped_payload(),
    }


def get(tx: Connection, id: str) -> RowMapping:
    """The whole row, payload left out. Raises UnknownMessage."""
    import uuid

    try:
        uuid.UUID(id)
    except ValueError:
        raise UnknownMessage(
            f"{id!r} is not a message id; find it by `bulksend messages find --phone|--message-id|--request-id`"
        ) from None
    columns = [c for c in messages.c if c.name not in ("payload", "fingerprint")]
    row = tx.execute(select(*columns).where(messages.c.id == id)).mappings().one_or_none()
    if row is None:
        raise UnknownMessage(f"there is no message {id}")
    return row


def attempts_of(tx: Connection, id: str) -> list[RowMapping]:
    """Its attempts, first to last."""
    return list(
        tx.execute(select(attempts).where(attempts.c.message_pk == id).order_by(attempts.c.n)).mappings()
    )


def receipts_of(tx: Connection, id: str) -> list[RowMapping]:
    """Its receipts in the order they came."""
    return list(
        tx.execute(select(receipts).where(receipts.c.message_pk == id).order_by(receipts.c.id)).mappings()
    )


def resolve(tx: Connection, id: str, *, as_: str, actor: str, why: str) -> Status:
    """A person settles an unknown message as ``accepted``, ``failed`` or ``resend``; says its new status.

    Raises InvalidInput for a message that is not unknown, and for an OTP to be sent again: the code is wiped,
    and its producer can make a new one.
    """
    row = get(tx, id)
    if as_ not in ("accepted", "failed", "resend"):
        raise InvalidInput(f"--as: {as_!r} is not one of accepted, failed, resend")
    if not why.strip():
        raise InvalidInput("--why: say why, it goes on record")
    if row["status"] != Status.UNKNOWN.value:
        raise InvalidInput(f"message {id} is {row['status']}, not unknown: there is nothing to resolve")
    if as_ == "resend" and row["kind"] == Kind.OTP.value:
        raise InvalidInput(
            f"message {id} is a one-time code: its content was wiped and a late code helps nobody; "
            "send a new code instead"
        )
    target = {"accepted": Status.ACCEPTED, "failed": Status.FAILED, "resend": Status.QUEUED}[as_]
    values: dict[str, Any] = {"status": target.value, "error": f"resolved as {as_}: {why}"[:500]}
    if target is Status.QUEUED:
        values |= {"due_at": db_now(), "ended_at": None, "owner": None}
    elif target is Status.ACCEPTED:
        values |= {"accepted_at": db_now()}
    changed = tx.execute(
        update(messages)
        .where(messages.c.id == id, messages.c.status == Status.UNKNOWN.value)
        .values(**values)
    ).rowcount
    if not changed:
        raise InvalidInput(f"message {id} was settled by something else meanwhile; look at it again")
    if target is Status.QUEUED:
        reopen_campaign(tx, row["campaign_id"])
    acts.record(tx, actor=actor, act=f"resolve as {as_}", scope="message", subject=id, why=why)
    return target


def reopen_campaign(tx: Connection, campaign_id: str) -> None:
    """A finished campaign runs again when one of its messages is queued again."""
    tx.execute(
        update(campaigns)
        .where(campaigns.c.id == campaign_id, campaigns.c.status == CampaignStatus.FINISHED.value)
        .values(status=CampaignStatus.RUNNING.value, ended_at=None)
    )


def is_sent(status: str) -> bool:
    """Whether the vendor surely has it."""
    return Status(status) in SENT
