"""``bulksend demo``: the whole product on this machine, against a vendor that misbehaves; then a report."""

from __future__ import annotations

import csv
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from bulksend.ledger import audit as auditing
from bulksend.ledger import campaigns, progress
from bulksend.ledger.database import Database
from bulksend.ledger.schema import attempts, messages
from bulksend.messaging.plan import RefusedRow
from bulksend.messaging.units import format_instant
from ops.cli.output import line, pairs, print_json, refused_rows, say, table
from ops.stack import ROOT, Stack, running

FOLDER = Path(".bulksend/demo")
#: In a wheel they lie beside this module, in a checkout at its root.
EXAMPLES = next(
    folder for folder in (Path(__file__).with_name("examples"), ROOT / "examples") if folder.is_dir()
)
SENDER = "8615000579987"
#: The codes fall due while the blast is well under way.
CODES_AFTER_S = 8.0
PATIENCE_S = 150.0


def run_demo(*, rows: int, as_json: bool) -> int:
    """Run it; 0 only if everything ended and the audit holds."""
    began = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    stack = Stack(
        FOLDER,
        environ=_without_ours(),
        simulator_options=(
            *("--faults", str(EXAMPLES / "demo-faults.json")),
            *("--settings", str(EXAMPLES / "demo-vendor.json")),
        ),
    )
    if not as_json:
        say(
            "a queue, a ledger, a worker, a relay and a simulated vendor start on this machine; nothing is real"
        )
    with running(stack):
        database = Database(stack.settings_environ["DATABASE_URL"])
        report = _play(stack, database, rows, live=not as_json)
        report["vendor"] = _vendor_saw(stack)
        report["seconds"] = round(time.monotonic() - began, 1)
        database.close()
    report["well"] = bool(report["audit"]["holds"] and report["ended"] and not report["vendor"]["twice"])
    if as_json:
        print_json(report)
    else:
        _tell(report, f"sqlite:///{FOLDER / 'ledger.db'}")
    return 0 if report["well"] else 1


def _without_ours() -> dict[str, str]:
    """The environment without what would point the demo to something real."""
    import os

    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BULKSEND_", "USPEEDO_")) and name not in ("DATABASE_URL", "REDIS_URL")
    }


def _play(stack: Stack, database: Database, rows: int, *, live: bool) -> dict[str, Any]:
    from bulksend.operations.progress import Watch
    from ops.cli.watching import follow
    from producer.files import plan_file
    from producer.intake import Intake

    blast_file = _cut(EXAMPLES / "spring-sale.csv", rows, FOLDER)
    codes_at = format_instant(int((time.time() + CODES_AFTER_S) * 1000))
    common: dict[str, Any] = {"sender": SENDER, "type": "template", "created_by": "demo"}
    blast = plan_file(
        blast_file,
        content=EXAMPLES / "spring-sale.content.json",
        kind="marketing",
        name="spring-sale",
        **common,
    )
    codes = plan_file(
        EXAMPLES / "login-codes.csv",
        content=EXAMPLES / "login-codes.content.json",
        kind="otp",
        name="login-codes",
        at=codes_at,
        ttl="5m",
        **common,
    )
    taking_in = Intake.from_settings(stack.settings, database)
    reports = [plan.run(taking_in) for plan in (blast, codes)]
    watch = Watch(database, [r.campaign_id for r in reports])
    ended = follow(watch, sys.stderr if live else None, patience_s=PATIENCE_S)
    with database.read() as tx:
        audit = auditing.audit(tx)
        told = [_campaign(tx, r) for r in reports]
    return {
        "campaigns": told,
        "ended": ended,
        "audit": {"holds": audit.holds, "broken": [f.rule for f in audit.findings if f.broken]},
    }


def _cut(file: Path, rows: int, folder: Path) -> Path:
    """The example file, or its first rows."""
    with file.open(encoding="utf-8-sig", newline="") as source:
        lines = list(csv.reader(source, delimiter=_delimiter(file)))
    if rows >= 2000:
        return file
    cut = folder / file.name
    with cut.open("w", encoding="utf-8", newline="") as target:
        csv.writer(target, delimiter=_delimiter(file)).writerows(lines[: rows + 1])
    return cut


def _delimiter(file: Path) -> str:
    header = file.read_text(encoding="utf-8-sig").splitlines()[0]
    return max(",;\t", key=header.count)


def _campaign(tx: Any, report: Any) -> dict[str, Any]:
    """What the report says of one campaign."""
    campaign = campaigns.get(tx, report.campaign_id)
    statuses = campaigns.status_counts(tx, campaign.id)
    of_it = messages.c.campaign_id == campaign.id
    joined = attempts.join(messages, attempts.c.message_pk == messages.c.id)
    times = tx.execute(
        select(
            attempts.c.started_at,
            attempts.c.latency_ms,
            messages.c.due_at,
            attempts.c.n,
            attempts.c.bytes_sent,
        )
        .select_from(joined)
        .where(of_it)
        .order_by(attempts.c.started_at)
    ).all()
    posts = [t for t in times if t.bytes_sent]
    first_waits = [t.started_at - t.due_at for t in times if t.n == 1]
    retried = tx.execute(
        select(func.count()).select_from(messages).where(of_it, messages.c.attempts > 1)
    ).scalar_one()
    return {
        "campaign_id": campaign.id,
        "name": campaign.name,
        "kind": campaign.kind.value,
        "rows": campaign.rows_read,
        "messages": campaign.messages,
        "duplicates": campaign.duplicates,
        "refused_rows": campaign.refused,
        "statuses": statuses,
        "sent": sum(statuses.get(s, 0) for s in ("accepted", "delivered", "read")),
        "retried": retried,
        "reasons": [
            {"status": s, "why": why, "count": n} for s, why, n in progress.failure_reasons(tx, campaign.id)
        ],
        "refused": [dict(r) for r in campaigns.refused_rows(tx, campaign.id, 200)],
        "rate": _rate([t.started_at for t in posts]),
        "post_p50_ms": _percentile([t.latency_ms for t in posts if t.latency_ms is not None], 50),
        "post_p99_ms": _percentile([t.latency_ms for t in posts if t.latency_ms is not None], 99),
        "due_to_post_p50_ms": _percentile(first_waits, 50),
        "due_to_post_p99_ms": _percentile(first_waits, 99),
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


def _vendor_saw(stack: Stack) -> dict[str, Any]:
    """The simulated vendor's own record, which knows nothing of our ledger."""
    stats = stack.inspect("stats")
    duplicates = stack.inspect("duplicates")
    return {
        "requests": stats["requests"],
        "stored": stats["stored"],
        "twice": len(duplicates),
        "most_in_a_second": stats["sends"]["max_requests_in_any_second"],
        "rate": round(stats["sends"]["mean_requests_per_second"], 1),
    }


def _percentiles(told: Mapping[str, Any], what: str) -> str | None:
    p50, p99 = told[f"{what}_p50_ms"], told[f"{what}_p99_ms"]
    return None if p50 is None else f"p50 {p50:,.0f} ms, p99 {p99:,.0f} ms"


def _tell(report: Mapping[str, Any], database_url: str) -> None:
    for told in report["campaigns"]:
        pairs(
            {
                "messages": f"{told['messages']:,} of {told['rows']:,} rows"
                + (f", {told['duplicates']} duplicates" if told["duplicates"] else "")
                + (f", {told['refused_rows']} refused" if told["refused_rows"] else ""),
                "sent": f"{told['sent']:,}",
                "retried": f"{told['retried']:,} after attempts that surely did not reach the vendor",
                "unknown": f"{told['statuses'].get('unknown', 0)} that may have gone out; never sent again by itself",
                "failed": f"{told['statuses'].get('failed', 0)}",
                "POST": _percentiles(told, "post"),
                "due to POST": _percentiles(told, "due_to_post") if told["kind"] == "otp" else None,
            },
            title=f"{told['name']} ({told['kind']})",
        )
        if told["reasons"]:
            table(
                ["status", "why", "messages"], [(r["status"], r["why"], r["count"]) for r in told["reasons"]]
            )
        refused_rows([RefusedRow(**row) for row in told["refused"]], told["refused_rows"])
    vendor = report["vendor"]
    pairs(
        {
            "requests": f"{vendor['requests']:,}",
            "messages": f"{vendor['stored']:,}, {vendor['twice'] or 'none'} twice",
            "rate held": f"{vendor['rate']:g}/s, its fullest second {vendor['most_in_a_second']}; the limit is 80",
        },
        title="What the vendor saw",
    )
    holds = report["audit"]["holds"]
    say(
        "the audit holds: nothing lost, nothing doubled" if holds else "the audit FAILS",
        "green" if holds else "bold red",
    )
    if not report["ended"]:
        say(f"not everything ended within {PATIENCE_S:.0f} s; the logs are in {FOLDER / 'logs'}", "bold red")
    say(f"\n{report['seconds']:g} s. Look at it, in this folder:", "bold")
    program = "./run bulksend" if (ROOT / "run").is_file() else "bulksend"
    line(f"export DATABASE_URL={database_url}")
    for words, what in (
        ("campaigns show spring-sale", "the whole campaign, and why rows were refused"),
        ("export spring-sale -o spring-sale.csv", "who got it, who did not, and why"),
        ("messages find --status unknown", "what may have gone out"),
        ("messages show ID", "one message: what was sent, each attempt and receipt"),
        ("audit", "prove it again from the ledger alone"),
    ):
        line(f"# {what}")
        line(f"{program} {words}")
