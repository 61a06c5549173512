"""``bulksend receipts``: what the vendor reported, above all what did not find its message or could not be read."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.cli.arguments import Json, option_names
from ops.cli.context import DONE, FAILED, actor, command, ledger, settings

group = typer.Typer(help="Receipts of the vendor.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="receipts")


@group.command("list")
@command
def list_(
    state: Annotated[
        str | None,
        typer.Option(help="orphan: their message is not known; unreadable: callbacks that were set aside."),
    ] = None,
    bodies: Annotated[
        bool, typer.Option("--bodies", help="With the bodies of unreadable ones, which are private.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many.")] = 100,
    after: Annotated[str | None, typer.Option(help="Older ones than this, the last id shown.")] = None,
    json: Json = False,
) -> int:
    """Receipts, newest first."""
    from bulksend import bootstrap
    from bulksend.operations.receipts import list_receipts
    from ops.cli.output import Times, print_page, say_next, table

    of = settings()
    database = ledger(of)
    with option_names():
        page = list_receipts(
            database, bootstrap.reading_cipher(of), state=state, limit=limit, after=after, bodies=bodies
        )
    if json:
        print_page(page)
        return DONE
    shown = ("received_at", "message_id", "status", "at", "code", "why")
    if state == "unreadable":
        shown = ("received_at", "id", "why", *(("body",) if bodies else ()))
    table(
        shown,
        [[item[name] for name in shown] for item in page.items],
        times=Times(of.timezone or "UTC"),
    )
    say_next(page)
    return DONE


@group.command("reparse")
@command
def reparse(json: Json = False) -> int:
    """Read callbacks again that were set aside. Exit code 1 if some still cannot be read."""
    from bulksend import bootstrap
    from bulksend.operations import receipts
    from bulksend.operations.callbacks import CallbackRules
    from ops.cli.output import print_json, say

    of = settings()
    rules = CallbackRules.from_settings(of, bootstrap.reading_cipher(of))
    done = receipts.reparse(ledger(of), rules, actor=actor())
    if json:
        print_json(done.as_json())
    else:
        say(
            f"{done.read:,} read, {done.unreadable:,} still unreadable{', and more wait' if done.more else ''}"
        )
    return FAILED if done.unreadable else DONE
