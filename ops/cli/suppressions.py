"""``bulksend suppressions``: numbers and countries that must not get a kind of message."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.arguments import Encoding, Json, Phone, Region, SheetOption, Why, default_region
from ops.cli.context import DONE, FAILED, actor, command, ledger, settings

if TYPE_CHECKING:
    from bulksend.settings import Settings

group = typer.Typer(help="Numbers that must not get a kind of message.", no_args_is_help=True)
Map = Annotated[
    list[str] | None,
    typer.Option(help='The column that holds the numbers, e.g. to="Mobile No.".', metavar="to=COLUMN"),
]
Scope = Annotated[str, typer.Option(help="What to suppress: marketing, or all kinds of message.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="suppressions")


@group.command("add")
@command
def add(
    phone: Phone,
    reason: Annotated[str, typer.Option(help="The reason, for the operator log.")],
    scope: Scope = "marketing",
    until: Annotated[str | None, typer.Option(help="When it ends, ISO 8601; default: never.")] = None,
    region: Region = None,
    json: Json = False,
) -> int:
    """Suppress one number, or a whole country as country:XX. Applies at once, also to queued messages."""

    import time

    from bulksend.messaging.units import parse_instant_ms
    from bulksend.operations.suppressions import add_suppression, parse_scope
    from ops.cli.output import print_json, say

    of = settings()
    subject = _subject(phone, region, of)
    end = None
    if until is not None:
        now_ms = int(time.time() * 1000)
        end = parse_instant_ms(until, timezone=of.timezone or "UTC", now_ms=now_ms, field="--until")
    add_suppression(
        ledger(of),
        subject,
        scope=parse_scope(scope, field="--scope"),
        reason=reason,
        actor=actor(),
        until=end,
    )
    if json:
        print_json({"subject": subject, "scope": scope})
    else:
        say(f"{subject} is suppressed for {'all' if scope == 'all' else 'marketing'} messages")
    return DONE


@group.command("remove")
@command
def remove(
    phone: Phone,
    why: Why,
    scope: Annotated[str | None, typer.Option(help="Only of this scope; default: of every scope.")] = None,
    region: Region = None,
    json: Json = False,
) -> int:
    """Remove the suppressions of a number or country."""
    from bulksend.messaging.units import counted
    from bulksend.operations.suppressions import parse_scope, remove_suppressions
    from ops.cli.output import print_json, say

    of = settings()
    subject = _subject(phone, region, of)
    only = None if scope is None else parse_scope(scope, field="--scope")
    count = remove_suppressions(ledger(of), subject, scope=only, actor=actor(), why=why)
    if json:
        print_json({"subject": subject, "removed": count})
    else:
        say(
            f"{subject}: {counted(count, 'suppression')} removed" if count else f"{subject} is not suppressed"
        )
    return DONE


@group.command("import")
@command
def import_(
    file: Annotated[
        Path, typer.Argument(help="CSV, XLSX or JSONL with the numbers in a column `to` or an alias.")
    ],
    reason: Annotated[str, typer.Option(help="The reason, for the operator log.")] = "imported",
    scope: Scope = "marketing",
    region: Region = None,
    encoding: Encoding = None,
    sheet: SheetOption = None,
    map: Map = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every row and count; change nothing.")
    ] = False,
    json: Json = False,
) -> int:
    """Suppress every number of a file. For example an older system's opt-out list. Exit code 1 if a row is refused.

    A file of `export` keeps its own scopes, reasons, sources and ends.
    """
    from bulksend.messaging.argument_naming import as_cli_option
    from bulksend.messaging.units import counted
    from bulksend.operations.suppressions import parse_scope
    from ops.cli.output import print_json, refused_rows, say, say_notes
    from producer.suppression_files import SuppressionFile

    of = settings()
    report, notes = SuppressionFile(
        path=file,
        naming=as_cli_option,
        columns=map or (),
        encoding=encoding,
        sheet=sheet,
        default_region=default_region(region, of),
    ).take_in(
        ledger(of),
        scope=parse_scope(scope, field="--scope"),
        reason=reason,
        actor=actor(),
        dry_run=dry_run,
    )
    say_notes(notes)
    if json:
        print_json(report.as_json() | {"notes": notes})
    else:
        newly = "would be newly suppressed" if dry_run else "newly suppressed"
        say(f"{report.added:,} {newly}, {report.before:,} suppressed before")
        if report.refused:
            say(
                f"{counted(len(report.refused), 'row')} refused: these numbers are NOT suppressed; correct the "
                "rows and import them again",
                "red",
            )
            refused_rows(report.refused, len(report.refused))
    return FAILED if report.refused else DONE


@group.command("export")
@command
def export(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="FILE.csv, .jsonl, .xlsx or .parquet; - is CSV on stdout.")
    ],
) -> int:
    """Write every suppression to a file that `import` takes as it is, with its scope, reason, source and end."""
    from bulksend.messaging.units import counted
    from bulksend.operations.suppressions import OWN_COLUMNS, every_suppression
    from ops.cli.output import say
    from ops.export_files import checked_format, open_writer

    if str(output) != "-":
        checked_format(output.suffix, field="--output")
    count = 0
    database = ledger(settings())
    with open_writer(output, OWN_COLUMNS) as write, database.read() as tx:
        for row in every_suppression(tx):
            write(row)
            count += 1
    say(f"Wrote {counted(count, 'suppression')} to {output}")
    return DONE


@group.command("list")
@command
def list_(
    phone: Annotated[str | None, typer.Option(help="Only this number.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most this many.")] = 100,
    after: Annotated[
        str, typer.Option(help="Only numbers after this one, the last of the page before.")
    ] = "",
    region: Region = None,
    json: Json = False,
) -> int:
    """The suppressions, by number."""
    from bulksend.operations.suppressions import list_suppressions
    from ops.cli.output import Times, print_page, say_next, table

    of = settings()
    subject = None if phone is None else _subject(phone, region, of)
    page = list_suppressions(ledger(of), after=after, limit=limit, subject=subject)
    if json:
        print_page(page)
        return DONE
    columns = ["subject", "scope", "reason", "source", "added_at", "until"]
    rows = [[item[column] for column in columns] for item in page.items]
    table(columns, rows, optional=("added_at", "source"), times=Times(of.timezone or "UTC"))
    say_next(page)
    return DONE


def _subject(phone: str, region: str | None, of: Settings) -> str:
    from bulksend.operations.suppressions import parse_subject

    return parse_subject(phone, default_region(region, of), field="PHONE")
