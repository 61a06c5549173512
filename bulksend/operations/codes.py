"""How one-time codes do now: what they wait, which are at risk, what a new one can expect. No content, no number."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence, Set
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import redis

from bulksend.ledger import campaigns, code_readings, counters, pauses
from bulksend.ledger.campaigns import DIRECT_PREFIX
from bulksend.ledger.clock import read_clock
from bulksend.ledger.code_backlog import CodeBacklog, read_backlog
from bulksend.ledger.code_readings import WAITING_SEEN, Latency, Waited, WaitingCode
from bulksend.ledger.database import Database
from bulksend.limits import RedisPermits
from bulksend.messaging.code_delay import (
    NOTHING_KNOWN,
    CodeLane,
    LimiterState,
    ahead_of,
    takes_turns,
    turn_ms,
    turns_before,
)
from bulksend.messaging.states import Kind, Status
from bulksend.messaging.units import format_instant
from bulksend.operations.json_shape import to_json
from bulksend.operations.stats import show_stats
from bulksend.settings import Settings

#: Waits are those of codes taken in within this time, in parts of a chart.
RECENT_MS, PART_MS = 3_600_000, 300_000
DAY_MS = 86_400_000
#: The most codes that are listed.
SHOWN = 20
_NO_CAMPAIGN = "00000000-0000-0000-0000-000000000000"
#: Where codes wait for their POST.
_LEFT = ("queued", "claimed", "retry")
_ENDINGS = ("accepted", "delivered", "failed", "expired", "unknown", "superseded")


def show_codes(of: Settings, database: Database, limiter: RedisPermits | None) -> dict[str, Any]:
    """Waits of the last hour by sender and by time, codes at risk, the forecast of each sender, the last day."""
    with database.read() as tx:
        now = read_clock(tx)
        ids = code_readings.campaign_ids(tx)
        waited = code_readings.waited(tx, ids, now - RECENT_MS)
        late_ms = int((of.otp_undelivered_seconds or 60) * 1000)
        undelivered = code_readings.undelivered(tx, ids, now - DAY_MS, now - late_ms)
        waiting = code_readings.waiting(tx)
        standing = campaigns.by_key(tx, DIRECT_PREFIX + Kind.OTP.value)
        home = _NO_CAMPAIGN if standing is None else standing.id
        counts = {status: n for (kind, status), n in counters.by_kind(tx).items() if kind == Kind.OTP.value}
        paused = pauses.current(tx)
        backlog = read_backlog(tx, account=of.account(), standing=home)
    state = NOTHING_KNOWN
    if limiter is not None:
        # Without Redis the forecast is that of the ledger alone.
        with suppress(redis.RedisError):
            state = limiter.outlook(list(backlog.lanes), backlog.quota)
    held = {code.campaign_id for code in waiting} if of.account() in paused.accounts else paused.campaigns
    risks = at_risk(waiting, backlog, state, of.account_rate, now, held)
    left = {status: counts.get(status, 0) for status in _LEFT}
    return {
        "at": format_instant(now),
        "any": bool(ids),
        "unknown": counts.get(Status.UNKNOWN, 0),
        "waiting": sum(left.values()),
        "mostly": max(left, key=lambda status: left[status]),
        "all_seen": len(waiting) < WAITING_SEEN,
        "latency": _latency(waited),
        "chart": _chart(waited),
        "lanes": _lanes(backlog, waiting, state, home, of.account_rate),
        "workers": backlog.workers.alive,
        "risks": [_risk(each, wait_ms) for each, wait_ms in risks[:SHOWN]],
        "risk_count": len(risks),
        "undelivered": [to_json(each._asdict()) for each in undelivered[:SHOWN]],
        "undelivered_count": len(undelivered),
        "undelivered_seconds": late_ms / 1000,
        "day": _day(database),
    }


def at_risk(
    waiting: Sequence[WaitingCode],
    backlog: CodeBacklog,
    state: LimiterState,
    account_rate: float | None,
    now: int,
    held: Set[str] = frozenset(),
) -> list[tuple[WaitingCode, float | None]]:
    """Codes that will expire before their POST by the forecast, each with its wait (ms; None: until a pause ends).

    Those that expire first stand first. ``held``: campaigns that are paused.
    """
    by_sender: dict[str, list[WaitingCode]] = defaultdict(list)
    for code in waiting:
        by_sender[code.sender].append(code)
    found: list[tuple[WaitingCode, float | None]] = []
    for sender, codes in by_sender.items():
        lane = backlog.lanes.get(sender) or CodeLane({}, 1.0)
        in_turns = takes_turns(lane, backlog.workers.alive)
        own = Counter[str]()
        for place, code in enumerate(sorted(codes, key=lambda each: (not each.permitted, each.due_at))):
            before = own[code.campaign_id]
            own[code.campaign_id] += 1
            if code.expires_at is None or code.permitted:
                continue
            wait_ms = None
            if code.campaign_id not in held:
                ahead = turns_before(lane, code.campaign_id, before) if in_turns else place
                wait_ms = turn_ms(backlog.lanes, lane, sender, ahead, backlog.workers, state, account_rate)
            if wait_ms is not None:
                wait_ms = max(wait_ms, float(code.due_at - now))
            if wait_ms is None or now + wait_ms > code.expires_at:
                found.append((code, wait_ms))
    return sorted(found, key=lambda pair: pair[0].expires_at or 0)


def _risk(code: WaitingCode, wait_ms: float | None) -> dict[str, Any]:
    return {**to_json(code._asdict()), "wait_seconds": None if wait_ms is None else wait_ms / 1000}


def _lanes(
    backlog: CodeBacklog,
    waiting: Sequence[WaitingCode],
    state: LimiterState,
    home: str,
    account_rate: float | None,
) -> list[dict[str, Any]]:
    """Of each sender: what waits, and how long a code would that is sent now."""
    workers, lanes = backlog.workers, []
    of_sender: dict[str, int] = defaultdict(int)
    for code in waiting:
        of_sender[code.sender] += not code.permitted
    for sender in sorted(backlog.lanes):
        lane = backlog.lane(sender, backlog.lanes[sender].rate)
        ahead = ahead_of(lane, home, workers.alive)
        wait_ms = turn_ms(backlog.lanes, lane, sender, ahead, workers, state, account_rate)
        pace, due = state.paces.get(sender), sum(lane.waiting.values()) - lane.permitted
        lanes.append(
            {
                "sender": sender,
                "waiting": max(of_sender[sender], due),
                "due": due,
                "oldest_due_seconds": lane.oldest_ms / 1000,
                "rate": lane.rate,
                "pace": None if pace is None else pace.part,
                "paused": lane.paused,
                "forecast_seconds": None if wait_ms is None else wait_ms / 1000,
            }
        )
    return lanes


def _latency(waited: Sequence[Waited]) -> list[dict[str, Any]]:
    """All codes, then those of each sender: until the POST, and until the delivery."""
    by_sender: dict[str | None, list[Waited]] = defaultdict(list)
    for each in waited:
        by_sender[each.sender].append(each)
    groups: list[tuple[str | None, Sequence[Waited]]] = [(None, waited)]
    groups += sorted(by_sender.items(), key=lambda pair: str(pair[0])) if len(by_sender) > 1 else []
    return [
        {
            "sender": sender,
            "posted": Latency.of(each.to_post_ms for each in codes),
            "delivered": Latency.of(each.to_delivery_ms for each in codes),
        }
        for sender, codes in groups
        if codes
    ]


def _chart(waited: Sequence[Waited]) -> list[dict[str, Any]]:
    """The waits until the POST by the time of the POST."""
    parts: dict[int, list[int]] = defaultdict(list)
    for each in waited:
        parts[each.sent_at - each.sent_at % PART_MS].append(each.to_post_ms)
    return [{"at": format_instant(at), "posted": Latency.of(waits)} for at, waits in sorted(parts.items())]


def _day(database: Database) -> dict[str, Any]:
    """The sums of codes of the last 24 hours, and the mean times of a POST and a delivery."""
    since = datetime.now(UTC) - timedelta(hours=23)
    sums = show_stats(
        database, ["kind"], since=since.isoformat(), until=None, timezone="UTC", fields=("since", "until")
    )
    of_codes: dict[str, Any] = next((row for row in sums["items"] if row["kind"] == Kind.OTP.value), {})

    def mean_seconds(total: str, count: str) -> float | None:
        return of_codes[total] / of_codes[count] / 1000 if of_codes.get(count) else None

    return {
        "since": sums["from"],
        "counts": {name: of_codes.get(name, 0) for name in _ENDINGS},
        "answer_seconds": mean_seconds("latency_ms", "answered"),
        "delivery_seconds": mean_seconds("delivery_ms", "delivery_timed"),
    }
