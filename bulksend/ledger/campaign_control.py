"""What a person does to the messages of a whole campaign: cancel them. A retry is in ``campaign_retry``."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Text, cast, select, text, update

from bulksend.errors import WrongState
from bulksend.ledger import counters, operator_log
from bulksend.ledger.campaigns import Campaign, get, status_counts
from bulksend.ledger.clock import current_ms
from bulksend.ledger.database import Database, prefer_indexes
from bulksend.ledger.endings import end_unsent
from bulksend.ledger.in_flight import IS_IN_FLIGHT, IS_OPEN
from bulksend.ledger.schema import WAITING_SQL, campaigns, messages
from bulksend.messaging.states import WAITING, CampaignStatus, Status

#: The most messages that ``cancel`` itself ends, and the most of one transaction. The relay ends the rest.
CANCELLED_AT_ONCE, CANCEL_CHUNK = 20_000, 2_000


def check_allowed(campaign: Campaign, act: str) -> None:
    """Raises WrongState when the act would stop the standing campaign of direct sends.

    Each later ``Producer.send`` of that kind would fail.
    """
    if not campaign.is_direct or act == "resume":
        return
    raise WrongState(
        f"campaign {campaign.id} ({campaign.name}) has all single {campaign.kind} sends of programs, so {act} is not "
        f"possible; nothing was changed. To stop its messages, pause their sender (`bulksend senders pause "
        "PHONE --why …`) or suppress a recipient (`bulksend suppressions add PHONE`); to settle unknown ones, "
        "`bulksend messages resolve`"
    )


@dataclass(frozen=True, slots=True)
class Cancelled:
    """How many messages a cancel stopped: waiting, and claimed by workers. Those in ``sending`` continue."""

    waiting: int
    held: int
    sending: int


def cancel(
    database: Database, id: str, *, actor: str, why: str, at_once: int = CANCELLED_AT_ONCE
) -> Cancelled | None:
    """Cancel a campaign: after the first commit no message is claimed or begins to be sent. None where it had ended.

    Its messages end after that, in transactions of their own, so that workers do not wait for each other. The relay
    ends what exceeds ``at_once`` and what a crash left. A claimed message ends in the ledger; its worker sees that in
    the write-ahead. Raises WrongState as ``check_allowed``.
    """
    if not database.retrying(lambda tx: mark_cancelled(tx, id, actor=actor, why=why)):
        return None
    if database.is_one_transaction:
        at_once = min(at_once, CANCEL_CHUNK)
    waiting, held = _end_at_once(database, id, at_once)
    with database.read() as tx:
        left = status_counts(tx, id)
    return Cancelled(
        waiting + sum(left.get(status.value, 0) for status in WAITING),
        held + left.get(Status.CLAIMED.value, 0),
        left.get(Status.SENDING.value, 0),
    )


def end_unsent_messages(database: Database, campaign: Campaign) -> None:
    """End the messages of a cancelled campaign that are not sent, except those locked by another transaction."""
    _end_at_once(database, campaign.id, campaign.messages)


def _end_at_once(database: Database, id: str, at_once: int) -> tuple[int, int]:
    """End up to ``at_once`` messages; returns how many were waiting and how many were claimed."""
    waiting = held = 0
    while waiting + held < at_once:
        limit = min(CANCEL_CHUNK, at_once - waiting - held)
        of_waiting, of_held = database.retrying(lambda tx, limit=limit: _end_chunk(tx, id, limit))  # type: ignore[misc]
        if not of_waiting + of_held:
            break
        waiting, held = waiting + of_waiting, held + of_held
    return waiting, held


def mark_cancelled(tx: Connection, id: str, *, actor: str, why: str) -> bool:
    """The first step of ``cancel``. Returns whether the campaign had not ended. Raises as ``check_allowed``."""
    campaign = get(tx, id)
    check_allowed(campaign, "cancel")
    ended = [CampaignStatus.CANCELLED.value, CampaignStatus.FINISHED.value]
    change = (
        update(campaigns)
        .where(campaigns.c.id == id, campaigns.c.status.not_in(ended))
        .values(status=CampaignStatus.CANCELLED.value, ended_at=current_ms())
    )
    return operator_log.apply(
        tx,
        change,
        actor=actor,
        act="cancel",
        scope="campaign",
        subject=id,
        why=why,
        before={"status": campaign.status},
        after={"status": CampaignStatus.CANCELLED},
    )


def end_cancelled(tx: Connection, limit: int = 5000) -> int:
    """End up to ``limit`` unsent messages of cancelled campaigns; returns how many.

    These are the ones that ``cancel`` left, that intake stored after it, or that a worker gave back.
    """
    ended = 0
    found = tx.execute(
        select(campaigns.c.id).where(
            campaigns.c.status == CampaignStatus.CANCELLED.value, counters.messages_in(WAITING) > 0
        )
    )
    for id in found.scalars().all():
        ended += sum(_end_chunk(tx, str(id), limit - ended))
        if ended >= limit:
            break
    return ended


def _end_chunk(tx: Connection, id: str, limit: int) -> tuple[int, int]:
    """End up to ``limit`` unsent messages of a campaign, without those locked by another transaction.

    Returns how many were waiting and how many were claimed.
    """
    prefer_indexes(tx)
    # The words and the order of the partial index of waiting messages, so that few rows are read.
    found = tx.execute(
        select(cast(messages.c.id, Text), IS_IN_FLIGHT)
        .where(text(f"messages.{WAITING_SQL}"), messages.c.campaign_id == id, ~IS_OPEN)
        .order_by(messages.c.due_at, messages.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=messages)
    ).all()
    ended = end_unsent(tx, [id for id, _ in found], Status.CANCELLED, "campaign cancelled")
    # Those that did not end were held, and their attempts were opened meanwhile.
    held = sum(bool(is_held) for _, is_held in found) - (len(found) - ended)
    return ended - held, held
