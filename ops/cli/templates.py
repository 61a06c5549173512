"""``bulksend templates``: what the vendor's notices said of templates."""

from __future__ import annotations

from typing import Any

import typer

from ops.cli.arguments import Json
from ops.cli.context import DONE, command, ledger, settings

group = typer.Typer(help="Templates, as the vendor's notices tell of them.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="templates")


@group.command("list")
@command
def list_(json: Json = False) -> int:
    """Every template that a notice named, with its status, and why one was rejected."""
    from bulksend.operations.templates import list_templates
    from ops.cli.output import listing, say

    of = settings()
    database = ledger(of)
    found: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        page = list_templates(database, limit=1000, after=after)
        found += page.items
        after = page.next
        if after is None:
            break
    columns = ("name", "language", "status", "category", "quality", "rejected_reason", "changed_at")
    listing(found, columns, json=json, optional=("changed_at", "category"), timezone=of.timezone)
    if not found:
        say("No notice of the vendor named a template yet; they come with receipts (docs/operations.md)")
    return DONE
