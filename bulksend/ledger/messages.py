"""One message: read it with its attempts and receipts, and resolve an unknown one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, select, update

from bulksend.errors import InvalidInput, InvalidValue, MessageNotFound
from bulksend.ledger import in_flight, operator_log
from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.campaigns import reopen
from bulksend.ledger.clock import current_ms, read_clock
from bulksend.ledger.database import among, count_up_to
from bulksend.ledger.ids import is_id
from bulksend.ledger.schema import attempts, campaigns, messages, receipts
from bulksend.messaging.masking import mask_digits
from bulksend.messaging.sentences import Sentence, say
from bulksend.messaging.states import CampaignStatus, Kind, Status

#: The ways in which a person may resolve an unknown message, and its new status.
RESOLUTIONS = {"accepted": Status.ACCEPTED, "failed": Status.FAILED, "resend": Status.QUEUED}


def get(tx: Connection, id: str) -> RowMapping:
    """The row, without payload and fingerprint; ``id`` may be in capitals. Raises MessageNotFound if there is none."""
    if not is_id(id):
        raise MessageNotFound(
            f"{mask_digits(id[:40])!r} is not a message id; find it by "
            "`bulksend messages find --phone|--message-id|--request-id`"
        )
    names = [c.name for c in messages.c if c.name not in ("payload", "fingerprint")]
    row = tx.execute(select(*in_flight.shown(names)).where(messages.c.id == id)).mappings().one_or_none()
    if row is None:
        raise MessageNotFound(f"there is no message {id}")
    return row


def statuses(tx: Connection, ids: Sequence[str]) -> dict[str, Status]:
    """The status of each of these messages that exists."""
    rows = tx.execute(select(*in_flight.shown(("id", "status"))).where(among(tx, messages.c.id, ids)))
    return {str(id): Status(status) for id, status in rows}


def id_of(tx: Connection, campaign_id: str, key: str) -> str | None:
    """The message that has a key in a campaign; None where there is none."""
    is_it = (messages.c.campaign_id == campaign_id) & (messages.c.key == storable(key, 200))
    id = tx.execute(select(messages.c.id).where(is_it)).scalar_one_or_none()
    return None if id is None else str(id)


def payload_of(tx: Connection, id: str) -> bytes | None:
    """The payload of a message, clear or encrypted; None once wiped."""
    stored = tx.execute(select(messages.c.payload).where(messages.c.id == id)).scalar_one()
    return None if stored is None else bytes(stored)


def attempts_of(tx: Connection, id: str) -> list[RowMapping]:
    """The attempts of a message, first to last; the outcome of one that is open is None."""
    ended = tx.execute(select(attempts).where(attempts.c.message_pk == id).order_by(attempts.c.n)).mappings()
    return [*ended, *tx.execute(in_flight.open_attempt_of(id)).mappings()]


def count_ahead(tx: Connection, row: RowMapping, limit: int) -> int:
    """How many messages of its campaign are sent before this one, counted up to ``limit``."""
    due = messages.c.due_at
    before = select(messages.c.id).where(
        messages.c.campaign_id == row["campaign_id"],
        messages.c.status.in_(["queued", "retry"]),
        ~in_flight.IS_OPEN,
        (due < row["due_at"]) | ((due == row["due_at"]) & (messages.c.id < row["id"])),
    )
    return count_up_to(tx, limit, before)


def receipts_of(tx: Connection, id: str) -> list[RowMapping]:
    """The receipts of a message, in the order in which they came."""
    return list(
        tx.execute(select(receipts).where(receipts.c.message_pk == id).order_by(receipts.c.id)).mappings()
    )


def _resolved_as(as_: str, why: str) -> Sentence:
    if as_ == "accepted":
        return say("resolved as accepted: {why}", why=why)
    if as_ == "failed":
        return say("resolved as failed: {why}", why=why)
    return say("resolved as resend: {why}", why=why)


def resolve(tx: Connection, id: str, *, as_: str, actor: str, why: str) -> Status:
    """Resolve an unknown message as ``accepted``, ``failed`` or ``resend``; returns its new status.

    Raises MessageNotFound, and InvalidInput as ``check_resolution`` and ``check_resolve`` or when the message was
    settled meanwhile.
    """
    check_resolution(as_, why)
    row = check_resolve(tx, id, as_=as_)
    target = RESOLUTIONS[as_]
    values: dict[str, Any] = {"status": target.value, "error": storable(_resolved_as(as_, why), 500)}
    if target is Status.QUEUED:
        values |= {"due_at": current_ms(), "ended_at": None}
    elif target is Status.ACCEPTED:
        values |= {"accepted_at": current_ms()}
    changed = tx.execute(
        update(messages)
        .where(messages.c.id == id, messages.c.status == Status.UNKNOWN.value)
        .values(**values)
    ).rowcount
    if not changed:
        raise InvalidInput(f"message {id} was settled by another process meanwhile; look at it again")
    if target is Status.QUEUED:
        reopen(tx, [row["campaign_id"]])
    operator_log.record(
        tx,
        actor=actor,
        act=f"resolve as {as_}",
        scope="message",
        subject=id,
        why=why,
        before={"status": Status.UNKNOWN},
        after={"status": target},
    )
    return target


def check_resolution(as_: str, why: str) -> None:
    """Raises InvalidValue when ``as_`` is not one of RESOLUTIONS or no reason is given."""
    if as_ not in RESOLUTIONS:
        raise InvalidValue("as", as_[:40], f"is not one of {', '.join(RESOLUTIONS)}")
    if not why.strip():
        raise InvalidValue("why", "", "is empty; give the reason, for the operator log")


def check_resolve(tx: Connection, id: str, *, as_: str) -> RowMapping:
    """The message to resolve. Raises MessageNotFound, and InvalidInput when it is not unknown.

    Raises InvalidInput also for a resend of an OTP, whose code is wiped, of a message whose content was deleted, of one
    of a cancelled campaign and of one whose time to live has passed.
    """
    row = get(tx, id)
    if row["status"] != Status.UNKNOWN.value:
        raise InvalidInput(f"message {id} is {row['status']}, not unknown: there is nothing to resolve")
    if as_ == "resend" and row["kind"] == Kind.OTP.value:
        raise InvalidInput(
            f"message {id} is a one-time code: its content was wiped and an old code is useless; "
            "send a new code instead"
        )
    if as_ == "resend" and payload_of(tx, id) is None:
        raise InvalidInput(
            f"the content of message {id} was deleted, by its age or because the person was forgotten; "
            "it cannot be sent"
        )
    if as_ == "resend" and _is_cancelled(tx, row["campaign_id"]):
        raise InvalidInput(f"the campaign of message {id} is cancelled: its messages are not sent any more")
    if as_ == "resend" and row["expires_at"] is not None and row["expires_at"] <= read_clock(tx):
        raise InvalidInput(f"the time to live of message {id} has passed: it is not sent any more")
    return row


def was_resolved_as(tx: Connection, id: str, as_: str) -> bool:
    """Whether the newest resolution of the message is ``as_``, so that repeating it is no error."""
    decided = [act.act for act in operator_log.of(tx, "message", id) if act.act.startswith("resolve as ")]
    return bool(decided) and decided[-1] == f"resolve as {as_}"


def _is_cancelled(tx: Connection, campaign_id: str) -> bool:
    status = tx.execute(select(campaigns.c.status).where(campaigns.c.id == campaign_id)).scalar_one()
    return CampaignStatus(status) is CampaignStatus.CANCELLED
