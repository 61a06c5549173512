"""``bulksend users``: people who may sign in."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ops.cli.arguments import Json, Reason, listed, option_names
from ops.cli.context import DONE, actor, command, ledger, settings
from ops.cli.keys import Kinds, Role, Senders

group = typer.Typer(help="People who may sign in.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The name that the user signs in with.", metavar="NAME")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="users")


@group.command("add")
@command
def add(name: Name, role: Role, kinds: Kinds = None, senders: Senders = None, json: Json = False) -> int:
    """Add a user. A one-time setup token is printed; it sets the first password within a day."""
    from bulksend.operations.users import add_user

    of = settings()
    with option_names():
        made = add_user(
            ledger(of),
            name=name,
            role=role,
            kinds=listed(kinds),
            senders=listed(senders),
            default_region=of.default_region,
            actor=actor(),
        )
    return _told(made, json)


@group.command("reset")
@command
def reset(name: Name, why: Reason = None, json: Json = False) -> int:
    """Take a user's password and lock away, and print another setup token."""
    from bulksend.operations.campaigns import NO_REASON
    from bulksend.operations.users import reset_user

    return _told(reset_user(ledger(settings()), name, actor=actor(), why=why or NO_REASON), json)


@group.command("link")
@command
def link(name: Name, json: Json = False) -> int:
    """Print a link's token, which signs the user in once, within 15 minutes, without the password."""
    from bulksend.operations.sessions import make_link
    from ops.cli.output import result

    made = make_link(ledger(settings()), name, actor=actor())
    said = f"token of a link for {name}, good for {made['seconds']} s and once; open /sign-in#TOKEN of the console"
    result(made, said, json=json, secret=str(made["link_token"]))
    return DONE


def _told(user: dict[str, Any], json: bool) -> int:
    from ops.cli.output import result

    said = f"setup token of {user['name']}, {user['role']}, until {user['setup_expires_at']}; it is shown only now"
    result(user, said, json=json, secret=user["setup_token"])
    return DONE


@group.command("list")
@command
def list_(json: Json = False) -> int:
    """Every user, by name."""
    from bulksend.operations.users import list_users
    from ops.cli.output import listing

    of = settings()
    with ledger(of).read() as tx:
        found = list_users(tx)
    columns = ("name", "role", "has_password", "issuer", "signed_in_at", "disabled_at", "locked_until")
    optional = ("signed_in_at", "has_password", "issuer")
    listing(found, columns, json=json, optional=optional, timezone=of.timezone)
    return DONE


@group.command("disable")
@command
def disable(name: Name, why: Reason = None, json: Json = False) -> int:
    """Refuse a user from now on."""
    from bulksend.operations.campaigns import NO_REASON
    from bulksend.operations.users import disable_user
    from ops.cli.output import result

    done = disable_user(ledger(settings()), name, actor=actor(), why=why or NO_REASON)
    result(done, f"user {name} is {'now' if done['changed'] else 'already'} disabled", json=json)
    return DONE


@group.command("enable")
@command
def enable(name: Name, why: Reason = None, json: Json = False) -> int:
    """Let a disabled user who signs in at an OpenID provider sign in again."""
    from bulksend.operations.campaigns import NO_REASON
    from bulksend.operations.users import enable_user
    from ops.cli.output import result

    done = enable_user(ledger(settings()), name, actor=actor(), why=why or NO_REASON)
    result(done, f"user {name} {'may sign in again' if done['changed'] else 'was not disabled'}", json=json)
    return DONE
