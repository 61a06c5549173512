"""``bulksend senders`` and ``bulksend account``: business numbers, their limits, and what is paused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.arguments import Json, Phone, Why
from ops.cli.context import DONE, actor, command, ledger, limiter_opener, settings

if TYPE_CHECKING:
    from bulksend.messaging.account_quota import AccountQuota

senders_group = typer.Typer(help="Business numbers: their limits and pauses.", no_args_is_help=True)
account_group = typer.Typer(help="The vendor account: pause and resume all sending.", no_args_is_help=True)
Rate = Annotated[str | None, typer.Option(help="Messages per second, e.g. 80/s.")]
Quota = Annotated[
    str | None,
    typer.Option(
        help="The account's quota: unique recipients per rolling 24 h over all senders, e.g. 2000; none: by its tier."
    ),
]
Name = Annotated[str | None, typer.Option(help="A name for this sender.")]


def register(app: typer.Typer) -> None:
    """Add the groups."""
    app.add_typer(senders_group, name="senders")
    app.add_typer(account_group, name="account")


@senders_group.command("list")
@command
def list_(json: Json = False) -> int:
    """Every sender on record: its limits and pauses, and status, quality and tier by the vendor's notices."""
    from bulksend.operations.json_shape import to_json
    from bulksend.operations.senders import list_senders, quota_in_force
    from ops.cli.output import listing, print_json_lines, say

    of = settings()
    database = ledger(of)
    found = [to_json(sender) for sender in list_senders(database)]
    if json:
        print_json_lines(found)
        return DONE
    columns = ("phone", "name", "status", "quality", "tier", "rate", "quota", "paused_at", "pause_why")
    limits = [
        {"rate": f"{f['rate']:g}/s", "quota": None if f["quota"] is None else f"{f['quota']:,}"}
        for f in found
    ]
    listing(
        [f | limit for f, limit in zip(found, limits, strict=True)],
        columns,
        json=False,
        optional=("tier", "quota", "quality", "status"),
        timezone=of.timezone,
    )
    say(_worded(quota_in_force(database)))
    return DONE


@senders_group.command("show")
@command
def show(phone: Phone, json: Json = False) -> int:
    """One sender: its limits, pause and quality, and how the vendor's throttling changed its pace."""
    from bulksend.messaging import parse_sender
    from bulksend.operations.senders import show_sender
    from ops.cli.output import Times, paces_table, pairs, print_json

    of = settings()
    digits = parse_sender(phone, default_region=of.default_region, field="PHONE")
    shown = show_sender(of, ledger(of), digits)
    if json:
        print_json(shown)
        return DONE
    slowed, pace = shown.pop("slowed"), shown.pop("pace")
    times = Times(of.timezone or "UTC")
    pairs(
        shown | {"rate": f"{shown['rate']:g}/s", "pace": None if pace is None else f"{pace:.0%}"},
        times=times,
    )
    paces_table(slowed, times)
    return DONE


@senders_group.command("add")
@command
def add(phone: Phone, rate: Rate = None, quota: Quota = None, name: Name = None, json: Json = False) -> int:
    """Put a sender on record."""
    return _change(phone, rate, quota, name, json, new=True)


@senders_group.command("set")
@command
def set_(phone: Phone, rate: Rate = None, quota: Quota = None, name: Name = None, json: Json = False) -> int:
    """Change a sender's rate or name, or the account's quota; workers apply it within seconds."""
    return _change(phone, rate, quota, name, json, new=False)


def _change(
    phone: str, rate: str | None, quota: str | None, name: str | None, json: bool, *, new: bool
) -> int:
    from bulksend.messaging import parse_sender
    from bulksend.messaging.units import parse_rate
    from bulksend.operations.json_shape import to_json
    from bulksend.operations.senders import change_sender, parse_quota, quota_in_force
    from ops.cli.output import print_json, say

    of = settings()
    database = ledger(of)
    sender = change_sender(
        database,
        parse_sender(phone, default_region=of.default_region, field="PHONE"),
        actor=actor(),
        register_at=of.default_rate if new else None,
        name=name,
        rate=None if rate is None else parse_rate(rate, field="--rate"),
        quota=None if quota is None else parse_quota(quota, field="--quota"),
        no_quota=quota == "none",
    )
    if json:
        print_json(to_json(sender))
    else:
        say(f"{sender.phone}: {sender.rate:g}/s; {_worded(quota_in_force(database))}")
    return DONE


def _worded(quota: AccountQuota) -> str:
    from bulksend.messaging.units import counted

    if quota.limit is None:
        return "the account has no quota: none is set, and no tier with a limit is known"
    return f"the account's quota is {counted(quota.limit, 'recipient')} in 24 h ({quota.source})"


@senders_group.command("pause")
@command
def pause(phone: Phone, why: Why, json: Json = False) -> int:
    """Hold all messages of this sender."""
    return _set_paused(phone, True, why, json)


@senders_group.command("resume")
@command
def resume(phone: Phone, why: Why, json: Json = False) -> int:
    """Release the messages of this sender."""
    return _set_paused(phone, False, why, json)


@account_group.command("show")
@command
def show_account(json: Json = False) -> int:
    """Paused or not, the limits in force, how many messages are unknown, and which vendor it is."""
    from bulksend.operations import senders
    from ops.cli.output import Times, pairs, print_json
    from simulator import REHEARSAL_ACCESS_KEY_ID

    of = settings()
    shown = senders.show_account(ledger(of), of, rehearsal_key=REHEARSAL_ACCESS_KEY_ID)
    if json:
        print_json(shown)
        return DONE
    limits, vendor = shown.pop("limits"), shown.pop("vendor")
    simulated = " (simulated)" if vendor["simulated"] else ""
    pairs(
        shown | {"vendor": vendor["address"] + simulated} | limits,
        times=Times(of.timezone or "UTC"),
    )
    return DONE


@account_group.command("pause")
@command
def pause_account(why: Why, json: Json = False) -> int:
    """Hold the messages of all senders and campaigns."""
    return _set_paused(None, True, why, json)


@account_group.command("resume")
@command
def resume_account(why: Why, json: Json = False) -> int:
    """Release the messages of the account. For example after a top-up; a pause costs no message an attempt."""
    return _set_paused(None, False, why, json)


def _set_paused(phone: str | None, paused: bool, why: str, json: bool) -> int:
    """Pause or resume a sender; the account where ``phone`` is None."""
    from bulksend.messaging import parse_sender
    from bulksend.messaging.outcome import Scope
    from bulksend.operations.senders import set_paused
    from ops.cli.output import print_json, say

    of = settings()
    scope, id = Scope.ACCOUNT, of.account()
    if phone is not None:
        scope, id = Scope.SENDER, parse_sender(phone, default_region=of.default_region, field="PHONE")
    database = ledger(of)
    state = set_paused(database, limiter_opener(of, database), scope, id, paused, actor=actor(), why=why)
    if json:
        print_json(state.as_json())
    else:
        say(f"{state.scope} {state.id} is {'now' if state.changed else 'already'} {state.status}")
    return DONE
