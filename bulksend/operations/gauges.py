"""What the gauges about the ledger show: read by one process, the relay that leads."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import redis
from sqlalchemy import Connection

from bulksend.ledger import (
    campaigns,
    code_backlog,
    counters,
    due,
    leases,
    pauses,
    progress,
    senders,
    templates,
    webhook_endpoints,
)
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.senders import Sender
from bulksend.limits import RedisPermits
from bulksend.messaging.account_quota import account_quota
from bulksend.messaging.states import LANES, Kind
from bulksend.metrics import LedgerState, SenderState

RATE_WINDOW_MS = 10_000


def read_state(
    database: Database,
    limiter: RedisPermits | None,
    account: str,
    *,
    wall_s: Callable[[], float] = time.time,
) -> LedgerState:
    """One reading of the ledger and the limiter. ``wall_s`` is this machine's clock, seconds since the epoch."""
    with database.read() as tx:
        now_ms = read_clock(tx)
        skew_s = wall_s() - now_ms / 1000
        paused = pauses.current(tx)
        found = senders.all_senders(tx)
        return LedgerState(
            messages=counters.by_kind(tx),
            oldest_age_s=oldest_ages(tx, paused, now_ms),
            senders=[_sender(tx, each) for each in found],
            account_paused=account in paused.accounts,
            quota_used=quota_used(account_quota(found).limit, limiter),
            templates_not_approved=len(templates.not_approved(tx) & templates.used(tx)),
            endpoints_disabled=webhook_endpoints.count_disabled(tx),
            workers_alive=len(leases.alive(tx)),
            clock_skew_s=skew_s,
        )


def oldest_ages(tx: Connection, paused: pauses.Pauses, now_ms: int) -> dict[str, float]:
    """For how many seconds the oldest message of each lane is due that nothing pauses."""
    ages = {lane.value: 0.0 for lane in LANES}
    if paused.accounts:
        return ages
    for campaign in campaigns.active(tx):
        held = campaign.sender in paused.senders or campaign.held_after is not None
        due_at = None if held else due.next_due_at(tx, campaign.id)
        if due_at is not None:
            ages[campaign.kind.value] = max(ages[campaign.kind.value], (now_ms - due_at) / 1000)
    # A worker claims codes long before their turn where many wait.
    claimed = code_backlog.oldest_with_a_worker(tx, now_ms, paused.senders)
    if claimed is not None:
        ages[Kind.OTP.value] = max(ages[Kind.OTP.value], (now_ms - claimed) / 1000)
    return ages


def quota_used(quota: int | None, limiter: RedisPermits | None) -> float | None:
    """The part of the account's quota that is used, 0 to 1; None where it has none, or the limiter is away."""
    if quota and limiter is not None:
        # Without Redis the other gauges are still true.
        with suppress(redis.RedisError):
            return limiter.outlook([]).quota_used / quota
    return None


def _sender(tx: Connection, sender: Sender) -> SenderState:
    return SenderState(
        phone=sender.phone,
        rate_limit=sender.rate,
        rate_used=progress.sender_rate(tx, sender.phone, RATE_WINDOW_MS),
        paused=sender.paused_at is not None,
        is_red=None if sender.quality is None else sender.quality == "RED",
    )
