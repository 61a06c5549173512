"""``bulksend campaigns clone``: a campaign again, for another file or for its rest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ops.cli.arguments import CampaignId, Json, Yes
from ops.cli.context import actor, command, ledger, settings


def register(group: typer.Typer) -> None:
    """Add the command to the group of campaigns."""
    group.command("clone")(clone)


@command
def clone(
    id: CampaignId,
    file: Annotated[
        Path | None, typer.Argument(help="The rows of the new campaign: CSV, XLSX or JSONL.")
    ] = None,
    rest: Annotated[
        bool,
        typer.Option("--rest", help="Instead of a file: the people whom a cancelled campaign did not reach."),
    ] = False,
    name: Annotated[str | None, typer.Option(help="The new campaign's name.")] = None,
    at: Annotated[str | None, typer.Option(help="When to send, ISO 8601; default: now.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Start a new campaign even where people have the same message.")
    ] = False,
    into: Annotated[
        str | None,
        typer.Option("--continue", help="Add the rows that this campaign does not have.", metavar="NAME"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every row and forecast; change nothing.")
    ] = False,
    yes: Yes = False,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it until every message has ended.")] = False,
    json: Json = False,
) -> int:
    """Send a file with the content and the options of a campaign; only name, key and due time are its own."""
    from bulksend.errors import InvalidInput
    from bulksend.messaging.argument_naming import as_cli_option
    from ops.cli.output import say_notes
    from ops.cli.send import send_plan, show_forecast
    from producer.clones import plan_clone, plan_rest

    if (file is None) != rest:
        raise InvalidInput("FILE: give the file of the new campaign, or --rest without a file")
    of = settings()
    database = ledger(of)
    if file is None:
        if again or dry_run or into is not None:
            raise InvalidInput(
                "--rest: goes to each person once and has no dry run; leave out --again, --continue and --dry-run. "
                f"`bulksend campaigns show {id}` has its numbers"
            )
        plan = plan_rest(database, id, of=of, created_by=actor(), name=name, at=at, naming=as_cli_option)
        say_notes(plan.notes)
        return send_plan(of, plan, json, wait=wait, yes=yes)
    copy = plan_clone(
        database,
        id,
        file,
        of=of,
        created_by=actor(),
        name=name,
        at=at,
        again=again,
        into=into,
        naming=as_cli_option,
    )
    say_notes(copy.notes)
    if dry_run:
        return show_forecast(of, copy, json)
    return send_plan(of, copy, json, wait=wait, yes=yes)
