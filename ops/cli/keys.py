"""``bulksend keys``: keys of programs that use the HTTP API, and encryption keys."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.cli.arguments import Json, Reason, listed, option_names
from ops.cli.context import DONE, actor, command, ledger, settings

group = typer.Typer(help="Keys of programs that use the HTTP API, and encryption keys.", no_args_is_help=True)
Role = Annotated[str, typer.Option(help="What it may do: viewer, sender, operator or admin.", metavar="ROLE")]
Kinds = Annotated[str | None, typer.Option(help="Kinds it may send, e.g. otp,utility; default: all.")]
Senders = Annotated[str | None, typer.Option(help="Senders it may use, separated by commas; default: all.")]
KeyId = Annotated[str, typer.Argument(help="The id that `keys list` shows.", metavar="ID")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="keys")


@group.command("add")
@command
def add(
    name: Annotated[str, typer.Option(help="The program that uses it, for the operator log.")],
    role: Role,
    kinds: Kinds = None,
    senders: Senders = None,
    expires: Annotated[str | None, typer.Option(help="When it ends, ISO 8601; default: never.")] = None,
    json: Json = False,
) -> int:
    """Make a key for a program. It is printed once; the ledger keeps only its hash."""
    from bulksend.operations.api_keys import KeyRequest, add_key
    from ops.cli.output import result

    of = settings()
    asked = KeyRequest(
        name=name,
        role=role,
        kinds=listed(kinds),
        senders=listed(senders),
        expires=expires,
        default_region=of.default_region,
        timezone=of.timezone,
    )
    with option_names():
        made = add_key(ledger(of), asked, actor=actor())
    said = f"key {made['id']} for {made['name']}, {made['role']}; it is shown only now"
    result(made, said, json=json, secret=made["key"])
    return DONE


@group.command("list")
@command
def list_(json: Json = False) -> int:
    """Every key, without its secret, the oldest first."""
    from bulksend.operations.api_keys import list_keys
    from ops.cli.output import listing

    of = settings()
    with ledger(of).read() as tx:
        found = list_keys(tx)
    listing(
        found,
        ("id", "name", "role", "kinds", "senders", "expires_at", "revoked_at", "last_used_at"),
        json=json,
        optional=("last_used_at", "senders", "kinds", "expires_at"),
        timezone=of.timezone,
    )
    return DONE


@group.command("revoke")
@command
def revoke(id: KeyId, why: Reason = None, json: Json = False) -> int:
    """Refuse a key from now on. Every serving process does so within a second."""
    from bulksend.operations.api_keys import revoke_key
    from bulksend.operations.campaigns import NO_REASON
    from ops.cli.output import result

    done = revoke_key(ledger(settings()), id, actor=actor(), why=why or NO_REASON)
    result(done, f"key {id} is {'now' if done['changed'] else 'already'} revoked", json=json)
    return DONE


@group.command("new-encryption-key")
def new_encryption_key() -> None:
    """A new key for BULKSEND_ENCRYPTION_KEY, on stdout."""
    from bulksend.ledger.key_file import new_encryption_key as make

    typer.echo(make())
