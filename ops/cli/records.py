"""``bulksend messages`` and ``export``: what became of each message."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ops.cli.doors import DONE, guarded

group = typer.Typer(
    help="Find messages, show one whole, ask why it waits, settle an unknown one.", no_args_is_help=True
)
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
Id = Annotated[str, typer.Argument(help="The message's id.", metavar="ID")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    from ops.cli import doubts

    doubts.register(group)
    app.add_typer(group, name="messages")
    app.command("export")(export)


@group.command("find")
def find(
    phone: Annotated[str | None, typer.Option(help="The recipient, written in any way.")] = None,
    message_id: Annotated[str | None, typer.Option(help="The vendor's MessageId.")] = None,
    request_id: Annotated[str | None, typer.Option(help="The vendor's RequestId, of any attempt.")] = None,
    campaign: Annotated[str | None, typer.Option(help="A campaign's id or name.")] = None,
    status: Annotated[str | None, typer.Option(help="queued, accepted, failed, unknown, …")] = None,
    since: Annotated[str | None, typer.Option(help="Taken in at or after, ISO 8601.")] = None,
    until: Annotated[str | None, typer.Option(help="Taken in at or before, ISO 8601.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50,
    before: Annotated[str | None, typer.Option(help="Go on after this id of the page before.")] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV on stdout.")] = False,
) -> None:
    """The newest matching messages first."""

    def work() -> int:
        from bulksend.ledger import search
        from ops.cli.doors import ledger, settings
        from ops.cli.narrowing import query_of
        from ops.cli.output import print_json, readable, say, table
        from ops.exporting import write_csv

        of = settings()
        with ledger(of).read() as tx:
            query = query_of(
                tx,
                of,
                campaign=campaign,
                phone=phone,
                since=since,
                until=until,
                message_id=message_id,
                request_id=request_id,
                status=status,
            )
            rows = [readable(dict(row)) for row in search.find(tx, query, limit=limit, before=before)]
        if csv:
            import sys

            write_csv(rows, sys.stdout)
        elif json:
            for row in rows:
                print_json(row)
        else:
            table(
                ["id", "to", "status", "attempts", "message_id", "queued_at", "error"],
                [
                    tuple(
                        r[c] for c in ("id", "to", "status", "attempts", "message_id", "queued_at", "error")
                    )
                    for r in rows
                ],
            )
            if not rows:
                say("nothing matches")
            elif len(rows) == limit:
                say(f"there may be more: --before {rows[-1]['id']}")
        return DONE

    raise SystemExit(guarded(work))


@group.command("show")
def show(id: Id, json: Json = False) -> None:
    """One message with all its attempts, receipts and operator acts."""

    def work() -> int:
        from ops.cli.doors import ledger, settings
        from ops.cli.output import pairs, print_json, table

        with ledger(settings()).read() as tx:
            shown = whole(tx, id)
        if json:
            print_json(shown)
            return DONE
        lists = {name: shown.pop(name) for name in ("attempts", "receipts", "acts")}
        pairs(shown, title=f"Message {id}")
        for name, columns in (
            (
                "attempts",
                [
                    "n",
                    "started_at",
                    "outcome",
                    "http_status",
                    "ret_code",
                    "latency_ms",
                    "message_id",
                    "error",
                ],
            ),
            ("receipts", ["status", "at", "received_at", "code", "why"]),
            ("acts", ["at", "actor", "act", "why"]),
        ):
            if lists[name]:
                table(
                    columns,
                    [tuple(line[c] for c in columns) for line in lists[name]],
                    title=name.capitalize(),
                )
        return DONE

    raise SystemExit(guarded(work))


def whole(tx: Any, id: str) -> dict[str, Any]:
    """The interface's ``messages show``."""
    from bulksend.ledger import acts, messages
    from ops.cli.output import readable

    row = messages.get(tx, id)
    shown = readable({k: v for k, v in row.items() if k not in ("owner", "attempt_id", "attempts")})
    kept = [
        "n",
        "started_at",
        "finished_at",
        "outcome",
        "http_status",
        "ret_code",
        "whatsapp_code",
        "vendor_message",
        "request_id",
        "message_id",
        "worker",
        "latency_ms",
        "bytes_sent",
        "reply_began",
        "error",
    ]
    shown["attempts"] = [readable({k: a[k] for k in kept}) for a in messages.attempts_of(tx, id)]
    shown["receipts"] = [
        readable({k: r[k] for k in ("status", "at", "received_at", "code", "why")})
        for r in messages.receipts_of(tx, id)
    ]
    shown["acts"] = [
        readable({"at": a.at, "actor": a.actor, "act": a.act, "why": a.why})
        for a in acts.of(tx, "message", id)
    ]
    return shown


@group.command("why")
def why(id: Id, json: Json = False) -> None:
    """Which gate holds a message, and the earliest it may go."""

    def work() -> int:
        from ops.cli.doors import ledger, maybe_permits, settings
        from ops.cli.output import pairs, print_json, readable
        from ops.why import explain

        of = settings()
        database = ledger(of)
        answer = explain(
            database, maybe_permits(of, database), id, account=of.account(), default_rate=of.default_rate
        )
        if json:
            print_json(answer.as_json())
        else:
            shown = readable({"earliest": answer.earliest})
            pairs(
                {"status": answer.status, "gate": answer.gate, "why": answer.why, **shown},
                title=f"Message {id}",
            )
            for other in answer.also:
                pairs({"also": f"{other.gate}: {other.why}"})
        return DONE

    raise SystemExit(guarded(work))


def export(
    campaign: Annotated[str, typer.Argument(help="A campaign's id or name.", metavar="CAMPAIGN")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="FILE.csv or FILE.jsonl; - is CSV on stdout.")
    ],
    mask: Annotated[bool, typer.Option("--mask", help="Mask the phone numbers.")] = False,
) -> None:
    """Every message of a campaign, a row each."""

    def work() -> int:
        from bulksend.ledger import campaigns, search
        from bulksend.messaging import InvalidInput
        from ops.cli.doors import ledger, settings
        from ops.cli.output import readable, say
        from ops.exporting import masked, open_writer

        if str(output) != "-" and output.suffix not in (".csv", ".jsonl"):
            raise InvalidInput(f"--output: {output.name} must end in .csv or .jsonl")
        count = 0
        with ledger(settings()).read() as tx:
            found = campaigns.resolve(tx, campaign)
            with open_writer(output) as write:
                for row in search.export(tx, found.id):
                    shown = readable(dict(row))
                    write(masked(shown) if mask else shown)
                    count += 1
        say(f"{count:,} messages of {found.name} written to {output}")
        return DONE

    raise SystemExit(guarded(work))
