"""``bulksend campaigns breakdown`` and ``report``: what became of a campaign, as tables and as a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from ops.cli.arguments import CampaignId, Json
from ops.cli.context import DONE, command, ledger, settings


def register(group: typer.Typer) -> None:
    """Add the commands to the group of campaigns."""
    group.command("breakdown")(breakdown)
    group.command("report")(report)


@command
def breakdown(id: CampaignId, json: Json = False) -> int:
    """Count its messages by step, country, hour and reason. Reads each of them, which takes some seconds a million."""
    from bulksend.operations.breakdown import break_down
    from ops.cli.output import Times, pairs, print_json, table

    of = settings()
    with ledger(of).read() as tx:
        found = break_down(tx, id)
    if json:
        print_json(found)
        return DONE
    times = Times(found["timezone"] or of.timezone or "UTC")
    steps = ("messages", "accepted", "delivered", "read", "failed", "unknown")
    pairs({name: f"{n:,}" for name, n in found["funnel"].items()}, title=found["name"], times=times)
    table(
        ["country", *steps],
        [(each["country"] or "-", *(f"{each[name]:,}" for name in steps)) for each in found["countries"]],
        optional=("unknown", "failed"),
    )
    hourly = ("accepted", "delivered", "read", "failed")
    table(
        ["hour", *hourly],
        [(each["hour"], *(f"{each[name]:,}" for name in hourly)) for each in found["hours"]],
        times=times,
    )
    if found["failures"]:
        why = ("status", "count", "code", "sentence", "remedy")
        rows = [tuple(each[name] for name in why) for each in found["failures"]]
        title = sample_title(found["statuses"], found["failures_of"])
        table(["status", "messages", "code", "why", "what follows"], rows, title=title)
    return DONE


@command
def report(
    id: CampaignId,
    output: Annotated[Path, typer.Option("-o", "--output", help="FILE.html; - is stdout.")],
) -> int:
    """Write a report as one HTML file with charts, for people and for paper. It has no number of a recipient."""
    from bulksend.operations.report import report as write_report
    from ops.cli.output import say
    from ops.export_files import check_ending, write_text

    check_ending(output, (".html", ".htm"), field="--output")
    of = settings()
    write_text(output, write_report(ledger(of), id, timezone=of.timezone), field="--output")
    say(f"Wrote the report to {output}")
    return DONE


def sample_title(statuses: Mapping[str, int], looked_at: Mapping[str, int]) -> str | None:
    """The messages that the reasons were taken from, unless these are all."""
    parts = [f"{n:,} newest of {statuses[s]:,} {s}" for s, n in looked_at.items() if n < statuses[s]]
    return f"Why: {', '.join(parts)}" if parts else None
