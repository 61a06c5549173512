"""``bulksend send``: a file becomes a campaign."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.doors import BAD_INPUT, DONE, FAILED, guarded

if TYPE_CHECKING:
    from bulksend.ledger.database import Database
    from producer.files import FilePlan
    from producer.intake import IntakeReport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("send")(send)


def send(
    file: Annotated[
        Path, typer.Argument(help="CSV, XLSX or JSONL with a header; the recipient's column is `to`.")
    ],
    sender: Annotated[str, typer.Option(help="The business number that sends.", metavar="PHONE")],
    type: Annotated[
        str, typer.Option(help="text, image, video, audio, document, location, sticker or template.")
    ],
    content: Annotated[Path, typer.Option(help="The vendor's Content object, {{column}} in any string.")],
    kind: Annotated[str, typer.Option(help="otp, utility or marketing.")],
    name: Annotated[str | None, typer.Option(help="The campaign's name; default: the file's.")] = None,
    at: Annotated[str | None, typer.Option(help="When to send, ISO 8601; default: now.")] = None,
    ttl: Annotated[
        str | None, typer.Option(help="Never send later than this after its time, e.g. 10m.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="At most so fast, e.g. 40/s; default: the sender's.")
    ] = None,
    on_unknown: Annotated[
        str, typer.Option(help="What to do with a message that may have gone out: hold or resend.")
    ] = "hold",
    key: Annotated[
        str | None, typer.Option(help="Finds this campaign again; default: a hash of the input.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="A new campaign, though the same was sent before.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every row and forecast; change nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it until every message has ended.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    region: Annotated[
        str | None, typer.Option(help="Country of numbers written without one, e.g. GB.", metavar="XX")
    ] = None,
    timezone: Annotated[str | None, typer.Option(help="Zone of times written without one.")] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of a CSV that is not UTF-8, e.g. cp1252.")
    ] = None,
    sheet: Annotated[str | None, typer.Option(help="Sheet of an XLSX; default: the first.")] = None,
) -> None:
    """Send a file. Running the same command twice sends nothing twice, and says so."""

    def work() -> int:
        from ops.cli.doors import actor, ledger, settings
        from ops.cli.output import say
        from producer.files import plan_file

        of = settings()
        plan = plan_file(
            file,
            sender=sender,
            type=type,
            content=content,
            kind=kind,
            name=name,
            at=at,
            ttl=ttl,
            rate=rate,
            on_unknown=on_unknown,
            key=key,
            again=again,
            default_region=region or of.default_region,
            timezone=timezone or of.timezone,
            encoding=encoding,
            sheet=sheet,
            created_by=actor(),
        )
        for note in plan.notes:
            say(note, "yellow")
        if dry_run:
            return _dry_run(plan, json)
        from ops.cli.wiring import intake, watch_campaign

        with_progress = not json
        database = ledger(of)
        _collect_seldom()
        _hand_over_soon()
        report = plan.run(intake(of, database, progress=_progress(with_progress)))
        statuses = watch_campaign(of, database, report.campaign_id, live=with_progress) if wait else None
        _show(report, statuses, json, waited=wait)
        if not wait:
            _warn_if_nobody_works(database)
        if wait and statuses and (statuses.get("failed") or statuses.get("unknown")):
            return FAILED
        return DONE

    raise SystemExit(guarded(work))


def _collect_seldom() -> None:
    """Millions of rows come and go, none in a cycle, and looking for cycles takes a fifth of the intake's time."""
    import gc

    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _hand_over_soon() -> None:
    """One thread reads while another stores. By itself who comes back from the database waits 5 ms for the interpreter,
    dozens of times a chunk: a quarter of the intake's time."""
    import sys

    sys.setswitchinterval(0.0005)


def _warn_if_nobody_works(database: Database) -> None:
    from bulksend.ledger import leases
    from ops.cli.output import say

    with database.read() as tx:
        if not leases.alive(tx):
            say(
                "no worker is at work: nothing goes out until `bulksend worker` and `bulksend relay` run",
                "yellow",
            )


def _progress(shown: bool):  # type: ignore[no-untyped-def]
    import sys

    if not shown or not sys.stderr.isatty():
        return lambda rows: None

    def progress(rows: int) -> None:
        sys.stderr.write(f"\r  {rows:,} rows taken in")
        sys.stderr.flush()

    return progress


def _dry_run(plan: FilePlan, as_json: bool) -> int:
    from ops.cli.doors import ledger, settings
    from ops.cli.output import Times, pairs, print_json, table

    of = settings()
    forecast = plan.rehearse(ledger(of))
    if as_json:
        print_json(forecast.as_json())
        return DONE
    pairs(forecast.summary(), title="Dry run: nothing was changed", times=Times(plan.timezone or "UTC"))
    if forecast.refused:
        table(
            ["row", "field", "value", "why"],
            [(r.row, r.field, r.value, r.why) for r in forecast.refused[:20]],
            title=f"Refused rows ({forecast.refused_count})",
        )
    return DONE if forecast.messages else BAD_INPUT


def _show(report: IntakeReport, statuses: dict[str, int] | None, as_json: bool, *, waited: bool) -> None:
    from ops.cli.output import pairs, print_json, say, table

    if as_json:
        shown: dict[str, object] = {
            "campaign_id": report.campaign_id,
            "rows": report.rows,
            "messages": report.messages,
            "duplicates": report.duplicates,
            "suppressed": report.suppressed,
            "refused": [
                {"row": r.row, "field": r.field, "value": r.value, "why": r.why} for r in report.refused
            ],
            "repeated": report.repeated,
            "resumed_at": report.resumed_at,
        }
        if waited:
            shown["statuses"] = statuses
        print_json(shown)
        return
    if report.new_sender:
        say(
            "the sender was not on record: registered with 80/s and no quota (`bulksend senders set` changes it)"
        )
    if report.repeated:
        say("this was sent before: nothing is sent twice. --again makes a new campaign of it", "yellow")
    elif report.resumed_at:
        say(f"an earlier run had taken in {report.resumed_at:,} rows; this one went on from there", "yellow")
    pairs(
        {
            "campaign": report.campaign_id,
            "rows": f"{report.rows:,}",
            "messages": f"{report.messages:,}",
            "duplicates": f"{report.duplicates:,}" if report.duplicates else None,
            "suppressed": f"{report.suppressed:,}" if report.suppressed else None,
            "refused": f"{len(report.refused):,}" if report.refused else None,
        }
        | ({status: f"{count:,}" for status, count in statuses.items()} if statuses else {})
    )
    if report.refused:
        table(
            ["row", "field", "value", "why"],
            [(r.row, r.field, r.value, r.why) for r in report.refused[:20]],
            title="Refused rows"
            + (f" (the first 20 of {len(report.refused)})" if len(report.refused) > 20 else ""),
        )
    if not waited:
        say(f"watch it: bulksend campaigns watch {report.campaign_id}")
