"""``bulksend audit``: whether the promises hold, from the ledger alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.arguments import Json
from ops.cli.context import DONE, FAILED, actor, command, ledger, settings

if TYPE_CHECKING:
    from bulksend.ledger.audit import Report


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("audit")(audit)


@command
def audit(
    campaign: Annotated[str | None, typer.Option(help="Only this campaign, by id or name.")] = None,
    metrics: Annotated[
        Path | None,
        typer.Option(
            help="Also write the result there as Prometheus metrics, for node_exporter's textfile collector."
        ),
    ] = None,
    json: Json = False,
) -> int:
    """Prove the promises from the ledger, and keep the result there. Exit code 1 if one is broken."""
    from bulksend.errors import InvalidInput
    from bulksend.operations import audit as operation
    from ops.cli.output import print_json, say

    _check(campaign, metrics)
    done = operation.audit_and_keep(ledger(settings()), campaign=campaign, actor=actor())
    report = done.report
    print_json(operation.as_json(report)) if json else _show(report)
    if done.not_kept is not None:
        say(f"This result is not kept: {done.not_kept}", "yellow")
    if metrics is not None:
        from ops.audit_metrics import write_metrics

        try:
            write_metrics(report, metrics, finished_at=time.time(), seconds=done.seconds)
        except OSError as error:
            raise InvalidInput(f"--metrics: {metrics} cannot be written: {error.strerror}") from None
    return DONE if report.holds else FAILED


def _check(campaign: str | None, metrics: Path | None) -> None:
    """An audit may take minutes: refuse before it what would make its result useless."""
    from bulksend.errors import InvalidInput
    from ops.export_files import check_is_file

    if metrics is None:
        return
    if campaign is not None:
        raise InvalidInput("--metrics: is for an audit of the whole ledger; leave out --campaign")
    if not metrics.parent.is_dir():
        raise InvalidInput(f"--metrics: there is no folder {metrics.parent}")
    check_is_file(metrics, field="--metrics")


def _show(report: Report) -> None:
    from ops.cli.output import say, table

    table(
        ["rule", "checked", "broken", "promise"],
        [(f.rule, f"{f.checked:,}", f"{f.broken:,}" if f.broken else "", f.promise) for f in report.findings],
    )
    for finding in report.findings:
        for offender in finding.offenders:
            say(f"{finding.rule}: {offender}", "red")
        if finding.broken > len(finding.offenders):
            say(f"{finding.rule}: and {finding.broken - len(finding.offenders):,} more", "red")
    say(
        "All promises hold" if report.holds else "A promise is BROKEN",
        "green" if report.holds else "bold red",
    )
