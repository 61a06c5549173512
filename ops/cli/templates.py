"""``bulksend templates``: what the vendor has of templates."""

from __future__ import annotations

import json as json_module
from typing import Annotated, Any

import typer

from ops.cli.arguments import Json
from ops.cli.context import DONE, FAILED, actor, command, ledger, settings

group = typer.Typer(help="Templates, as the vendor has them.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The template's name.", metavar="NAME")]
Language = Annotated[str | None, typer.Option(help="Where it has several, e.g. en_US.")]
Row = Annotated[
    str | None, typer.Option(help='Values of its variables, by number or name: {"1": "Ada"}.', metavar="JSON")
]


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="templates")


@group.command("list")
@command
def list_(json: Json = False) -> int:
    """Every template that is known, with its status, and why one was rejected."""
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
        say("No template is known yet; `bulksend templates sync` reads them from the vendor")
    return DONE


@group.command("show")
@command
def show(name: Name, json: Json = False) -> int:
    """One template in each of its languages: what a message must give it, and how it changed."""
    from bulksend.operations.templates import show_template
    from ops.cli.output import Times, acts_table, pairs, print_json

    of = settings()
    found = show_template(ledger(of), name)
    if json:
        print_json(found)
        return DONE
    times = Times(of.timezone or "UTC")
    for item in found["items"]:
        history, components = item.pop("history"), item.pop("components")
        pairs(item | _shape(components), title=f"{item['name']} ({item['language']})", times=times)
        acts_table(history, times)
    return DONE


def _shape(components: dict[str, Any] | None) -> dict[str, object]:
    """The components for people, a line each."""
    if components is None:
        return {"components": "not read yet: `bulksend templates sync`"}
    head, body = components["header"], components["body"]
    return {
        "header": None if head is None else _variables(head["format"].lower(), head),
        "body": _variables(body["text"], body),
        "footer": components["footer"],
    } | {
        f"button {button['index']}": _variables(f"{button['type']} {button['text']}", button)
        for button in components["buttons"]
    }


def _variables(what: str, of: dict[str, Any]) -> str:
    return f"{what} [{', '.join(of['variables'])}]" if of["variables"] else what


@group.command("sync")
@command
def sync_(json: Json = False) -> int:
    """Read templates and senders from the vendor. What changed for the worse pauses the campaigns that use it."""
    from bulksend.bootstrap import vendor_calls
    from bulksend.messaging.units import counted
    from bulksend.operations.templates import sync
    from ops.cli.output import print_json, say

    of = settings()
    done = sync(ledger(of), vendor_calls(of, tries=3), actor=actor())
    if json:
        print_json(done.as_json())
    else:
        say(
            f"{counted(done.templates, 'template')} and {counted(done.senders, 'sender')} read, {done.changed} changed"
        )
        for problem in done.problems:
            say(problem, "yellow")
        if not done.senders and not done.templates and not done.problems:
            say("No sender is on record yet; `bulksend senders add PHONE` adds one")
    return FAILED if done.problems else DONE


@group.command("preview")
@command
def preview(name: Name, row: Row = None, language: Language = None, json: Json = False) -> int:
    """A template as a person would see it."""
    from bulksend.errors import InvalidValue
    from bulksend.operations.templates import preview_template
    from ops.cli.arguments import option_names
    from ops.cli.output import pairs, print_json, say

    try:
        values = {} if row is None else json_module.loads(row)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise InvalidValue("--row", "", 'must be a JSON object, like {"1": "Ada"}')
    with option_names():
        found = preview_template(ledger(settings()), name, language=language, row=values)
    if json:
        print_json(found)
        return DONE
    missing = found.pop("missing")
    pairs({**found, "buttons": " | ".join(found["buttons"]) or None}, title=found["name"])
    if missing:
        say(f"without a value: {', '.join(missing)}", "yellow")
    return DONE
