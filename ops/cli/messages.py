"""``bulksend messages`` and ``export``: what became of each message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.context import DONE, guarded

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from bulksend.ledger.campaigns import Campaign
    from bulksend.ledger.encryption import Cipher
    from bulksend.settings import Settings
    from ops.contents import FileColumns, Variables

group = typer.Typer(
    help="Find messages, show one whole, ask why it waits, settle an unknown one.", no_args_is_help=True
)
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
Id = Annotated[str, typer.Argument(help="The message's id.", metavar="ID")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    from ops.cli import unknowns

    unknowns.register(group)
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
        from bulksend.operations.json_shape import to_json
        from ops.cli.context import ledger, settings
        from ops.cli.filters import query_of
        from ops.cli.output import Times, print_json, say, table
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
            rows = [to_json(dict(row)) for row in search.find(tx, query, limit=limit, before=before)]
        if csv:
            import sys

            write_csv(rows, sys.stdout)
        elif json:
            for row in rows:
                print_json(row)
        else:
            columns = ["id", "to", "status", "attempts", "message_id", "queued_at", "error"]
            table(
                columns,
                [[row[column] for column in columns] for row in rows],
                optional=("message_id", "attempts"),
                times=Times(of.timezone or "UTC"),
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
        from bulksend.bootstrap import reading_cipher
        from ops.cli.context import ledger, settings
        from ops.cli.output import print_json

        of = settings()
        with ledger(of).read() as tx:
            shown = whole(tx, id, reading_cipher(of))
            zone = zone_of(tx, shown["campaign_id"], of)
        if json:
            print_json(shown)
        else:
            _show(shown, zone)
        return DONE

    raise SystemExit(guarded(work))


def zone_of(tx: Connection, campaign_id: str, of: Settings) -> str:
    """The zone of a message's times: its campaign's, else the installation's, else UTC."""
    from bulksend.ledger import campaigns

    return campaigns.get(tx, campaign_id).timezone or of.timezone or "UTC"


def _show(shown: dict[str, Any], zone: str) -> None:
    from ops.cli.output import Times, pairs, table
    from ops.contents import leaves

    times = Times(zone)
    lists = {name: shown.pop(name) for name in ("attempts", "receipts", "acts")}
    content, content_why = shown.pop("content"), shown.pop("content_why")
    # A try that counts is one that failed: beside an acceptance a 0 would read as "never sent".
    counted = {name: shown.pop(name) or None for name in ("tries", "waits", "rescues")}
    pairs(
        {**shown, "attempts": len(lists["attempts"])}
        | {"tries_used": counted["tries"], "waits": counted["waits"], "workers_lost": counted["rescues"]},
        title=f"Message {shown['id']}",
        times=times,
    )
    pairs(dict(leaves(content)) if content else {"content": content_why}, title="What it says")
    for name, columns in (
        (
            "attempts",
            [
                *("n", "started_at", "outcome", "http_status", "ret_code", "latency_ms"),
                *("request_id", "message_id", "error"),
            ],
        ),
        ("receipts", ["status", "at", "received_at", "code", "why"]),
        ("acts", ["at", "actor", "act", "why"]),
    ):
        if lists[name]:
            table(
                columns,
                [[each[c] for c in columns] for each in lists[name]],
                title=name.capitalize(),
                times=times,
            )


def whole(tx: Connection, id: str, cipher: Cipher) -> dict[str, Any]:
    """The interface's ``messages show``. ``cipher`` opens a content that was encrypted."""
    from bulksend.ledger import campaigns, messages, operator_log
    from bulksend.messaging import Kind
    from bulksend.operations.json_shape import to_json
    from ops.contents import content_of

    row = messages.get(tx, id)
    campaign = campaigns.get(tx, row["campaign_id"])
    shown = to_json({k: v for k, v in row.items() if k not in ("owner", "attempt_id", "attempts")})
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
    payload = None if campaign.kind is Kind.OTP else messages.payload_of(tx, id)
    said = content_of(campaign, id, row["type"], payload, cipher)
    shown |= {"content": said.content, "content_why": said.why}
    shown["attempts"] = [to_json({k: a[k] for k in kept}) for a in messages.attempts_of(tx, id)]
    shown["receipts"] = [
        to_json({k: r[k] for k in ("status", "at", "received_at", "code", "why")})
        for r in messages.receipts_of(tx, id)
    ]
    shown["acts"] = [
        to_json({"at": a.at, "actor": a.actor, "act": a.act, "why": a.why})
        for a in operator_log.of(tx, "message", id)
    ]
    return shown


@group.command("why")
def why(id: Id, json: Json = False) -> None:
    """Which gate holds a message, and the earliest it may go."""

    def work() -> int:
        from bulksend.bootstrap import working_limiter
        from bulksend.ledger import messages
        from bulksend.operations.json_shape import to_json
        from ops.cli.context import ledger, settings
        from ops.cli.output import Times, pairs, print_json
        from ops.why import explain

        of = settings()
        database = ledger(of)
        silent: list[str] = []
        permits = working_limiter(of, database, silent.append)
        answer = explain(
            database,
            permits,
            id,
            account=of.account(),
            default_rate=of.default_rate,
            timezone=of.timezone,
            silent="".join(silent),
        )
        if json:
            print_json(answer.as_json())
        else:
            with database.read() as tx:
                zone = zone_of(tx, messages.get(tx, id)["campaign_id"], of)
            pairs(
                {"status": answer.status, "gate": answer.gate, "why": answer.why}
                | to_json({"earliest": answer.earliest}),
                title=f"Message {id}",
                times=Times(zone),
            )
            for other in answer.also:
                pairs({"gate": other.gate, "why": other.why} | to_json({"until": other.until}), title="Also")
        return DONE

    raise SystemExit(guarded(work))


def export(
    campaign: Annotated[str, typer.Argument(help="A campaign's id or name.", metavar="CAMPAIGN")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="FILE.csv or FILE.jsonl; - is CSV on stdout.")
    ],
    refused: Annotated[
        bool, typer.Option("--refused", help="The rows that were refused, instead of the messages.")
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option(help="The file that the campaign was made of: all of its columns come along."),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of --file, where it is a CSV that is not UTF-8.")
    ] = None,
    sheet: Annotated[
        str | None, typer.Option(help="Sheet of --file, where it is an XLSX; default: the first.")
    ] = None,
    mask: Annotated[
        bool, typer.Option("--mask", help="Mask the phone numbers, and leave the file's columns out.")
    ] = False,
) -> None:
    """Every message of a campaign, a row each, with the columns of its file that its content uses."""

    def work() -> int:
        from bulksend.bootstrap import reading_cipher
        from bulksend.errors import InvalidInput
        from bulksend.ledger import campaigns
        from bulksend.messaging.units import counted
        from ops.cli.context import ledger, settings
        from ops.cli.output import say
        from ops.contents import Variables
        from ops.exporting import open_writer

        if file is not None and (mask or refused):
            raise InvalidInput("--file: goes with neither --mask nor --refused")
        if file is None and (encoding or sheet):
            raise InvalidInput("--encoding and --sheet: they say how --file is read; give it too")
        if str(output) != "-" and output.suffix not in (".csv", ".jsonl"):
            raise InvalidInput(f"--output: {output.name} must end in .csv or .jsonl")
        of = settings()
        count = 0
        with ExitStack() as stack, ledger(of).read() as tx:
            found = campaigns.find(tx, campaign)
            variables = Variables(found, reading_cipher(of))
            own = stack.enter_context(_columns_of(file, found, encoding, sheet)) if file is not None else None
            messages = _exported(tx, found.id, None if mask else variables, own)
            rows = map(dict, campaigns.all_refused_rows(tx, found.id)) if refused else messages
            with open_writer(output, REFUSED_COLUMNS if refused else None) as write:
                for row in rows:
                    write(row)
                    count += 1
        say(f"{counted(count, 'refused row' if refused else 'message')} of {found.name} written to {output}")
        if variables.unreadable:
            say(
                f"the file's columns of {counted(variables.unreadable, 'message')} are encrypted by a key that "
                "BULKSEND_ENCRYPTION_KEY does not list; they are empty",
                "yellow",
            )
        return DONE

    raise SystemExit(guarded(work))


REFUSED_COLUMNS = ("row", "field", "value", "why")


@contextmanager
def _columns_of(
    file: Path, campaign: Campaign, encoding: str | None, sheet: str | None
) -> Iterator[FileColumns]:
    """The columns of a campaign's own file. Raises InvalidInput for codes: theirs would come along."""
    from bulksend.errors import InvalidInput
    from bulksend.messaging import Kind
    from ops.cli.output import say_notes
    from ops.contents import FileColumns
    from producer.reading import open_rows

    if campaign.kind is Kind.OTP:
        raise InvalidInput("--file: the file of one-time codes is not exported")
    with open_rows(file, encoding=encoding, sheet=sheet) as source:
        say_notes(source.notes)
        yield FileColumns(source, file.name)


def _exported(
    tx: Connection, campaign_id: str, variables: Variables | None, file: FileColumns | None
) -> Iterator[dict[str, Any]]:
    """The messages of a campaign as they leave; masked where no ``variables`` are given."""
    from bulksend.ledger import search
    from bulksend.operations.json_shape import to_json
    from ops.exporting import masked

    for row in search.export(tx, campaign_id, payloads=bool(variables and variables.names)):
        shown = to_json(dict(row))
        payload = shown.pop("payload", None)
        if variables is None:
            yield dict(masked(shown))
        else:
            own = variables.of(shown["id"], payload) if file is None else file.of(shown["row"], shown["to"])
            # A column of the file that is named as one of ours.
            yield shown | {name if name not in shown else f"{name} (file)": own[name] for name in own}
