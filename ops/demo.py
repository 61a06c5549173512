"""``bulksend demo``: the whole product on this machine, against a vendor that misbehaves; then a report."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from bulksend.ledger import raw_receipts
from bulksend.ledger.database import Database
from bulksend.ledger.schema import attempts, messages
from bulksend.messaging.plan import RefusedRow
from bulksend.messaging.states import SENT
from bulksend.messaging.units import format_instant
from bulksend.operations import campaigns
from bulksend.operations.audit import audit
from bulksend.operations.progress import Watch
from ops.cli.output import line, pairs, print_json, refused_rows, say, table
from ops.cli.watching import follow
from ops.local.ports import free_port
from ops.stack import ROOT, Stack, running
from producer.files import FilePlan, plan_file
from producer.intake import Intake

FOLDER = Path(".bulksend/demo")
#: In a wheel they are beside this module, in a checkout at its root.
EXAMPLES = next(
    folder for folder in (Path(__file__).with_name("examples"), ROOT / "examples") if folder.is_dir()
)
SENDER = "8615000579987"
ALL_ROWS = 2000
#: The one-time codes fall due while the campaign is being sent.
CODES_AFTER_S = 8.0
PATIENCE_S = 150.0
#: The slowest receipt comes some seconds after its message.
RECEIPTS_S = 30.0
_RECEIPTS = {
    "delivered": {"kind": "lognormal", "median_ms": 400, "p99_ms": 2000},
    "delivered_share": 0.97,
    "read": {"kind": "lognormal", "median_ms": 1500, "p99_ms": 4000},
    "read_share": 0.5,
    "duplicate_share": 0.05,
    "out_of_order_share": 0.05,
}


def run_demo(*, rows: int, as_json: bool) -> int:
    """Run it. Returns 0 if everything ended, the audit holds and the vendor got nothing twice; else 1."""
    began = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    stack = Stack(
        FOLDER,
        environ=_neutral_environ(),
        simulator_options=("--faults", str(EXAMPLES / "demo-faults.json")),
        vendor_settings={
            **json.loads((EXAMPLES / "demo-vendor.json").read_text(encoding="utf-8")),
            "receipts": _RECEIPTS,
        },
        api_port=free_port(),
    )
    if not as_json:
        say(
            "starting a queue, a ledger, a worker, a relay, the API and a simulated vendor here; nothing is real"
        )
    with running(stack):
        database = Database(stack.settings_environ["DATABASE_URL"])
        report = _send(stack, database, rows, live=not as_json)
        report["vendor"] = _vendor_stats(stack)
        report["seconds"] = round(time.monotonic() - began, 1)
        database.close()
    report["well"] = bool(report["audit"]["holds"] and report["ended"] and not report["vendor"]["twice"])
    if as_json:
        print_json(report)
    else:
        _show(report)
    return 0 if report["well"] else 1


def _neutral_environ() -> dict[str, str]:
    """The environment without the variables that could point the demo to a real server."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BULKSEND_", "USPEEDO_")) and name not in ("DATABASE_URL", "REDIS_URL")
    }


def _send(stack: Stack, database: Database, rows: int, *, live: bool) -> dict[str, Any]:
    due = format_instant(int((time.time() + CODES_AFTER_S) * 1000))
    plans = [
        _plan(_first_rows(EXAMPLES / "spring-sale.csv", rows), "spring-sale", "marketing"),
        _plan(EXAMPLES / "login-codes.csv", "login-codes", "otp", at=due, ttl="5m"),
    ]
    intake = Intake.from_settings(stack.settings, database)
    ids = [plan.run(intake).campaign_id for plan in plans]
    ended = follow(Watch(database, ids), sys.stderr if live else None, patience_s=PATIENCE_S)
    ended = _await_receipts(stack, database) and ended
    with database.read() as tx:
        found = audit(tx)
        return {
            "campaigns": [{**campaigns.details(tx, id), **_timings(tx, id)} for id in ids],
            "ended": ended,
            "audit": {"holds": found.holds, "broken": [f.rule for f in found.findings if f.broken]},
        }


def _await_receipts(stack: Stack, database: Database) -> bool:
    """Wait until every receipt that the vendor sends is applied. Returns False when that takes too long."""
    deadline = time.monotonic() + RECEIPTS_S
    while time.monotonic() < deadline:
        if not stack.inspect("stats")["receipts"]["pending"]:
            with database.read() as tx:
                if not raw_receipts.waiting(tx).bodies:
                    return True
        time.sleep(0.1)
    return False


def _plan(file: Path, name: str, kind: str, at: str | None = None, ttl: str | None = None) -> FilePlan:
    content = EXAMPLES / f"{name}.content.json"
    common: dict[str, Any] = {"sender": SENDER, "type": "template", "created_by": "demo"}
    return plan_file(file, content=content, kind=kind, name=name, at=at, ttl=ttl, **common)


def _first_rows(file: Path, rows: int) -> Path:
    """The file, or a copy with its first rows."""
    if rows >= ALL_ROWS:
        return file
    copy = FOLDER / file.name
    with (
        file.open(encoding="utf-8-sig", newline="") as source,
        copy.open("w", encoding="utf-8", newline="") as target,
    ):
        csv.writer(target, delimiter=";").writerows(islice(csv.reader(source, delimiter=";"), rows + 1))
    return copy


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
        "rate": round(stats["sends"]["mean_requests_per_second"], 1),
    }


def _show(report: Mapping[str, Any]) -> None:
    for campaign in report["campaigns"]:
        _show_campaign(campaign)
    vendor = report["vendor"]
    pairs(
        {
            "requests": f"{vendor['requests']:,}",
            "messages": f"{vendor['stored']:,}, {vendor['twice'] or 'none'} twice",
            "rate": f"{vendor['rate']:g}/s; at most {vendor['most_in_a_second']} in a second, the limit is 80",
        },
        title="What the vendor received",
    )
    if report["audit"]["holds"]:
        say("the audit holds: no message lost, none sent twice", "green")
    else:
        say("the audit FAILS", "bold red")
    if not report["ended"]:
        say(
            f"some messages did not end within {PATIENCE_S:.0f} s; see the logs in {FOLDER / 'logs'}",
            "bold red",
        )
    say(f"\n{report['seconds']:g} s. To look at it, in this folder:", "bold")
    program = "./run bulksend" if (ROOT / "run").is_file() else "bulksend"
    line(f"export DATABASE_URL=sqlite:///{FOLDER / 'ledger.db'}")
    for words, what in (
        ("campaigns show spring-sale", "the whole campaign, and why rows were refused"),
        ("export spring-sale -o spring-sale.csv", "who got it, who did not, and why"),
        ("messages find --status unknown", "messages that may have gone out"),
        ("messages show ID", "one message: what was sent, each attempt and receipt"),
        ("audit", "prove it again from the ledger alone"),
    ):
        line(f"# {what}")
        line(f"{program} {words}")


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
