"""``bulksend forget`` and ``holds``: what a person may ask of us, and what the law has us keep."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.arguments import Json, Phone, Why, option_names
from ops.cli.context import DONE, FAILED, actor, command, ledger, settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bulksend.operations.persons import Forgotten
    from bulksend.settings import Settings

Region = Annotated[
    str | None, typer.Option(help="Country of a number without a country code, e.g. GB.", metavar="GB")
]

holds = typer.Typer(
    help="Legal holds: campaigns and persons that are neither erased nor deleted by age.",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add the command and the group."""
    app.command("forget")(forget)
    app.add_typer(holds, name="holds")


@command
def forget(
    phone: Phone,
    why: Why,
    region: Region = None,
    json: Json = False,
) -> int:
    """Erase a person: number, variables, contents, files of this host. Counts, audit and suppressions stay. Then search
    for what is left; exit code 1 if anything is. May be repeated."""
    from bulksend.bootstrap import answering_redis, cipher
    from bulksend.operations import persons
    from ops.cli.output import print_json

    of = settings()
    number = person_of(phone, region, of, field="PHONE")
    with option_names():
        done = persons.forget(
            ledger(of),
            cipher(of),
            of,
            number,
            actor=actor(),
            why=why,
            open_redis=None if of.redis_url is None else partial(answering_redis, of),
        )
    print_json(done.as_json()) if json else _show(done)
    return DONE if done.is_complete else FAILED


def person_of(phone: str, region: str | None, of: Settings, *, field: str) -> str:
    """The digits of a person's number. Raises InvalidValue."""
    from bulksend.messaging import parse_recipient
    from bulksend.messaging.recipient import checked_region

    default = of.default_region if region is None else checked_region(region, "--region")
    return parse_recipient(phone, default_region=default, field=field)


def _show(done: Forgotten) -> None:
    from ops.cli.output import say

    some = [f"{what.replace('_', ' ')} ({count:,})" for what, count in done.erased.items() if count]
    say(f"{done.person}: erased {', '.join(some) or 'nothing, as nothing was held'}")
    if done.suppressed:
        say(f"Still suppressed, by a keyed hash: {', '.join(done.suppressed)}")
    say(f"Searched: {'; '.join(done.searched)}")
    for each in done.left:
        say(f"Left in {each.where}: {each.why}", "red")
    if done.is_complete:
        say("Nothing of the number is left", "green")


@holds.command("add")
@command
def add(
    why: Why,
    campaign: Annotated[str | None, typer.Option(help="A campaign, by id or name.")] = None,
    phone: Annotated[str | None, typer.Option(help="A person, by number.")] = None,
    region: Region = None,
    json: Json = False,
) -> int:
    """Place a campaign or a person under legal hold."""
    from bulksend.operations.legal_holds import place_hold
    from ops.cli.output import print_json, say

    of = settings()
    person = None if phone is None else person_of(phone, region, of, field="--phone")
    hold = place_hold(ledger(of), campaign=campaign, person=person, actor=actor(), why=why)
    print_json(hold) if json else say(f"Legal hold {hold['id']} on the {hold['scope']} {_subject(hold)}")
    return DONE


@holds.command("list")
@command
def list_(json: Json = False) -> int:
    """The legal holds, oldest first."""
    from bulksend.operations.legal_holds import list_holds
    from ops.cli.output import listing

    of = settings()
    found = list_holds(ledger(of))
    shown = found if json else [{**hold, "subject": _subject(hold)} for hold in found]
    columns = ("id", "scope", "subject", "why", "placed_by", "placed_at")
    listing(shown, columns, json=json, optional=("placed_at",), timezone=of.timezone)
    return DONE


@holds.command("remove")
@command
def remove(
    id: Annotated[str, typer.Argument(help="Its id, as `holds list` shows it.", metavar="ID")],
    why: Why,
    json: Json = False,
) -> int:
    """End a legal hold."""
    from bulksend.operations.legal_holds import remove_hold
    from ops.cli.output import print_json, say

    hold = remove_hold(ledger(settings()), id, actor=actor(), why=why)
    print_json(hold) if json else say(
        f"Removed legal hold {hold['id']} on the {hold['scope']} {_subject(hold)}"
    )
    return DONE


def _subject(hold: Mapping[str, Any]) -> str:
    """What is held, as a person knows it: a number masked, a campaign by its name."""
    return str(hold["name"] or hold["subject"])
