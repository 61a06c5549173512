"""``bulksend messages``: find messages, show one, say why it waits, list and resolve unknown ones."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.arguments import Json, option_names
from ops.cli.context import DONE, FAILED, actor, command, ledger, settings

if TYPE_CHECKING:
    from bulksend.operations.json_shape import Page
    from bulksend.operations.messages import Filter
    from bulksend.operations.unknowns import Resolution
    from bulksend.settings import Settings

group = typer.Typer(help="Find messages, explain waits, settle unknowns.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(help="The message's id.", metavar="ID")]
Campaign = Annotated[str | None, typer.Option(help="Only of this campaign, by id or name.")]
Phone = Annotated[str | None, typer.Option(help="Only to this recipient, in any common notation.")]
Since = Annotated[str | None, typer.Option(help="Only queued at or after this time, ISO 8601.")]
Until = Annotated[str | None, typer.Option(help="Only queued at or before this time, ISO 8601.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="At most this many.")]
Before = Annotated[str | None, typer.Option(help="The next page: only older than the message of this id.")]
JsonLines = Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")]
Csv = Annotated[bool, typer.Option("--csv", help="CSV on stdout.")]
Trace = Annotated[
    list[str] | None,
    typer.Option(
        help="Only with this trace: no_answer, answer_cut, odd_answer, worker_lost, restored. Repeatable."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="messages")


@group.command("find")
@command
def find(
    phone: Phone = None,
    message_id: Annotated[str | None, typer.Option(help="The vendor's MessageId, of any attempt.")] = None,
    request_id: Annotated[str | None, typer.Option(help="The vendor's RequestId, of any attempt.")] = None,
    campaign: Campaign = None,
    status: Annotated[str | None, typer.Option(help="queued, accepted, failed, unknown, …")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    before: Before = None,
    json: JsonLines = False,
    csv: Csv = False,
) -> int:
    """The newest matching messages first."""
    from bulksend.operations import messages
    from ops.cli.output import Times, say, say_next, table

    of = settings()
    wanted = _filter(
        of, campaign, phone, since, until, message_id=message_id, request_id=request_id, status=status
    )
    with option_names(), ledger(of).read() as tx:
        page = messages.find(tx, wanted, limit=limit, before=before)
        names = messages.campaign_names(tx, page.items)
    if _print_rows(page, json=json, csv=csv):
        return DONE
    columns = ["id", "to", "status", "attempts", "message_id", "queued_at", "error"]
    if campaign is None:
        columns.insert(3, "campaign")
    if any(_is_due_later(row) for row in page.items):
        columns.insert(columns.index("queued_at") + 1, "due_at")
    table(
        columns,
        [
            [
                {**row, "campaign": name, "due_at": row["due_at"] if _is_due_later(row) else None}[column]
                for column in columns
            ]
            for row, name in zip(page.items, names, strict=True)
        ],
        optional=("message_id", "attempts"),
        last=("campaign",),
        times=Times(of.timezone or "UTC"),
    )
    if not page.items:
        say("No message matches")
    say_next(page, "--before")
    return DONE


def _is_due_later(row: Mapping[str, Any]) -> bool:
    """Whether it waits for a time of its own, such as the one that the recipient's clock gives it."""
    return row["status"] == "queued" and row["due_at"] is not None and row["due_at"] > row["queued_at"]


@group.command("show")
@command
def show(id: Id, json: Json = False) -> int:
    """One message with all its attempts, receipts and operator acts."""
    from bulksend.bootstrap import reading_cipher
    from bulksend.operations import messages
    from ops.cli.output import print_json

    of = settings()
    with ledger(of).read() as tx:
        shown = messages.show(tx, id, reading_cipher(of))
        zone, files = messages.zone_of(tx, id, of.timezone), messages.named_files(tx, shown)
    if json:
        print_json(shown)
    else:
        _show(shown, zone, files)
    return DONE


def _show(shown: dict[str, Any], zone: str, files: Mapping[str, str]) -> None:
    from ops.cli.output import Times, acts_table, pairs, table

    times = Times(zone)
    lists = {name: shown.pop(name) for name in ("attempts", "receipts", "acts")}
    content, content_why = shown.pop("content"), shown.pop("content_why")
    # A try that counts is one that failed: beside an acceptance a 0 would read as "never sent".
    counted = {name: shown.pop(name) or None for name in ("tries", "waits", "strikes")}
    pairs(
        {**shown, "attempts": len(lists["attempts"])}
        | {"tries_used": counted["tries"], "waits": counted["waits"], "workers_lost": counted["strikes"]},
        title=f"Message {shown['id']}",
        times=times,
    )
    leaves = {name: files.get(value, value) for name, value in _leaves(content)} if content else {}
    pairs(leaves or {"content": content_why}, title="Content")
    attempt = ["n", "started_at", "outcome", "http_status", "ret_code", "latency_ms"]
    for name, columns in (
        ("attempts", [*attempt, "request_id", "message_id", "error"]),
        ("receipts", ["status", "at", "received_at", "code", "why"]),
    ):
        if lists[name]:
            rows = [[each[c] for c in columns] for each in lists[name]]
            table(columns, rows, title=name.capitalize(), times=times)
    acts_table(lists["acts"], times)


def _leaves(content: Any, path: str = "") -> list[tuple[str, str]]:
    """Every text and number of a content with its path, such as ``components[0].parameters[1].text``."""
    if isinstance(content, dict):
        parts = [(f"{path}.{key}".lstrip("."), value) for key, value in content.items()]
    elif isinstance(content, list):
        parts = [(f"{path}[{number}]", value) for number, value in enumerate(content)]
    else:
        return [(path, str(content))]
    return [leaf for name, value in parts for leaf in _leaves(value, name)]


@group.command("why")
@command
def why(id: Id, json: Json = False) -> int:
    """Which gate holds a message, and the earliest time it can be sent."""
    from bulksend.bootstrap import working_limiter
    from bulksend.operations import messages
    from bulksend.operations.why import explain
    from ops.cli.output import Times, pairs, print_json

    of = settings()
    database = ledger(of)
    silent: list[str] = []
    answer = explain(
        database,
        working_limiter(of, database, silent.append),
        id,
        account=of.account(),
        default_rate=of.default_rate,
        timezone=of.timezone,
        silent="".join(silent),
    ).as_json()
    if json:
        print_json(answer)
        return DONE
    with database.read() as tx:
        times = Times(messages.zone_of(tx, id, of.timezone))
    also = answer.pop("also")
    pairs(
        {name: answer[name] for name in ("status", "gate", "why", "earliest")},
        title=f"Message {answer['id']}",
        times=times,
    )
    for other in also:
        pairs(other, title="Also")
    return DONE


@group.command("unknown")
@command
def unknown(
    campaign: Campaign = None,
    phone: Phone = None,
    since: Since = None,
    until: Until = None,
    trace: Trace = None,
    limit: Limit = 50,
    before: Before = None,
    json: JsonLines = False,
    csv: Csv = False,
) -> int:
    """Messages that may have gone out, with what the attempts left behind."""
    from bulksend.operations.unknowns import list_unknown

    of = settings()
    wanted = _filter(of, campaign, phone, since, until)
    with option_names(), ledger(of).read() as tx:
        page = list_unknown(tx, wanted, traces=trace or (), limit=limit, before=before)
    if not _print_rows(page, json=json, csv=csv):
        _show_unknown(page, of.timezone)
    return DONE


def _show_unknown(page: Page, timezone: str | None) -> None:
    from ops.cli.output import Times, say, say_next, table

    if not page.items:
        say("No message is unknown", "green")
        return
    shown = {
        **{name: name for name in ("id", "to", "trace", "attempt_n", "started_at")},
        **{name: name for name in ("bytes_sent", "reply_began", "http_status")},
        **{"ret_code": "attempt_ret_code", "error": "attempt_error"},
    }
    table(
        list(shown),
        [[row[name] for name in shown.values()] for row in page.items],
        optional=("attempt_n", "reply_began", "bytes_sent", "http_status", "ret_code", "error", "started_at"),
        times=Times(timezone or "UTC"),
    )
    for (trace, meaning), count in Counter(
        (row["trace"], row["meaning"]) for row in page.items
    ).most_common():
        say(f"{count} {trace}: {meaning}")
    say(
        "A late receipt settles one; else you do: bulksend messages resolve ID… --as accepted|failed|resend --why …"
    )
    say_next(page, "--before")


@group.command("resolve")
@command
def resolve(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Ids of messages; - reads them from stdin.", metavar="[ID]…")
    ] = None,
    as_: Annotated[str, typer.Option("--as", help="accepted, failed or resend.")] = ...,  # type: ignore[assignment]
    why: Annotated[str, typer.Option(help="The reason, for the operator log.")] = ...,  # type: ignore[assignment]
    campaign: Campaign = None,
    phone: Phone = None,
    since: Since = None,
    until: Until = None,
    trace: Trace = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List them; change nothing.")] = False,
    json: Json = False,
) -> int:
    """Settle unknown messages by what you found out: by id, or all that match."""
    from bulksend.errors import InvalidInput
    from bulksend.operations import unknowns

    of = settings()
    database = ledger(of)
    wanted = _filter(of, campaign, phone, since, until)
    if bool(ids) == bool(trace or not wanted.is_empty):
        raise InvalidInput(
            "give either the ids of messages, or some of --campaign, --phone, --since, --until and --trace"
        )
    found: Iterator[str] = iter(_named(ids)) if ids else unknowns.matching_ids(database, wanted, trace or ())
    with option_names():
        done = unknowns.resolve(database, found, as_=as_, actor=actor(), why=why, dry_run=dry_run)
    single = ids and len([*done.resolved, *done.before, *done.refused]) == 1
    return _show_one(done, json=json) if single else _show_resolution(done, json=json)


def _show_one(done: Resolution, *, json: bool) -> int:
    """Of a single message; bad input where it is refused."""
    from bulksend.errors import InvalidInput
    from ops.cli.output import print_json, say

    if done.refused:
        raise InvalidInput(done.refused[0]["why"])
    (id,) = done.resolved or done.before
    if json:
        print_json({"id": id, "status": "unknown" if done.dry_run and done.resolved else done.status})
    elif done.before:
        say(f"Nothing changed: message {id} was resolved as {done.as_} before")
    else:
        say(f"Message {id} {'would be' if done.dry_run else 'is now'} {done.status}")
    return DONE


def _show_resolution(done: Resolution, *, json: bool) -> int:
    from bulksend.messaging.units import counted
    from ops.cli.output import print_json, say

    if json:
        print_json(done.as_json())
    else:
        if done.dry_run:
            sys.stdout.writelines(f"{id}\n" for id in done.resolved)
        count = len(done.resolved)
        verb = "would be" if done.dry_run else "is now" if count == 1 else "are now"
        say(f"{counted(count, 'message')} {verb} resolved as {done.as_}")
        if done.before:
            say(f"Nothing changed: {counted(len(done.before), 'message')} resolved as {done.as_} before")
        for refusal in done.refused:
            say(refusal["why"], "red")
    return FAILED if done.refused else DONE


def _named(ids: Sequence[str]) -> list[str]:
    """Every id once, those of stdin included."""
    listed: list[str] = []
    for id in ids:
        listed += sys.stdin.read().split() if id == "-" else [id]
    return list(dict.fromkeys(listed))


def _filter(
    of: Settings,
    campaign: str | None,
    phone: str | None,
    since: str | None,
    until: str | None,
    **more: str | None,
) -> Filter:
    from bulksend.operations.messages import Filter

    return Filter(
        campaign=campaign,
        phone=phone,
        since=since,
        until=until,
        default_region=of.default_region,
        timezone=of.timezone,
        **more,
    )


def _print_rows(page: Page, *, json: bool, csv: bool) -> bool:
    """Print a page for programs; whether that was asked for."""
    from ops.cli.output import print_page, say_next
    from ops.export_files import write_csv

    if csv:
        write_csv(page.items, sys.stdout)
        say_next(page, "--before")
    elif json:
        print_page(page, "--before")
    return csv or json
