"""``bulksend audit``: whether the promises hold, from the ledger alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.context import DONE, FAILED, guarded

if TYPE_CHECKING:
    from bulksend.ledger.audit import Report


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("audit")(audit)


def audit(
    campaign: Annotated[str | None, typer.Option(help="Only this campaign, by id or name.")] = None,
    metrics: Annotated[
        Path | None,
        typer.Option(
            help="Write the verdict there as Prometheus metrics too, for node_exporter's textfiles."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Prove the promises from the ledger; exit 1 where one is broken."""

    def work() -> int:
        import time

        from bulksend.errors import InvalidInput
        from bulksend.ledger import audit as auditing
        from bulksend.ledger import campaigns
        from ops.cli.context import ledger, settings

        _check(campaign, metrics)
        began = time.monotonic()
        with ledger(settings()).read() as tx:
            id = campaigns.find(tx, campaign).id if campaign is not None else None
            report = auditing.audit(tx, campaign_id=id)
        seconds = time.monotonic() - began
        _tell_json(report) if json else _tell(report)
        if metrics is not None:
            from ops.audit_metrics import write_metrics

            try:
                write_metrics(report, metrics, finished_at=time.time(), seconds=seconds)
            except OSError as error:
                raise InvalidInput(f"--metrics: {metrics} cannot be written: {error.strerror}") from None
        return DONE if report.holds else FAILED

    raise SystemExit(guarded(work))


def _check(campaign: str | None, metrics: Path | None) -> None:
    """Before an audit of minutes, what would make it useless."""
    from bulksend.errors import InvalidInput

    if metrics is None:
        return
    if campaign is not None:
        raise InvalidInput("--metrics: a verdict on one campaign is none on the ledger; leave --campaign out")
    if not metrics.parent.is_dir():
        raise InvalidInput(f"--metrics: there is no folder {metrics.parent}")


def _tell_json(report: Report) -> None:
    from dataclasses import asdict

    from ops.cli.output import print_json

    findings = [asdict(f) for f in report.findings]
    print_json({"holds": report.holds, "counts": report.counts, "findings": findings})


def _tell(report: Report) -> None:
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
        "the promises hold" if report.holds else "a promise is BROKEN",
        "green" if report.holds else "bold red",
    )
