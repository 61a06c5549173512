"""``bulksend stats``: how many messages and attempts there were, by hour, kind, sender, country and code."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ops.cli.arguments import Json
from ops.cli.context import DONE, command, ledger, settings

#: Counts of messages and attempts that the table shows, where any is not 0.
_COUNTS = (
    *("accepted", "delivered", "read", "failed", "unknown", "expired", "suppressed", "cancelled"),
    *("superseded", "attempts"),
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("stats")(stats)


@command
def stats(
    by: Annotated[str, typer.Option(help="Some of hour,kind,sender,country,code.")] = "hour,kind",
    since: Annotated[
        str | None, typer.Option(help="From that hour, ISO 8601; default: 7 days before.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="To the end of that hour; default: now.")] = None,
    json: Json = False,
) -> int:
    """Messages by the status that they entered, and attempts, in whole hours. As GET /v1/stats."""
    from bulksend.operations.stats import parse_dimensions, show_stats
    from ops.cli.output import print_json, say, table

    of = settings()
    found = show_stats(
        ledger(of),
        parse_dimensions(by, field="--by"),
        since=since,
        until=until,
        timezone=of.timezone,
        fields=("--since", "--until"),
    )
    if json:
        print_json(found)
        return DONE
    items = found["items"]
    columns = [*found["by"], *(name for name in _COUNTS if any(item[name] for item in items))]
    means = [name for name in _MEANS if any(item[_MEANS[name][1]] for item in items)]
    table(
        [*columns, *means],
        [
            [*(item[name] for name in columns), *(_mean(item, *_MEANS[name]) for name in means)]
            for item in items
        ],
        optional=(*reversed(means), *reversed(columns[len(found["by"]) + 1 :])),
    )
    if not items:
        say(f"No message or attempt from {found['from']} to {found['to']}")
    elif found["counted_until"]:
        say(f"Attempts are counted until {found['counted_until']}")
    return DONE


#: A mean of the table: the sum, and what it is the sum of.
_MEANS = {
    "latency_ms": ("latency_ms", "answered"),
    "delivery_seconds": ("delivery_ms", "delivery_timed"),
}


def _mean(item: dict[str, Any], total: str, count: str) -> float | None:
    if not item[count]:
        return None
    mean = float(item[total] / item[count])
    return mean / 1000 if total == "delivery_ms" else mean
