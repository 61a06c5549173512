"""``bulksend consent``: what is on record of whom agreed to get messages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ops.cli.arguments import Region, default_region
from ops.cli.context import DONE, command, ledger, settings

group = typer.Typer(help="Consents that rows of campaigns brought.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="consent")


# Without this, a group of one command would be that command.
@group.callback()
def _group() -> None:
    """Consents that rows of campaigns brought."""


@group.command("report")
@command
def report(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="FILE.csv, .jsonl, .xlsx or .parquet; - is CSV on stdout.")
    ],
    phone: Annotated[str | None, typer.Option(help="Only of this number.")] = None,
    region: Region = None,
) -> int:
    """Write every consent on record to a file: whose, where and when given, by which campaign, and since suppressed."""
    from bulksend.messaging import parse_recipient
    from bulksend.messaging.units import counted
    from bulksend.operations import consents
    from ops.cli.output import say
    from ops.export_files import checked_format, open_writer

    of = settings()
    if str(output) != "-":
        checked_format(output.suffix, field="--output")
    subject = None
    if phone is not None:
        subject = parse_recipient(phone, default_region=default_region(region, of), field="--phone")
    count = 0
    database = ledger(of)
    with open_writer(output, consents.COLUMNS) as write, database.read() as tx:
        for row in consents.report(tx, subject=subject):
            write(row)
            count += 1
    say(f"Wrote {counted(count, 'consent')} to {output}")
    return DONE
