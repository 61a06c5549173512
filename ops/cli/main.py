"""``bulksend``: the commands. Each imports what it needs only when it runs, so that ``--help`` is quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from copy import copy
from typing import Any

import typer

from bulksend import __version__
from ops.cli import (
    audit,
    campaigns,
    consent,
    events,
    export,
    keys,
    media,
    messages,
    persons,
    plans,
    receipts,
    send,
    senders,
    servers,
    stats,
    streams,
    suppressions,
    templates,
    tokens,
    users,
    webhooks,
)
from ops.cli.arguments import guard
from ops.cli.context import DONE, FAILED

app = typer.Typer(
    name="bulksend",
    help="Send WhatsApp messages in bulk, and record what happened to each one.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bulksend {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Send WhatsApp messages in bulk, and record what happened to each one."""


servers.register_first(app)
send.register(app)
plans.register(app)
campaigns.register(app)
messages.register(app)
export.register(app)
audit.register(app)
suppressions.register(app)
consent.register(app)
persons.register(app)
senders.register(app)
templates.register(app)
media.register(app)
events.register(app)
stats.register(app)
keys.register(app)
webhooks.register(app)
users.register(app)
tokens.register(app)
receipts.register(app)
servers.register(app)


def command(name: str | None = None) -> Any:
    """The command, or group, of that name; all of them where there is none.

    Typer takes half a millisecond to make a command of its function, and there are a hundred.
    """
    called = copy(app)
    called.registered_commands = [each for each in app.registered_commands if each.name == name]
    called.registered_groups = [each for each in app.registered_groups if each.name == name]
    is_known = called.registered_commands or called.registered_groups
    return guard(typer.main.get_command(called if is_known else app))


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script. Raises SystemExit."""
    # Ledger, exports and spool hold phone numbers: only the user may read the files that a command makes.
    os.umask(0o077)
    streams.prepare()
    raise SystemExit(_run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code. FAILED also if stdout did not take the whole output."""
    code = DONE
    try:
        try:
            command(next(iter(arguments), None))(list(arguments))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        sys.stdout.flush()
    except streams.OutputLost as lost:
        streams.abandon_stdout()
        if lost.reader_left:
            return streams.CUT
        sys.stderr.write(f"bulksend: {lost}\n")
        return code or FAILED
    return code


if __name__ == "__main__":
    main()
