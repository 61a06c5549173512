"""``bulksend events``: what happened to messages and campaigns, up to now or as it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.arguments import Json, listed, option_names
from ops.cli.context import DONE, command, ledger, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Event

    from bulksend.ledger.database import Database
    from bulksend.operations.events import Wanted

#: How often new events are looked for, and how long an unreachable ledger is left alone, in seconds.
_LOOK_S, _AWAY_S = 0.5, 2.0
#: Events of one look.
_PAGE = 1000
_COLUMNS = ("id", "at", "type", "about", "what")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("events")(events)


@command
def events(
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until Ctrl-C, from now or --after.")
    ] = False,
    after: Annotated[
        int | None, typer.Option(min=0, help="The number of the last event that was seen.")
    ] = None,
    types: Annotated[
        str | None, typer.Option(help="Only these, e.g. message.failed,campaign.paused.")
    ] = None,
    campaign: Annotated[str | None, typer.Option(help="Only of this campaign: its id or name.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many, without --follow.")] = 100,
    json: Json = False,
) -> int:
    """What happened, in order and numbered, as GET /v1/events. Phone numbers are masked; the oldest kept first."""
    from bulksend.operations import events as operations
    from ops.cli.signals import stop_event

    of = settings()
    database = ledger(of)
    with option_names(), database.read() as tx:
        wanted = operations.wanted(tx, types=listed(types), campaign=campaign, after=after)
    if follow:
        seen = operations.newest(database) if after is None else after
        show = _printer(json, of.timezone)
        for items in pages(database, wanted, seen, stop_event()):
            show(items)
        return DONE
    found, last = _up_to(database, wanted, after, limit)
    _show(found, last, json=json, timezone=of.timezone)
    return DONE


def _up_to(
    database: Database, wanted: Wanted, after: int | None, limit: int
) -> tuple[list[dict[str, Any]], str]:
    """Up to ``limit`` events, and the number after which the next ones are. A page of a filter may be short."""
    from bulksend.operations import events as operations

    found: list[dict[str, Any]] = []
    while True:
        page = operations.page(database, wanted, after=after, limit=limit - len(found))
        found += page["items"]
        if len(found) >= limit or page["next"] is None:
            return found, page["last"]
        after = int(page["next"])


def _show(found: list[dict[str, Any]], last: str, *, json: bool, timezone: str | None) -> None:
    from ops.cli.output import listing, say

    rows = found if json else [_row(event) for event in found]
    listing(rows, _COLUMNS, json=json, optional=("what",), timezone=timezone)
    say(f"Later ones: --after {last}" if found else f"No event yet; later ones: --after {last}")


def pages(
    database: Database, wanted: Wanted, after: int, stop: Event, *, look_s: float = _LOOK_S
) -> Iterator[list[dict[str, Any]]]:
    """The events after a number, as they come, until ``stop`` is set. The ledger may be away meanwhile."""
    from bulksend.errors import LedgerUnreachable
    from bulksend.operations import events as operations
    from ops.cli.output import say

    is_away = False
    while not stop.is_set():
        try:
            with database.translated_errors():
                page = operations.page(database, wanted, after=after, limit=_PAGE)
        except LedgerUnreachable as error:
            if not is_away:
                say(f"{error}; it goes on after event {after} when the ledger answers", "yellow")
            is_away = True
            stop.wait(_AWAY_S)
            continue
        is_away = False
        after = int(page["last"])
        if page["items"]:
            yield page["items"]
        if page["next"] is None:
            stop.wait(look_s)


def _printer(json: bool, timezone: str | None) -> Callable[[list[dict[str, Any]]], None]:
    """Shows events one after another, each on a line of its own."""
    from ops.cli.output import Times, print_json_lines, table_line

    times = Times(timezone or "UTC")

    def show(items: list[dict[str, Any]]) -> None:
        if json:
            print_json_lines(items)
            return
        for event in items:
            row = _row(event)
            table_line(_COLUMNS, [row[name] for name in _COLUMNS], times)

    return show


def _row(event: dict[str, Any]) -> dict[str, object]:
    """An event as a person reads it: ``about`` a message or another thing, and ``what`` more there is to say."""
    about, parts = _said(event["type"], event["data"])
    what = ", ".join(str(part) for part in parts if part)
    return {"id": event["id"], "at": event["at"], "type": event["type"], "about": about, "what": what}


def _said(type: str, data: dict[str, Any]) -> tuple[str, list[Any]]:
    from bulksend.messaging.units import counted

    if type.startswith("message."):
        status = data["status"] if type == "message.resolved" else None
        return data["id"], [data.get("to"), status, data.get("ret_code"), data.get("error")]
    if type.startswith("campaign."):
        count = data.get("messages")
        said = None if count is None else counted(count, "message")
        return data.get("name") or data["campaign_id"], [said, data.get("why")]
    changes = [f"{name}: {value}" for name, value in (data.get("after") or {}).items()]
    return data.get("name") or data.get("sender") or data.get("endpoint_id") or "", [
        data.get("why"),
        *changes,
    ]
