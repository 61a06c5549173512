"""``bulksend``: the commands. Each imports what it needs only when it runs, so that ``--help`` is quick."""

from __future__ import annotations

import typer

from bulksend import __version__
from ops.cli import auditing, campaigns, people, records, send, servers

app = typer.Typer(
    name="bulksend",
    help="Send WhatsApp messages in bulk, and know of each what became of it.",
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
    """Send WhatsApp messages in bulk, and know of each what became of it."""


servers.register_first(app)
send.register(app)
campaigns.register(app)
records.register(app)
auditing.register(app)
people.register(app)
servers.register(app)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
