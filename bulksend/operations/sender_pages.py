"""Pages of senders: how fast each sends now, the quota of the account and what is used of it, what was done to each."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from sqlalchemy import Connection

from bulksend.ledger import campaigns, operator_log, progress, senders
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.database import Database
from bulksend.ledger.senders import Sender
from bulksend.messaging.account_quota import tier_limit
from bulksend.messaging.code_delay import FULL
from bulksend.messaging.outcome import Scope
from bulksend.messaging.states import CampaignStatus
from bulksend.operations.campaigns import summaries
from bulksend.operations.gauges import RATE_WINDOW_MS
from bulksend.operations.json_shape import to_json
from bulksend.operations.limiter import OpenLimiter
from bulksend.operations.paces import changes_of
from bulksend.operations.stats import show_stats
from bulksend.settings import Settings

#: The most open campaigns and acts that are shown of a sender.
MOST_CAMPAIGNS, MOST_ACTS = 20, 20
HOURS = 24
_ACTS = ("pause", "resume", "set", "change")
_FIELDS = ("at", "actor", "act", "why", "before", "after")


def senders_now(of: Settings, database: Database, open_limiter: OpenLimiter) -> dict[str, Any]:
    """Every sender with its POSTs a second now and by hour, its pace, its open campaigns; and the account's quota."""
    hours = _by_hour(database)
    with database.read() as tx:
        found = senders.all_senders(tx)
        open_ones = campaigns.open_ones(tx)
        quota = senders.quota_in_force(tx)
        items = [_now(tx, each, open_ones, hours.get(each.phone, [])) for each in found]
    paces, used = _by_redis(open_limiter, [each.phone for each in found])
    return {
        "items": [{**item, "pace": paces.get(item["phone"])} for item in items],
        "quota": {"limit": quota.limit, "source": quota.source, "used": used},
    }


def sender_now(of: Settings, database: Database, open_limiter: OpenLimiter, phone: str) -> dict[str, Any]:
    """One sender as in ``senders_now``, with its open campaigns, the changes of its pace, and the newest acts on it.

    Raises SenderNotFound.
    """
    hours = _by_hour(database)
    with database.read() as tx:
        sender = senders.get(tx, phone)
        open_ones = [each for each in campaigns.open_ones(tx) if each.sender == phone]
        quota = senders.quota_in_force(tx)
        shown = _now(tx, sender, open_ones, hours.get(phone, []))
        newest = sorted(open_ones, key=lambda each: each.id, reverse=True)[:MOST_CAMPAIGNS]
        shown |= {
            "campaigns": [
                {**summary, "rate_limit": min(each.rate or sender.rate, sender.rate)}
                for each, summary in zip(newest, summaries(tx, newest), strict=True)
            ],
            "slowed": changes_of(tx, [phone], of.account()),
            "acts": _acts(tx, Scope.SENDER.value, phone),
        }
    paces, used = _by_redis(open_limiter, [phone])
    return {
        **shown,
        "pace": paces.get(phone),
        "quota_in_force": {"limit": quota.limit, "source": quota.source, "used": used},
    }


def _now(tx: Connection, sender: Sender, open_ones: Iterable[Campaign], hours: list[int]) -> dict[str, Any]:
    mine = [each for each in open_ones if each.sender == sender.phone]
    return to_json(sender) | {
        "posts_per_second": progress.sender_rate(tx, sender.phone, RATE_WINDOW_MS),
        "tier_limit": tier_limit(sender.tier),
        "hours": hours or [0] * HOURS,
        "open": len(mine),
        "running": sum(each.status is not CampaignStatus.PAUSED for each in mine),
    }


def _by_hour(database: Database) -> dict[str, list[int]]:
    """POSTs of each sender in each of the last HOURS hours, the oldest first."""
    end = datetime.now(UTC)
    begin = (end - timedelta(hours=HOURS - 1)).replace(minute=0, second=0, microsecond=0)
    found = show_stats(
        database,
        ["hour", "sender"],
        since=begin.isoformat(),
        until=end.isoformat(),
        timezone="UTC",
        fields=("since", "until"),
    )
    by_sender: dict[str, list[int]] = {}
    for row in found["items"]:
        hour = int((datetime.fromisoformat(row["hour"]) - begin).total_seconds() // 3600)
        by_sender.setdefault(row["sender"], [0] * HOURS)[hour] = row["attempts"]
    return by_sender


def _acts(tx: Connection, scope: str, subject: str) -> list[dict[str, Any]]:
    found = [act for name in _ACTS for act in operator_log.newest(tx, scope, subject, name, limit=MOST_ACTS)]
    newest = sorted(found, key=lambda act: act.at, reverse=True)[:MOST_ACTS]
    return [to_json({name: getattr(act, name) for name in _FIELDS}) for act in newest]


def _by_redis(open_limiter: OpenLimiter, phones: list[str]) -> tuple[dict[str, float], int | None]:
    """The part of its rate that each sender may use now, and the recipients of 24 h; empty where Redis does not say."""
    with suppress(redis.RedisError, OSError):
        permits = open_limiter()
        if permits is not None:
            state = permits.outlook(phones)
            paces = {phone: round(state.paces.get(phone, FULL).part, 3) for phone in phones}
            return paces, state.quota_used
    return {}, None
