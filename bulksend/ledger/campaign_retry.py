"""A retry of a campaign: its failed messages that the vendor never took are queued again.

A retry is a mark on the campaign, the time until which its messages failed, and is worked off in steps. The act itself
does the first steps, the relay does the others and what a crash left. A campaign with a mark does not finish.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from sqlalchemy import ColumnElement, Connection, Text, TextClause, cast, func, or_, select, text, update

from bulksend.errors import WrongState
from bulksend.ledger import operator_log, suppressions
from bulksend.ledger.campaign_control import check_allowed
from bulksend.ledger.campaigns import Campaign, get, reopen
from bulksend.ledger.clock import current_ms, read_clock
from bulksend.ledger.content_checks import check_reopen
from bulksend.ledger.database import Database, among, prefer_indexes, set_statement_timeout
from bulksend.ledger.endings import NEVER_TAKEN
from bulksend.ledger.schema import campaigns, messages
from bulksend.messaging.states import CampaignStatus, Kind, Status

#: The most failed messages that ``retry`` itself looks at, and the most of one step. The relay looks at the rest.
RETRIED_AT_ONCE, RETRY_STEP = 20_000, 2_000
#: How long ``count_retried`` compares recipients with the suppressions, and how many at once.
_COMPARE_SECONDS, _COMPARED_AT_ONCE = 3.0, 5_000
#: How many failed messages ``look_at_retried`` looks at.
LOOKED_AT = 500


@dataclass(frozen=True, slots=True)
class Counted:
    """How many messages a retry would queue that can go, and how many whose recipients are suppressed by now."""

    send: int
    suppressed: int
    exact: bool
    """Whether all recipients were compared with the suppressions; if not, ``send`` is the most that can go."""


@dataclass(frozen=True, slots=True)
class Retried:
    """How many failed messages were looked at and queued, and whether there may be more, for the relay."""

    looked_at: int
    queued: int
    goes_on: bool


_NOTHING = Retried(0, 0, False)


def check_retry(tx: Connection, campaign: Campaign, *, lock: bool = False) -> None:
    """Raises WrongState for a cancelled campaign, for one of direct sends, and as ``check_reopen``."""
    check_allowed(campaign, "retry")
    check_reopen(tx, campaign, lock=lock)
    if campaign.status is CampaignStatus.CANCELLED:
        raise WrongState(
            f"campaign {campaign.id} is cancelled: its messages are not sent any more. `bulksend campaigns clone "
            f"{campaign.id} --rest` sends to the recipients who got none, in a new campaign; `bulksend send FILE … "
            f"--continue {campaign.id}` does so with another file or content"
        )


def _is_retried() -> list[ColumnElement[bool] | TextClause]:
    """The messages of a campaign that a retry queues again."""
    return [
        messages.c.status == Status.FAILED.value,
        messages.c.kind != Kind.OTP.value,
        messages.c.payload.is_not(None),
        or_(messages.c.expires_at.is_(None), messages.c.expires_at > current_ms()),
        text(NEVER_TAKEN),
    ]


def count_retried(
    tx: Connection, campaign: Campaign, *, seconds: float = _COMPARE_SECONDS, at_once: int = _COMPARED_AT_ONCE
) -> Counted:
    """How many messages a retry would queue again; it compares recipients with the suppressions for ``seconds``."""
    set_statement_timeout(tx, 0)
    retried = [messages.c.campaign_id == campaign.id, *_is_retried()]
    page = select(messages.c.id, messages.c.recipient).where(*retried).order_by(messages.c.id).limit(at_once)
    ends = monotonic() + seconds
    compared = suppressed = 0
    rows = tx.execute(page).all()
    while True:
        recipients = [row.recipient for row in rows]
        stopped = suppressions.reasons_for(tx, recipients, campaign.kind)
        suppressed += sum(recipient in stopped for recipient in recipients)
        compared += len(rows)
        if len(rows) < at_once:
            return Counted(compared - suppressed, suppressed, exact=True)
        if monotonic() >= ends:
            break
        rows = tx.execute(page.where(messages.c.id > rows[-1].id)).all()
    total = int(tx.execute(select(func.count()).select_from(messages).where(*retried)).scalar_one())
    return Counted(total - suppressed, suppressed, exact=compared == total)


def look_at_retried(
    tx: Connection, campaign: Campaign, failed: int, *, looked_at: int = LOOKED_AT
) -> Counted:
    """As ``count_retried``, of the first of its ``failed`` messages; the others count as ones that can go."""
    prefer_indexes(tx)
    seen = select(messages.c.id).where(
        messages.c.campaign_id == campaign.id, messages.c.status == Status.FAILED.value
    )
    ids = list(tx.execute(seen.order_by(messages.c.id).limit(looked_at)).scalars())
    found = select(messages.c.recipient).where(among(tx, messages.c.id, ids), *_is_retried())
    recipients = list(tx.execute(found).scalars())
    stopped = suppressions.reasons_for(tx, recipients, campaign.kind)
    suppressed = sum(recipient in stopped for recipient in recipients)
    others = max(0, failed - len(ids))
    return Counted(len(recipients) - suppressed + others, suppressed, exact=not others)


def retry(
    database: Database,
    id: str,
    *,
    actor: str,
    why: str,
    at_once: int = RETRIED_AT_ONCE,
    step: int = RETRY_STEP,
) -> Retried:
    """Queue again the messages that failed and that the vendor never took, on record.

    Each step is a transaction, so that workers do not wait long for it. A message that fails again meanwhile is left
    alone. Those that a person resolved as failed are queued too. OTP is not: its content was wiped, an old code is
    useless. Raises WrongState as ``check_retry``.
    """
    if database.is_one_transaction:
        at_once = min(at_once, step)
    done = database.retrying(lambda tx: begin(tx, id, actor=actor, why=why, limit=step))
    while done.goes_on and done.looked_at < at_once:
        more = database.retrying(lambda tx: _next(tx, id, step))
        done = Retried(done.looked_at + more.looked_at, done.queued + more.queued, more.goes_on)
    return done


def begin(tx: Connection, id: str, *, actor: str, why: str, limit: int = RETRY_STEP) -> Retried:
    """Mark a campaign and do the first step. Nothing is recorded where no message can be queued.

    Raises WrongState as ``check_retry``.
    """
    tx.execute(
        update(campaigns).where(campaigns.c.id == id).values(retry_until=read_clock(tx), retry_after=None)
    )
    campaign = get(tx, id)
    check_retry(tx, campaign, lock=True)
    done = _next(tx, id, limit)
    if done.queued or done.goes_on:
        operator_log.record(
            tx,
            actor=actor,
            act="retry failed" if done.goes_on else f"retry {done.queued} failed",
            scope="campaign",
            subject=id,
            why=why,
            before={"status": campaign.status},
            after={"status": get(tx, id).status},
        )
    return done


def retry_rest(tx: Connection, limit: int = RETRY_STEP) -> dict[str, int]:
    """One step of one campaign that has a mark; returns what it did, for the relay's log."""
    marked = select(campaigns.c.id).where(campaigns.c.retry_until.is_not(None)).limit(1)
    id = tx.execute(marked).scalar()
    done = _NOTHING if id is None else _next(tx, str(id), limit)
    return {"looked_at": done.looked_at, "queued": done.queued}


def _next(tx: Connection, id: str, limit: int) -> Retried:
    """Look at the next failed messages in the order of their ids, and queue those that can be sent.

    Without a further one, and for a campaign that was cancelled meanwhile, the mark is lifted.
    """
    # Its row is locked, so that the act and the relay do not do the same step.
    locked = update(campaigns).where(campaigns.c.id == id, campaigns.c.retry_until.is_not(None))
    if not tx.execute(locked.values(rows_read=campaigns.c.rows_read)).rowcount:
        return _NOTHING
    campaign = get(tx, id)
    assert campaign.retry_until is not None
    ids = [] if campaign.status is CampaignStatus.CANCELLED else _failed_after(tx, campaign, limit)
    queued = _queue(tx, ids, campaign.retry_until) if ids else 0
    goes_on = len(ids) == limit
    mark = {"retry_after": ids[-1]} if goes_on else {"retry_until": None, "retry_after": None}
    tx.execute(update(campaigns).where(campaigns.c.id == id).values(**mark))
    if queued:
        reopen(tx, [id])
    return Retried(len(ids), queued, goes_on)


def _failed_after(tx: Connection, campaign: Campaign, limit: int) -> list[str]:
    """The next failed messages, also those that cannot be sent, so that few rows are read."""
    prefer_indexes(tx)
    failed = [messages.c.campaign_id == campaign.id, messages.c.status == Status.FAILED.value]
    if campaign.retry_after is not None:
        failed.append(messages.c.id > campaign.retry_after)
    found = select(cast(messages.c.id, Text)).where(*failed).order_by(messages.c.id).limit(limit)
    return list(tx.execute(found).scalars())


def _queue(tx: Connection, ids: list[str], ended_by: int) -> int:
    """Queue those of the messages that can be sent and that failed until ``ended_by``; returns how many."""
    return tx.execute(
        update(messages)
        # Not the campaign, by which PostgreSQL with outdated statistics would find the rows.
        .where(among(tx, messages.c.id, ids), *_is_retried(), messages.c.ended_at <= ended_by)
        .values(
            status=Status.QUEUED.value,
            tries=0,
            waits=0,
            strikes=0,
            ended_at=None,
            error=None,
            due_at=current_ms(),
            gate=None,
            gate_until=None,
        )
    ).rowcount
