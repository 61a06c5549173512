"""``bulksend messages unknown`` and ``resolve``: what may have gone out, and what a person decides about it."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.context import DONE, FAILED, guarded

if TYPE_CHECKING:
    from bulksend.ledger.database import Database
    from bulksend.ledger.search import Query

Json = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
Campaign = Annotated[str | None, typer.Option(help="Only of this campaign, by id or name.")]
Phone = Annotated[str | None, typer.Option(help="Only to this recipient, written in any way.")]
Since = Annotated[str | None, typer.Option(help="Only taken in at or after, ISO 8601.")]
Until = Annotated[str | None, typer.Option(help="Only taken in at or before, ISO 8601.")]
Trace = Annotated[
    list[str] | None,
    typer.Option(
        help="Only with this trace: worker_lost, no_answer, answer_cut, odd_answer. May be repeated."
    ),
]

#: How many are settled by one transaction.
_TOGETHER = 200


def register(group: typer.Typer) -> None:
    """Add the commands to ``bulksend messages``."""
    group.command("unknown")(unknown)
    group.command("resolve")(resolve)


def unknown(
    campaign: Campaign = None,
    phone: Phone = None,
    since: Since = None,
    until: Until = None,
    trace: Trace = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50,
    before: Annotated[str | None, typer.Option(help="Go on after this id of the page before.")] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV on stdout.")] = False,
) -> None:
    """Messages that may have gone out, each with what its attempt left behind, the newest first."""

    def work() -> int:
        from bulksend.ledger import unknowns
        from bulksend.operations.json_shape import to_json
        from ops.cli.context import ledger, settings
        from ops.cli.filters import query_of
        from ops.cli.output import print_json
        from ops.exporting import write_csv

        of = settings()
        with ledger(of).read() as tx:
            query = query_of(tx, of, campaign=campaign, phone=phone, since=since, until=until)
            found = unknowns.unknown(tx, query, traces=_traces(trace), limit=limit, before=before)
        rows = [to_json(row) | {"meaning": unknowns.MEANING[unknowns.Trace(row["trace"])]} for row in found]
        if csv:
            write_csv(rows, sys.stdout)
        elif json:
            for row in rows:
                print_json(row)
        else:
            _show(rows, limit, of.timezone)
        return DONE

    raise SystemExit(guarded(work))


def _show(rows: Sequence[dict[str, Any]], limit: int, timezone: str | None) -> None:
    from bulksend.ledger.unknowns import MEANING, Trace
    from ops.cli.output import Times, say, table

    if not rows:
        say("nothing is unknown", "green")
        return
    shown = {
        **{name: name for name in ("id", "to", "trace", "attempt_n", "started_at")},
        **{name: name for name in ("bytes_sent", "reply_began", "http_status")},
        **{"ret_code": "attempt_ret_code", "error": "attempt_error"},
    }
    table(
        list(shown),
        [[row[name] for name in shown.values()] for row in rows],
        optional=("attempt_n", "reply_began", "bytes_sent", "http_status", "started_at"),
        times=Times(timezone or "UTC"),
    )
    for trace, count in Counter(row["trace"] for row in rows).most_common():
        say(f"{count} {trace}: {MEANING[Trace(trace)]}")
    say(
        "a late receipt settles one by itself; else: bulksend messages resolve ID… --as accepted|failed|resend --why …"
    )
    if len(rows) == limit:
        say(f"there may be more: --before {rows[-1]['id']}")


@dataclass(slots=True)
class _Done:
    """What a resolve came to."""

    resolved: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    """Settled just so by a person before."""
    refused: list[dict[str, str]] = field(default_factory=list)


def resolve(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Ids of messages; - reads them from stdin.", metavar="[ID]…")
    ] = None,
    as_: Annotated[str, typer.Option("--as", help="accepted, failed or resend.")] = ...,  # type: ignore[assignment]
    why: Annotated[str, typer.Option(help="Why; it goes on record.")] = ...,  # type: ignore[assignment]
    campaign: Campaign = None,
    phone: Phone = None,
    since: Since = None,
    until: Until = None,
    trace: Trace = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which; change nothing.")] = False,
    json: Json = False,
) -> None:
    """Settle messages that may have gone out, by what a person found out: by id, or all that match."""

    def work() -> int:
        from bulksend.errors import InvalidInput
        from bulksend.ledger.messages import check_resolution
        from ops.cli.context import actor, ledger, settings
        from ops.cli.filters import query_of

        check_resolution(as_, why)
        of = settings()
        database = ledger(of)
        narrowed = any(value is not None for value in (campaign, phone, since, until)) or bool(trace)
        if bool(ids) == narrowed:
            raise InvalidInput(
                "name the messages either by their ids or by --campaign, --phone, --since, --until or --trace"
            )
        if ids:
            wanted: Iterator[str] = iter(_named(ids))
        else:
            with database.read() as tx:
                query = query_of(tx, of, campaign=campaign, phone=phone, since=since, until=until)
            wanted = _matching(database, query, trace)
        done = _Done()
        while part := list(itertools.islice(wanted, _TOGETHER)):
            _resolve_part(database, part, done, as_=as_, why=why, actor=actor(), dry_run=dry_run)
        if ids and len([*done.resolved, *done.before, *done.refused]) == 1:
            return _tell_one(done, as_, dry_run=dry_run, json=json)
        return _tell(done, as_, dry_run=dry_run, json=json)

    raise SystemExit(guarded(work))


def _resolve_part(
    database: Database, ids: Sequence[str], done: _Done, *, as_: str, why: str, actor: str, dry_run: bool
) -> None:
    from sqlalchemy import Connection

    from bulksend.errors import InvalidInput, MessageNotFound
    from bulksend.ledger import messages

    def one_transaction(tx: Connection) -> _Done:
        part = _Done()
        for id in sorted(ids):  # in one order, or two who settle the same would wait for each other
            try:
                if dry_run:
                    messages.check_resolve(tx, id, as_=as_)
                else:
                    messages.resolve(tx, id, as_=as_, actor=actor, why=why)
                part.resolved.append(id)
            except MessageNotFound as error:
                part.refused.append({"id": id, "why": str(error)})
            except InvalidInput as error:
                # Said twice, or done by a COMMIT whose answer was lost.
                if messages.was_resolved_as(tx, id, as_):
                    part.before.append(id)
                else:
                    part.refused.append({"id": id, "why": str(error)})
        return part

    part = database.retrying(one_transaction)
    done.resolved += part.resolved
    done.before += part.before
    done.refused += part.refused


def _tell_one(done: _Done, as_: str, *, dry_run: bool, json: bool) -> int:
    """A single message is told as such; bad input where it cannot be."""
    from bulksend.errors import InvalidInput
    from bulksend.ledger.messages import RESOLUTIONS
    from ops.cli.output import print_json, say

    if done.refused:
        raise InvalidInput(done.refused[0]["why"])
    (id,) = done.resolved or done.before
    status = RESOLUTIONS[as_].value
    if json:
        print_json({"id": id, "status": "unknown" if dry_run and done.resolved else status})
    elif done.before:
        say(f"message {id} was resolved as {as_} before; nothing was changed")
    else:
        say(f"message {id} {'would be' if dry_run else 'is'} {status}{'' if dry_run else ' now'}")
    return DONE


def _tell(done: _Done, as_: str, *, dry_run: bool, json: bool) -> int:
    from bulksend.messaging.units import counted
    from ops.cli.output import print_json, say

    if json:
        print_json(
            {
                "resolved": done.resolved,
                "resolved_before": done.before,
                "refused": done.refused,
                "as": as_,
                "dry_run": dry_run,
            }
        )
    else:
        if dry_run:
            for id in done.resolved:
                sys.stdout.write(f"{id}\n")
        count = len(done.resolved)
        verb = "would be" if dry_run else "is now" if count == 1 else "are now"
        say(f"{counted(count, 'message')} {verb} resolved as {as_}")
        if done.before:
            say(f"{len(done.before):,} {'was' if len(done.before) == 1 else 'were'} so before")
        for refusal in done.refused:
            say(refusal["why"], "red")
    return FAILED if done.refused else DONE


def _named(ids: Sequence[str]) -> list[str]:
    """The ids, those of stdin among them, each once."""
    listed: list[str] = []
    for id in ids:
        listed += sys.stdin.read().split() if id == "-" else [id]
    return list(dict.fromkeys(listed))


def _matching(database: Database, query: Query, trace: Sequence[str] | None) -> Iterator[str]:
    """Ids of all that match, a page at a time: those that are settled meanwhile are no longer found."""
    from bulksend.ledger import unknowns

    before: str | None = None
    while True:
        with database.read() as tx:
            rows = unknowns.unknown(tx, query, traces=_traces(trace), limit=_TOGETHER, before=before)
        yield from (str(row["id"]) for row in rows)
        if len(rows) < _TOGETHER:
            return
        before = str(rows[-1]["id"])


def _traces(given: Sequence[str] | None) -> list[Any]:
    from bulksend.errors import InvalidValue
    from bulksend.ledger.unknowns import Trace

    for text in given or ():
        if text not in set(Trace):
            raise InvalidValue("--trace", text[:40], f"is not one of {', '.join(Trace)}")
    return [Trace(text) for text in given or ()]
