"""What goes on in the whole installation, for the first look: a few rows by their indexes, whatever its size."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from bulksend.ledger import campaigns, counters, leases, operator_log, pauses, senders
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.messaging.states import Status
from bulksend.messaging.units import format_instant
from bulksend.operations import audit
from bulksend.operations.campaigns import left_in, summaries
from bulksend.operations.gauges import oldest_ages
from bulksend.operations.json_shape import masked_words, to_json
from bulksend.operations.stats import show_stats
from bulksend.settings import Settings

#: The most open campaigns, ended campaigns and acts that are shown.
MOST_CAMPAIGNS, MOST_ENDED, MOST_ACTS = 10, 5, 8
#: Campaigns that ended within this time are shown.
_ENDED_MS = 7 * 86_400_000
HOURS = 24
_ENDINGS = ("accepted", "delivered", "read", "failed", "expired")


def overview(of: Settings, database: Database) -> dict[str, Any]:
    """Open campaigns and those that ended last, lanes, senders, the last audit, the newest acts, sums of 24 hours."""
    hours = _hours(database)
    with database.read() as tx:
        now_ms = read_clock(tx)
        paused = pauses.current(tx)
        found = senders.all_senders(tx)
        return {
            "at": format_instant(now_ms),
            "campaigns": _open_campaigns(tx, {each.phone: each.rate for each in found}),
            "ended": summaries(tx, campaigns.last_ended(tx, MOST_ENDED, within_ms=_ENDED_MS)),
            "lanes": _lanes(tx, paused, now_ms),
            "senders": [to_json(each) for each in found],
            "account_paused": of.account() in paused.accounts,
            "workers": len(leases.alive(tx)),
            "acts": _acts(tx),
            "audit": audit.last(tx),
            "hours": hours,
            "day": {name: sum(each[name] for each in hours) for name in _ENDINGS},
        }


def _hours(database: Database) -> list[dict[str, Any]]:
    """The sums of each of the last HOURS hours, the one that runs included, oldest first."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    hours = [now - timedelta(hours=before) for before in reversed(range(HOURS))]
    found = show_stats(
        database,
        ["hour"],
        since=hours[0].isoformat(),
        until=None,
        timezone="UTC",
        fields=("since", "until"),
    )
    sums = {datetime.fromisoformat(row["hour"]): row for row in found["items"]}
    return [
        {"hour": hour.isoformat()} | {name: sums.get(hour, {}).get(name, 0) for name in _ENDINGS}
        for hour in hours
    ]


def _open_campaigns(tx: Connection, rates: dict[str, float]) -> dict[str, Any]:
    """The newest campaigns that have not ended, each with ``rate_limit``, and how many there are."""
    open_ones = sorted(campaigns.open_ones(tx), key=lambda each: each.id, reverse=True)
    shown = open_ones[:MOST_CAMPAIGNS]
    items = [
        {**summary, "rate_limit": min(each.rate or float("inf"), rates.get(each.sender, float("inf")))}
        for each, summary in zip(shown, summaries(tx, shown), strict=True)
    ]
    return {"items": items, "count": len(open_ones)}


def _lanes(tx: Connection, paused: pauses.Pauses, now_ms: int) -> list[dict[str, Any]]:
    """Of each kind: messages that wait, with a worker too, or are unknown; for how many seconds one is due."""
    by_kind: dict[str, dict[str, int]] = {}
    for (kind, status), count in counters.by_kind(tx).items():
        by_kind.setdefault(kind, {})[status] = count
    return [
        {
            "kind": kind,
            "oldest_due_seconds": age,
            "waiting": left_in(by_kind.get(kind, {})),
            "unknown": by_kind.get(kind, {}).get(Status.UNKNOWN, 0),
        }
        for kind, age in oldest_ages(tx, paused, now_ms).items()
    ]


def _acts(tx: Connection) -> list[dict[str, Any]]:
    """The newest acts. ``name`` is that of the campaign of an act on one."""
    found = operator_log.recent(tx, MOST_ACTS)
    names = campaigns.names_of(tx, [each.subject for each in found if each.scope == "campaign"])
    return [_act(each) | {"name": names.get(each.subject)} for each in found]


def _act(act: operator_log.Act) -> dict[str, Any]:
    shown: dict[str, Any] = to_json(
        {name: getattr(act, name) for name in ("at", "actor", "act", "scope", "subject", "why")}
    )
    # The subject of a suppression is a number.
    return shown if act.scope != "suppression" else shown | {"subject": None}


def masked(found: dict[str, Any]) -> dict[str, Any]:
    """The same for a reader who sees no numbers."""
    masked: dict[str, Any] = masked_words(found)
    return masked
