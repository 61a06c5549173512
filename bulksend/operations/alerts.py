"""Alerts, judged by counters and by few rows that an index finds, whatever the size of the ledger."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from bulksend.ledger import (
    code_readings,
    counters,
    leases,
    pauses,
    progress,
    raw_receipts,
    senders,
    templates,
    webhook_endpoints,
)
from bulksend.ledger.clock import read_clock
from bulksend.ledger.code_readings import RECENT_MS, Latency
from bulksend.ledger.database import Database
from bulksend.ledger.senders import Sender
from bulksend.messaging.account_quota import account_quota
from bulksend.messaging.states import Kind, Status
from bulksend.metrics import count_spooled, free_bytes
from bulksend.operations import audit
from bulksend.operations.alert_rules import (
    CODES_MS,
    COUNTED,
    EXPIRED_MS,
    POSTS_MS,
    UNREADABLE_MS,
    Alert,
    Readings,
    RecentPosts,
    judge,
)
from bulksend.operations.blockers import Check, RedisCheck
from bulksend.operations.doctor_readings import read_receipts
from bulksend.operations.gauges import RATE_WINDOW_MS, oldest_ages, quota_used
from bulksend.operations.limiter import OpenLimiter
from bulksend.settings import Settings

#: Blockers that an alert tells as well.
_TOLD = frozenset({"account", "sender", "workers", "relay", "Redis", "spool disk"})


def find_alerts(
    of: Settings, database: Database, open_limiter: OpenLimiter, redis: RedisCheck | None
) -> list[Alert]:
    """What each rule says now. ``redis``: None where REDIS_URL is not set. Raises LedgerUnreachable."""
    with database.translated_errors(), database.read() as tx:
        now = read_clock(tx)
        found = senders.all_senders(tx)
        read = {**_of_codes(tx, now), **_of_senders(tx, of, found, now), **_of_the_rest(tx, now)}
    # Redis is asked outside of the transaction: where it is away, that takes seconds.
    used = None
    quota = account_quota(found).limit
    if quota is not None and redis is not None and redis.info is not None:
        used = quota_used(quota, open_limiter())
    spool = Path(of.spool_dir)
    return judge(
        Readings(
            **read,
            relay_leads=None if redis is None or redis.info is None else redis.relay_leads,
            redis_answers=None if redis is None else redis.info is not None,
            redis_problem="" if redis is None or redis.info is not None else redis.blockers[0].found,
            quota_used=used,
            disk_free=free_bytes(spool),
            spooled=count_spooled(spool),
            clock_skew_s=time.time() - now / 1000,
        )
    )


def beside_alerts(blockers: Iterable[Check]) -> list[Check]:
    """The blockers that no alert tells."""
    return [each for each in blockers if each.about not in _TOLD]


def _of_codes(tx: Connection, now: int) -> dict[str, Any]:
    ids = code_readings.campaign_ids(tx)
    # A code that was POSTed just now may have waited for long.
    waited = code_readings.waited(tx, ids, now - RECENT_MS)
    latency = Latency.of(each.to_post_ms for each in waited if each.sent_at >= now - CODES_MS)
    return {
        "code_wait_s": None if latency.p99_ms is None else latency.p99_ms / 1000,
        "codes_expired": code_readings.count_expired(tx, ids, now - EXPIRED_MS),
    }


def _of_senders(tx: Connection, of: Settings, found: list[Sender], now: int) -> dict[str, Any]:
    posts = {
        each.phone: RecentPosts(*progress.recent_results(tx, each.phone, now - POSTS_MS)) for each in found
    }
    newest = max((each.newest_at for each in posts.values() if each.newest_at is not None), default=0)
    account = pauses.account_pause(tx, of.account())
    return {
        "posts": posts,
        "sends": newest >= now - RATE_WINDOW_MS,
        "account_pause": None if account is None else account[1],
        "sender_pauses": {each.phone: each.pause_why or "" for each in found if each.paused_at is not None},
        "red_senders": [each.phone for each in found if each.quality == "RED"],
    }


def _of_the_rest(tx: Connection, now: int) -> dict[str, Any]:
    messages = counters.by_kind(tx)
    last = audit.last(tx)
    return {
        "audit_broken": None if last is None else last["broken"],
        "audit_age_s": None if last is None else last["age_seconds"],
        "codes_unknown": messages.get((Kind.OTP.value, Status.UNKNOWN.value), 0),
        "oldest_due_s": oldest_ages(tx, pauses.current(tx), now),
        "workers": len(leases.alive(tx)),
        "receipts": read_receipts(tx, messages, now),
        "unreadable": raw_receipts.count_aside(tx, COUNTED, since=now - UNREADABLE_MS),
        "templates_not_approved": len(templates.not_approved(tx) & templates.used(tx)),
        "endpoints_disabled": webhook_endpoints.count_disabled(tx),
    }
