"""``bulksend tokens``: tokens of the address that receipts come to."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.cli.arguments import Json, Reason, listed, option_names
from ops.cli.context import DONE, actor, command, ledger, settings

group = typer.Typer(help="Tokens of the address that receipts come to.", no_args_is_help=True)
TokenId = Annotated[str, typer.Argument(help="The id that `tokens list` shows.", metavar="ID")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="tokens")


@group.command("add")
@command
def add(
    name: Annotated[str, typer.Option(help="Where its address is set, for the operator log.")],
    ips: Annotated[
        str | None,
        typer.Option(help="Addresses and networks that may use it, separated by commas; default: all."),
    ] = None,
    json: Json = False,
) -> int:
    """Make a token. Its address is printed once; the ledger keeps only a hash. Two may be live, to replace one."""
    from bulksend.operations.receipt_tokens import add_token
    from ops.cli.output import result

    with option_names():
        made = add_token(ledger(settings()), name=name, ips=listed(ips), actor=actor())
    said = f"token {made['id']} for {made['name']}: its path at `bulksend serve`; it is shown only now"
    result(made, said, json=json, secret=made["path"])
    return DONE


@group.command("list")
@command
def list_(json: Json = False) -> int:
    """Every token, without its secret, the oldest first."""
    from bulksend.operations.receipt_tokens import list_tokens
    from ops.cli.output import listing

    of = settings()
    with ledger(of).read() as tx:
        found = list_tokens(tx)
    columns = ("id", "name", "ips", "created_at", "revoked_at")
    listing(found, columns, json=json, optional=("created_at", "ips"), timezone=of.timezone)
    return DONE


@group.command("revoke")
@command
def revoke(id: TokenId, why: Reason = None, json: Json = False) -> int:
    """Refuse what comes to its address from now on. Every serving process does so within a second."""
    from bulksend.operations.campaigns import NO_REASON
    from bulksend.operations.receipt_tokens import revoke_token
    from ops.cli.output import result

    done = revoke_token(ledger(settings()), id, actor=actor(), why=why or NO_REASON)
    result(done, f"token {id} is {'now' if done['changed'] else 'already'} revoked", json=json)
    return DONE
