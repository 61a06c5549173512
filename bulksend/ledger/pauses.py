"""Pause and resume a campaign, a sender or an account; each change goes into the operator log."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Column, ColumnElement, Connection, case, or_, select, update

from bulksend.ledger import operator_log
from bulksend.ledger.campaigns import IS_ACTIVE
from bulksend.ledger.clock import current_ms
from bulksend.ledger.database import insert_if_new
from bulksend.ledger.schema import accounts, campaigns, senders
from bulksend.messaging.canary import CanaryState
from bulksend.messaging.states import CampaignStatus

#: A cancelled campaign keeps its pause flag in Redis for this long, so that workers let go of what they hold of it.
CANCEL_FLAG_MS = 60_000


@dataclass(frozen=True, slots=True)
class Pauses:
    """The ids of everything that is paused: the source of the flags in Redis."""

    campaigns: frozenset[str]
    senders: frozenset[str]
    accounts: frozenset[str]


def current(tx: Connection) -> Pauses:
    """Everything that is paused, and the campaigns that were cancelled within CANCEL_FLAG_MS."""
    status = campaigns.c.status
    just_cancelled = (status == CampaignStatus.CANCELLED.value) & (
        campaigns.c.ended_at > current_ms() - CANCEL_FLAG_MS
    )

    def ids(key: Column[str], condition: ColumnElement[bool]) -> frozenset[str]:
        return frozenset(tx.execute(select(key).where(condition)).scalars())

    return Pauses(
        campaigns=ids(campaigns.c.id, or_(status == CampaignStatus.PAUSED.value, just_cancelled)),
        senders=ids(senders.c.phone, senders.c.paused_at.is_not(None)),
        accounts=ids(accounts.c.id, accounts.c.paused_at.is_not(None)),
    )


def pause_campaign(tx: Connection, id: str, *, actor: str, why: str) -> bool:
    """Hold its messages back. Returns whether it was active."""
    status = CampaignStatus.PAUSED.value
    return _change(
        tx, "pause", "campaign", campaigns.c.id, id, IS_ACTIVE, actor=actor, why=why, status=status
    )


def resume_campaign(tx: Connection, id: str, *, actor: str, why: str) -> bool:
    """Let it continue, with its intake where that was not done. Returns whether it was paused.

    After a canary that failed, the rest is sent, too.
    """
    is_paused = campaigns.c.status == CampaignStatus.PAUSED.value
    intake, running = CampaignStatus.INTAKE.value, CampaignStatus.RUNNING.value
    failed = campaigns.c.canary_state == CanaryState.FAILED.value
    values = {
        "status": case((campaigns.c.intake_done_at.is_(None), intake), else_=running),
        # A person has seen why it failed, and lets the rest go.
        "canary_state": case((failed, CanaryState.SKIPPED.value), else_=campaigns.c.canary_state),
        "held_after": case((failed, None), else_=campaigns.c.held_after),
    }
    return _change(tx, "resume", "campaign", campaigns.c.id, id, is_paused, actor=actor, why=why, **values)


def pause_sender(tx: Connection, phone: str, *, actor: str, why: str) -> bool:
    """Hold back every message of this sender. Returns whether it was not paused before."""
    runs = senders.c.paused_at.is_(None)
    return _change(tx, "pause", "sender", senders.c.phone, phone, runs, actor=actor, why=why)


def resume_sender(tx: Connection, phone: str, *, actor: str, why: str) -> bool:
    """Let it send again. Returns whether it was paused."""
    is_paused = senders.c.paused_at.is_not(None)
    return _change(tx, "resume", "sender", senders.c.phone, phone, is_paused, actor=actor, why=why)


def pause_account(tx: Connection, account: str, *, actor: str, why: str) -> bool:
    """Hold everything back: no money, a wrong key, a restricted account. Returns whether it was not paused before."""
    tx.execute(insert_if_new(tx, accounts).values(id=account, paused_at=None, pause_why=None))
    runs = accounts.c.paused_at.is_(None)
    return _change(tx, "pause", "account", accounts.c.id, account, runs, actor=actor, why=why)


def resume_account(tx: Connection, account: str, *, actor: str, why: str) -> bool:
    """Let the account send again. Returns whether it was paused."""
    is_paused = accounts.c.paused_at.is_not(None)
    return _change(tx, "resume", "account", accounts.c.id, account, is_paused, actor=actor, why=why)


def _change(
    tx: Connection,
    act: str,
    scope: str,
    key: Column[str],
    subject: str,
    condition: ColumnElement[bool],
    *,
    actor: str,
    why: str,
    **values: object,
) -> bool:
    paused = act == "pause"
    pause = (current_ms(), why[:500]) if paused else (None, None)
    change = update(key.table).where(key == subject, condition)
    change = change.values(paused_at=pause[0], pause_why=pause[1], **values)
    return operator_log.apply(
        tx,
        change,
        actor=actor,
        act=act,
        scope=scope,
        subject=subject,
        why=why,
        before={"paused": not paused},
        after={"paused": paused},
    )


def account_pause(tx: Connection, account: str) -> tuple[int, str] | None:
    """Since when and why the account is paused; None where it is not."""
    row = tx.execute(
        select(accounts.c.paused_at, accounts.c.pause_why).where(
            accounts.c.id == account, accounts.c.paused_at.is_not(None)
        )
    ).one_or_none()
    return (row.paused_at, row.pause_why or "") if row is not None else None
