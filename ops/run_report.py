"""The report of a whole run on this machine: what the ledger says of its campaigns, and what the vendor says."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from bulksend.ledger import raw_receipts
from bulksend.ledger.database import Database
from bulksend.ledger.schema import attempts, messages
from bulksend.messaging.plan import RefusedRow
from bulksend.messaging.states import SENT
from bulksend.operations import campaigns
from bulksend.operations.audit import audit
from bulksend.operations.progress import Watch
from ops.cli.output import pairs, refused_rows, say, table
from ops.cli.watching import follow
from ops.stack import Stack

#: The slowest receipt comes some seconds after its message.
RECEIPTS_S = 30.0
#: Receipts as they come in a run that is watched: sooner than in life.
QUICK_RECEIPTS = {
    "delivered": {"kind": "lognormal", "median_ms": 400, "p99_ms": 2000},
    "delivered_share": 0.97,
    "read": {"kind": "lognormal", "median_ms": 1500, "p99_ms": 4000},
    "read_share": 0.5,
    "duplicate_share": 0.05,
    "out_of_order_share": 0.05,
}


def finish(
    stack: Stack,
    database: Database,
    ids: Sequence[str],
    *,
    live: bool,
    patience_s: float,
    between: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Wait until every message of these campaigns has ended, and every receipt is applied; then the report.

    It is well if all ended, the audit holds, and the vendor got no message twice.
    """
    stream = sys.stderr if live else None
    ended = follow(Watch(database, ids), stream, patience_s=patience_s, between=between)
    ended = _await_receipts(stack, database, between) and ended
    with database.read() as tx:
        found = audit(tx)
        report: dict[str, Any] = {
            "campaigns": [{**campaigns.details(tx, id), **_timings(tx, id)} for id in ids],
            "ended": ended,
            "audit": {"holds": found.holds, "broken": [f.rule for f in found.findings if f.broken]},
        }
    report["vendor"] = vendor = _vendor_stats(stack)
    report["well"] = bool(found.holds and ended and not vendor["twice"])
    return report


def show(report: Mapping[str, Any], limit: float) -> None:
    """The report for people. ``limit`` is the rate that the vendor was not to see exceeded, messages/s."""
    for campaign in report["campaigns"]:
        _show_campaign(campaign)
    vendor = report["vendor"]
    pairs(
        {
            "requests": f"{vendor['requests']:,}",
            "messages": f"{vendor['stored']:,}, {vendor['twice'] or 'none'} twice",
            "rate": f"{vendor['rate']:g}/s; at most {vendor['most_in_a_second']} in a second, the limit is {limit:g}",
        },
        title="What the vendor received",
    )
    if report["audit"]["holds"]:
        say("the audit holds: no message lost, none sent twice", "green")
    else:
        say("the audit FAILS", "bold red")


def _await_receipts(stack: Stack, database: Database, between: Callable[[], None]) -> bool:
    """Wait until every receipt that the vendor sends is applied. Returns False when that takes too long."""
    deadline = time.monotonic() + RECEIPTS_S
    while time.monotonic() < deadline:
        between()
        if not stack.inspect("stats")["receipts"]["pending"]:
            with database.read() as tx:
                if not raw_receipts.waiting(tx).bodies:
                    return True
        time.sleep(0.1)
    return False


def _timings(tx: Connection, campaign_id: str) -> dict[str, Any]:
    """How many messages were tried again, the rate of POSTs, and percentiles of their times."""
    of_it = messages.c.campaign_id == campaign_id
    found = tx.execute(
        select(
            attempts.c.started_at,
            attempts.c.latency_ms,
            messages.c.due_at,
            attempts.c.n,
            attempts.c.bytes_sent,
        )
        .select_from(attempts.join(messages, attempts.c.message_pk == messages.c.id))
        .where(of_it)
        .order_by(attempts.c.started_at)
    ).all()
    latencies = [attempt.latency_ms for attempt in found if attempt.latency_ms is not None]
    waits = [attempt.started_at - attempt.due_at for attempt in found if attempt.n == 1]
    retried = select(func.count()).select_from(messages).where(of_it, messages.c.attempts > 1)
    return {
        "retried": tx.execute(retried).scalar_one(),
        "rate": _rate([attempt.started_at for attempt in found if attempt.bytes_sent]),
        "post_p50_ms": _percentile(latencies, 50),
        "post_p99_ms": _percentile(latencies, 99),
        "due_to_post_p50_ms": _percentile(waits, 50),
        "due_to_post_p99_ms": _percentile(waits, 99),
    }


def _rate(instants: list[int]) -> float:
    if len(instants) < 2 or instants[-1] == instants[0]:
        return 0.0
    return round((len(instants) - 1) * 1000 / (instants[-1] - instants[0]), 1)


def _percentile(values: list[float], percent: int) -> float | None:
    if not values:
        return None
    ordered = sorted(values)
    return round(float(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]), 1)


def _vendor_stats(stack: Stack) -> dict[str, Any]:
    """The simulated vendor's own record, which does not come from the ledger."""
    stats = stack.inspect("stats")
    return {
        "requests": stats["requests"],
        "stored": stats["stored"],
        "twice": len(stack.inspect("duplicates")),
        "most_in_a_second": stats["sends"]["max_requests_in_any_second"],
        # One request has no mean.
        "rate": round(stats["sends"]["mean_requests_per_second"] or 0.0, 1),
    }


def _show_campaign(campaign: Mapping[str, Any]) -> None:
    statuses = campaign["statuses"]
    left_out = [
        f"{campaign[name]:,} {word}"
        for name, word in (("duplicates", "duplicates"), ("refused_count", "refused"))
        if campaign[name]
    ]
    pairs(
        {
            "messages": ", ".join([f"{campaign['total']:,} of {campaign['rows']:,} rows", *left_out]),
            "sent": f"{sum(statuses.get(status, 0) for status in SENT):,}",
            "delivered": _delivered(statuses),
            "retried": f"{campaign['retried']:,} after attempts that surely did not reach the vendor",
            "unknown": f"{statuses.get('unknown', 0)} that may have gone out; they are never sent again unasked",
            "failed": f"{statuses.get('failed', 0)}",
            "POST": _percentiles(campaign, "post"),
            "due to POST": _percentiles(campaign, "due_to_post") if campaign["kind"] == "otp" else None,
        },
        title=f"{campaign['name']} ({campaign['kind']})",
    )
    reasons = [(reason["status"], reason["error"], reason["count"]) for reason in campaign["reasons"]]
    if reasons:
        table(["status", "why", "messages"], reasons)
    refused_rows([RefusedRow(**row) for row in campaign["refused"]], campaign["refused_count"])


def _delivered(statuses: Mapping[str, int]) -> str:
    read = statuses.get("read", 0)
    return f"{statuses.get('delivered', 0) + read:,} by their receipts, {read:,} of them read"


def _percentiles(campaign: Mapping[str, Any], what: str) -> str | None:
    p50, p99 = campaign[f"{what}_p50_ms"], campaign[f"{what}_p99_ms"]
    return None if p50 is None else f"p50 {p50:,.0f} ms, p99 {p99:,.0f} ms"
