"""``bulksend rehearse``: a whole campaign against the simulated vendor, faster than in reality; then a report.

Real processes in a folder of their own, which is deleted at the end. The real ledger is only read.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bulksend import bootstrap
from bulksend.errors import InvalidValue
from bulksend.messaging.exclusions import Exclusions
from bulksend.messaging.plan import RefusedRow
from bulksend.messaging.time_rules import TimeRules
from bulksend.messaging.units import format_duration, parse_duration_ms
from bulksend.operations.media import PlacedFile, upload_placed
from bulksend.operations.rehearsals import ACTOR, copy_surroundings
from bulksend.settings import Settings, environment_name
from ops import run_report
from ops.cli.context import DONE, FAILED, leave
from ops.cli.output import print_json, say
from ops.cli.signals import Stopped, stop_on_signals
from ops.local.ports import free_port
from ops.stack import Stack, neutral_environ, running
from producer.files import FilePlan
from producer.intake import Intake
from producer.reading import RawRow

FASTEST = 1000
_HIGHEST_RATE = 100_000.0
#: A vendor as in life: its answers do not become faster.
_VENDOR = {
    "latency": {"kind": "lognormal", "median_ms": 60, "p99_ms": 600},
    "receipts": run_report.QUICK_RECEIPTS,
}
#: The rehearsal is given up after this many times its expected length, and this.
_PATIENCE, _MORE_PATIENCE_S = 3, 120.0
#: Settings that a rehearsal has as in life.
_SAME = ("otp_reserve", "pair_burst", "max_tries", "batch_size", "intake_chunk", "default_region", "timezone")
#: Settings that are times: they become shorter.
_SHORTER = ("pair_interval_seconds", "retry_base_seconds", "retry_cap_seconds", "resend_wait_seconds")
#: What a rehearsal leaves out of a send: its times, the wait for a canary's receipts, and what other campaigns decide.
_NOT_REHEARSED = ("due_at", "local_time", "canary", "exclusions")


@dataclass(frozen=True, slots=True)
class RehearsedFile(FilePlan):
    """A send of a file, ``speed`` times as fast and due now: a time of its own in a row is left out."""

    speed: float = 1.0

    def rows(self, after: int) -> Iterator[RawRow | RefusedRow]:
        """The file's rows, without their due times and with shorter times to live."""
        # Not super(): a class with slots is another one than where its methods are written.
        for row in FilePlan.rows(self, after):
            if isinstance(row, RawRow):
                row.values.pop("send_at", None)
                if "ttl" in row.values:
                    row.values["ttl"] = _shorter(row.values["ttl"], self.speed)
            yield row


def run_rehearsal(
    plan: FilePlan, of: Settings, placed: PlacedFile | None, *, speed: float, as_json: bool
) -> int:
    """Run it. Returns 0 if everything ended, the audit holds and the vendor got nothing twice; else 1.

    ``placed`` is the file of its content, which the simulated vendor gets.

    Raises InvalidInput where a send would.
    """
    began = time.monotonic()
    real = bootstrap.existing_database(of)
    if not as_json:
        say(f"a rehearsal of {plan.path.name}, {speed:g} times as fast as in life: nothing is real")
    with tempfile.TemporaryDirectory(prefix="bulksend-rehearsal-", ignore_cleanup_errors=True) as folder:
        stack = Stack(
            Path(folder), environ=_environ(of, speed), vendor_settings=_VENDOR, api_port=free_port()
        )
        try:
            with (
                stop_on_signals() as between,
                running(stack),
                closing(bootstrap.database(stack.settings)) as database,
            ):
                rate = copy_surroundings(
                    real,
                    database,
                    sender=plan.sender,
                    type=plan.type.value,
                    content=plan.template.to_json(),
                    rate=of.default_rate,
                    speed=speed,
                )
                if placed is not None:
                    upload_placed(
                        stack.settings,
                        database,
                        placed,
                        sender=plan.sender,
                        kind=plan.kind,
                        type=plan.type,
                        content=plan.template.source,
                        field="content",
                        actor=ACTOR,
                    )
                intake = Intake.from_settings(stack.settings, database, between=between)
                taken = faster(plan, speed, bootstrap.time_rules(of)).run(intake)
                limit = min(rate, (plan.rate or rate) * speed, (of.account_rate or rate) * speed)
                report = run_report.finish(
                    stack,
                    database,
                    [taken.campaign_id],
                    live=not as_json,
                    patience_s=_PATIENCE * taken.messages / limit + _MORE_PATIENCE_S,
                    between=between,
                )
        except Stopped as stop:
            leave(stop.code, "the rehearsal was stopped; nothing was real")
    report |= {"rehearsal": True, "speed": speed, "intake": taken.as_json()}
    report["seconds"] = round(time.monotonic() - began, 1)
    report["in_life_seconds"] = round((taken.messages - taken.suppressed) / limit * speed, 1)
    if as_json:
        print_json(report)
    else:
        _show(report, limit)
    return DONE if report["well"] else FAILED


def faster(plan: FilePlan, speed: float, rules: TimeRules) -> RehearsedFile:
    """The same send for a ledger of its own: it is due now as a whole, and meets no other campaign."""
    ttl_ms = plan.ttl_ms or rules.ttl_ms(plan.kind)
    given = {column: name for column, name in plan.given.items() if column not in _NOT_REHEARSED}
    values: dict[str, Any] = {each.name: getattr(plan, each.name) for each in fields(FilePlan)} | {
        "due_at_ms": None,
        "local_time": None,
        "canary": None,
        "exclusions": Exclusions(),
        "into": None,
        "given": given,
        "ttl_ms": None if ttl_ms is None else max(1, round(ttl_ms / speed)),
        "rate": None if plan.rate is None else min(_HIGHEST_RATE, plan.rate * speed),
        "created_by": ACTOR,
    }
    return RehearsedFile(**values, speed=speed)


def _shorter(ttl: object, speed: float) -> object:
    """A row's time to live; what is none stays as it is, and refuses the row."""
    if not isinstance(ttl, str) or not ttl.strip():
        return ttl
    try:
        return f"{max(1, round(parse_duration_ms(ttl) / speed))}ms"
    except InvalidValue:
        return ttl


def _environ(of: Settings, speed: float) -> dict[str, str]:
    """The settings of its processes: faster limits, shorter waits, and nothing that leads to a real server."""
    values = {name: getattr(of, name) for name in _SAME}
    values |= {name: getattr(of, name) / speed for name in _SHORTER}
    values |= {
        "default_rate": min(_HIGHEST_RATE, of.default_rate * speed),
        "account_rate": None if of.account_rate is None else of.account_rate * speed,
        # The simulated vendor has no templates of its own to read.
        "template_sync_seconds": 0,
    }
    return neutral_environ() | {
        environment_name(name): f"{value:.9f}" if isinstance(value, float) else str(value)
        for name, value in values.items()
        if value is not None
    }


def _show(report: dict[str, Any], limit: float) -> None:
    run_report.show(report, limit)
    if not report["ended"]:
        say("some messages did not end in time", "bold red")
    in_life = format_duration(int(report["in_life_seconds"] * 1000))
    say(f"{report['seconds']:g} s; in life its messages take {in_life} at the rate of now")
