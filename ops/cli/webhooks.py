"""``bulksend webhooks``: where events are sent to, and the result of each delivery."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.arguments import Json, Reason, listed, option_names
from ops.cli.context import DONE, FAILED, actor, command, ledger, settings

if TYPE_CHECKING:
    from bulksend.ledger.database import Database

group = typer.Typer(help="Webhooks: send events to your programs.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(help="The id that `webhooks list` shows.", metavar="ID")]
#: How long ``test`` waits for the result: a try and a look of the notifier.
_TEST_S, _LOOK_S = 18.0, 0.2


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="webhooks")


@group.command("add")
@command
def add(
    url: Annotated[str, typer.Argument(help="https://host/path of your program.", metavar="URL")],
    events: Annotated[
        str | None,
        typer.Option(help="Types or groups, e.g. message.delivered,campaign.*; default: all."),
    ] = None,
    numbers: Annotated[bool, typer.Option("--numbers", help="Send phone numbers in full.")] = False,
    json: Json = False,
) -> int:
    """Send events to a URL from now on. Its secret is printed once; `bulksend notifier` sends."""
    from bulksend import bootstrap
    from bulksend.messaging.webhook_targets import read_target
    from bulksend.operations import webhooks
    from ops.cli.output import result

    of = settings()
    read_target(url, allowed=of.webhook_networks(), field="URL")
    database = ledger(of)
    with option_names():
        made = webhooks.add(
            database,
            bootstrap.cipher(of),
            url,
            events=listed(events),
            numbers=numbers,
            allowed=of.webhook_networks(),
            actor=actor(),
        )
    said = f"endpoint {made['id']}; its secret is shown only now"
    result(made, said, json=json, secret=made["secret"])
    return DONE


@group.command("list")
@command
def list_(json: Json = False) -> int:
    """Every endpoint, without its secret, the oldest first."""
    from bulksend.operations import webhooks
    from ops.cli.output import listing

    of = settings()
    with ledger(of).read() as tx:
        found = webhooks.list_endpoints(tx).items
    columns = ("id", "url", "events", "status", "status_why", "behind", "failing_since", "succeeded_at")
    listing(found, columns, json=json, optional=("succeeded_at", "events"), timezone=of.timezone)
    return DONE


@group.command("test")
@command
def send_test(id: Id, json: Json = False) -> int:
    """Send `webhook.test` and show the answer. A notifier must run."""
    from bulksend.operations import webhooks
    from ops.cli.output import print_json, say

    database = ledger(settings())
    made = webhooks.test(database, id, actor=actor())
    found = _first_result(database, made["id"])
    if json:
        print_json(found)
    elif found["tried_at"] is None:
        say(
            "no notifier has sent it yet; `bulksend notifier` does, and `webhooks deliveries` shows the answer"
        )
    else:
        answer = f"HTTP {found['http_status']}" if found["http_status"] else found["error"]
        say(f"{found['status']}: {answer} after {found['latency_ms']:.0f} ms")
    return DONE if found["status"] == "delivered" else FAILED


def _first_result(database: Database, id: str) -> dict[str, Any]:
    """The delivery once it was tried, or after _TEST_S."""
    from bulksend.operations import webhooks

    ends = time.monotonic() + _TEST_S
    while True:
        with database.read() as tx:
            found = webhooks.delivery(tx, id)
        if found["tried_at"] is not None or time.monotonic() > ends:
            return found
        time.sleep(_LOOK_S)


@group.command("deliveries")
@command
def deliveries(
    id: Id,
    status: Annotated[str | None, typer.Option(help="pending, delivered or dead.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many.")] = 100,
    json: Json = False,
) -> int:
    """What was sent to an endpoint, the newest first."""
    from bulksend.operations import webhooks
    from ops.cli.output import listing

    of = settings()
    with option_names(), ledger(of).read() as tx:
        found = webhooks.deliveries(tx, id, status=status, limit=limit).items
    columns = (
        "id",
        "type",
        "status",
        "attempts",
        "created_at",
        "next_at",
        "http_status",
        "latency_ms",
        "error",
    )
    listing(found, columns, json=json, optional=("latency_ms", "created_at"), timezone=of.timezone)
    return DONE


@group.command("replay")
@command
def replay(
    id: Annotated[str, typer.Argument(help="An endpoint: all that is dead; or one delivery.", metavar="ID")],
    since: Annotated[str | None, typer.Option(help="Only those made since then, ISO 8601.")] = None,
    until: Annotated[str | None, typer.Option(help="Only those made before then, ISO 8601.")] = None,
    json: Json = False,
) -> int:
    """Send deliveries again, each with its webhook-id. For example after your program was away for days."""
    from bulksend.messaging.units import counted
    from bulksend.operations import webhooks
    from ops.cli.output import result

    of = settings()
    with option_names():
        count = webhooks.replay(ledger(of), id, since=since, until=until, timezone=of.timezone, actor=actor())
    said = f"{counted(count, 'delivery', 'deliveries')} will be sent again"
    result({"replayed": count}, said, json=json)
    return DONE


@group.command("disable")
@command
def disable(id: Id, why: Reason = None, json: Json = False) -> int:
    """Send nothing to an endpoint. Its events wait."""
    return _set_active(id, False, why, json)


@group.command("enable")
@command
def enable(id: Id, why: Reason = None, json: Json = False) -> int:
    """Send to an endpoint again, from where it stopped."""
    return _set_active(id, True, why, json)


def _set_active(id: str, active: bool, why: str | None, json: bool) -> int:
    from bulksend.operations import webhooks
    from bulksend.operations.campaigns import NO_REASON
    from ops.cli.output import result

    changed = webhooks.set_active(ledger(settings()), id, active, actor=actor(), why=why or NO_REASON)
    status = "active" if active else "disabled"
    said = f"endpoint {id} is {'now' if changed else 'already'} {status}"
    result({"id": id, "status": status, "changed": changed}, said, json=json)
    return DONE


@group.command("rotate")
@command
def rotate(id: Id, json: Json = False) -> int:
    """Make a new secret, printed once. The old one signs as well for 24 hours."""
    from bulksend import bootstrap
    from bulksend.operations import webhooks
    from ops.cli.output import result

    of = settings()
    made = webhooks.rotate(ledger(of), bootstrap.cipher(of), id, actor=actor())
    said = f"endpoint {id}; the secret before it signs as well until {made['old_secret_until']}"
    result(made, said, json=json, secret=made["secret"])
    return DONE


@group.command("remove")
@command
def remove(id: Id, why: Reason = None, json: Json = False) -> int:
    """Forget an endpoint and its deliveries."""
    from bulksend.operations import webhooks
    from bulksend.operations.campaigns import NO_REASON
    from ops.cli.output import result

    webhooks.remove(ledger(settings()), id, actor=actor(), why=why or NO_REASON)
    result({"id": id, "removed": True}, f"endpoint {id} is removed", json=json)
    return DONE
