"""``bulksend demo``: the whole product on this machine, against a vendor that misbehaves; then a report."""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from bulksend.ledger import senders
from bulksend.ledger.database import Database
from bulksend.messaging.units import format_instant
from ops import run_report
from ops.cli.output import line, print_json, say
from ops.local.ports import free_port
from ops.stack import EXAMPLES, ROOT, SENDER, Stack, neutral_environ, running
from producer.files import FilePlan, plan_file
from producer.intake import Intake

FOLDER = Path(".bulksend/demo")
ALL_ROWS = 2000
#: The one-time codes fall due while the campaign is being sent.
CODES_AFTER_S = 8.0
PATIENCE_S = 150.0


def run_demo(*, rows: int, as_json: bool) -> int:
    """Run it. Returns 0 if everything ended, the audit holds and the vendor got nothing twice; else 1."""
    began = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    stack = Stack(
        FOLDER,
        environ=neutral_environ(),
        simulator_options=("--faults", str(EXAMPLES / "demo-faults.json")),
        vendor_settings={
            **json.loads((EXAMPLES / "demo-vendor.json").read_text(encoding="utf-8")),
            "receipts": run_report.QUICK_RECEIPTS,
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
        report["seconds"] = round(time.monotonic() - began, 1)
        database.close()
    if as_json:
        print_json(report)
    else:
        _show(report)
    return 0 if report["well"] else 1


def _send(stack: Stack, database: Database, rows: int, *, live: bool) -> dict[str, Any]:
    due = format_instant(int((time.time() + CODES_AFTER_S) * 1000))
    plans = [
        _plan(_first_rows(EXAMPLES / "spring-sale.csv", rows), "spring-sale", "marketing"),
        _plan(EXAMPLES / "login-codes.csv", "login-codes", "otp", at=due, ttl="5m"),
    ]
    intake = Intake.from_settings(stack.settings, database)
    ids = [plan.run(intake).campaign_id for plan in plans]
    return run_report.finish(stack, database, ids, live=live, patience_s=PATIENCE_S)


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


def _show(report: Mapping[str, Any]) -> None:
    run_report.show(report, senders.DEFAULT_RATE)
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
