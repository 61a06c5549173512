"""``bulksend suppressions`` and ``senders``: whom not to write to, and who writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.arguments import Encoding, SheetOption
from ops.cli.context import DONE, FAILED, guarded

if TYPE_CHECKING:
    from bulksend.settings import Settings

suppressions_group = typer.Typer(help="Numbers that must not get a kind of message.", no_args_is_help=True)
senders_group = typer.Typer(help="Business numbers, their limits and pauses.", no_args_is_help=True)
account_group = typer.Typer(help="The vendor account: pause and resume everything.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
Phone = Annotated[str, typer.Argument(help="A number, written in any way.", metavar="PHONE")]
Region = Annotated[
    str | None, typer.Option(help="Country of numbers without a country code, e.g. GB.", metavar="GB")
]
Map = Annotated[
    list[str] | None,
    typer.Option(help='Which column has the numbers, e.g. to="Mobile No.".', metavar="to=COLUMN"),
]
ScopeOption = Annotated[str, typer.Option(help="marketing, or all kinds of message.")]


def register(app: typer.Typer) -> None:
    """Add the groups."""
    app.add_typer(suppressions_group, name="suppressions")
    app.add_typer(senders_group, name="senders")
    app.add_typer(account_group, name="account")


def _subject(text: str, region: str | None) -> str:
    from bulksend.messaging import parse_recipient
    from bulksend.messaging.recipient import checked_region

    if text.lower().startswith("country:"):
        return "country:" + checked_region(text[8:], "PHONE")
    return parse_recipient(text, default_region=region, field="PHONE")


def _region(given: str | None, of: Settings) -> str | None:
    """The region of numbers without a country code: the option's, else the installation's."""
    from bulksend.messaging.recipient import checked_region

    return of.default_region if given is None else checked_region(given, "--region")


def _scope(text: str) -> str:
    from bulksend.errors import InvalidValue
    from bulksend.ledger.suppressions import SCOPES

    if text not in SCOPES:
        raise InvalidValue("--scope", text[:40], "is not one of marketing, all")
    return text


@suppressions_group.command("add")
def add(
    phone: Phone,
    reason: Annotated[str, typer.Option(help="Why; it goes on record.")],
    scope: ScopeOption = "marketing",
    until: Annotated[str | None, typer.Option(help="Until when, ISO 8601; default: for ever.")] = None,
    region: Region = None,
    json: Json = False,
) -> None:
    """Suppress one number, or a whole country as country:XX. Takes hold at once, also for what is queued."""

    def work() -> int:
        import time

        from bulksend.ledger import suppressions
        from bulksend.messaging.units import parse_instant_ms
        from ops.cli.context import actor, ledger, settings
        from ops.cli.output import print_json, say

        of = settings()
        subject = _subject(phone, _region(region, of))
        end = None
        if until is not None:
            now_ms = int(time.time() * 1000)
            end = parse_instant_ms(until, timezone=of.timezone or "UTC", now_ms=now_ms, field="--until")
        with ledger(of).write() as tx:
            suppressions.add(
                tx, subject, scope=_scope(scope), reason=reason, source="operator", actor=actor(), until=end
            )
        if json:
            print_json({"subject": subject, "scope": scope})
        else:
            say(f"{subject} gets no {'message' if scope == 'all' else 'marketing message'} any more")
        return DONE

    raise SystemExit(guarded(work))


@suppressions_group.command("remove")
def remove(
    phone: Phone,
    why: Annotated[str, typer.Option(help="Why; it goes on record.")],
    scope: Annotated[str | None, typer.Option(help="Only this scope; default: every one.")] = None,
    region: Region = None,
    json: Json = False,
) -> None:
    """Lift the suppressions of a number."""

    def work() -> int:
        from bulksend.ledger import suppressions
        from bulksend.messaging.units import counted
        from ops.cli.context import actor, ledger, settings
        from ops.cli.output import print_json, say

        of = settings()
        subject = _subject(phone, _region(region, of))
        lifted = None if scope is None else _scope(scope)
        with ledger(of).write() as tx:
            count = suppressions.remove(tx, subject, scope=lifted, actor=actor(), why=why)
        if json:
            print_json({"subject": subject, "removed": count})
        else:
            say(
                f"{subject}: {counted(count, 'suppression')} lifted"
                if count
                else f"{subject} was not suppressed"
            )
        return DONE

    raise SystemExit(guarded(work))


@suppressions_group.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(help="CSV, XLSX or JSONL with the numbers in a column `to` or an alias.")
    ],
    reason: Annotated[str, typer.Option(help="Why they are suppressed.")] = "imported",
    scope: ScopeOption = "marketing",
    region: Region = None,
    encoding: Encoding = None,
    sheet: SheetOption = None,
    map: Map = None,
    json: Json = False,
) -> None:
    """Suppress every number of a file, such as an older system's opt-out list. Ends with 1 where rows were refused."""

    def work() -> int:
        from bulksend.errors import InvalidValue
        from bulksend.ledger import suppressions
        from bulksend.messaging import parse_recipient, person
        from bulksend.messaging.naming import as_option
        from bulksend.messaging.plan import RefusedRow
        from bulksend.messaging.whole_text import whole_text
        from ops.cli.context import actor, ledger, settings
        from ops.cli.output import print_json, refused_rows, say, say_notes
        from producer.files import given_columns
        from producer.reading import open_rows

        of = settings()
        default_region = _region(region, of)
        database = ledger(of)
        people: list[str] = []
        refused: list[RefusedRow] = []
        with open_rows(file, encoding=encoding, sheet=sheet) as source:
            columns = source.columns(given_columns(map or (), as_option), as_option)
            notes = source.noted(column for column, name in columns.names.items() if name == "to")
            for row in source:
                if isinstance(row, RefusedRow):
                    refused.append(row)
                    continue
                try:
                    to = columns.rename(row.values).get("to")
                    people.append(person(parse_recipient(to, default_region=default_region)))
                except InvalidValue as error:
                    refused.append(RefusedRow(row.row, error.field, error.value, error.why))
            notes += source.left_out()
        say_notes(notes)
        with database.write() as tx:
            count = suppressions.add_many(
                tx,
                sorted(set(people)),
                scope=_scope(scope),
                reason=reason,
                source=f"file {whole_text(file.name)} by {actor()}",
            )
        if json:
            counts = {"rows": len(people) + len(refused), "people": len(set(people)), "added": count}
            rows = [row._asdict() for row in refused]
            print_json({**counts, "before": len(set(people)) - count, "refused": rows, "notes": notes})
        else:
            say(f"{count:,} newly suppressed, {len(set(people)) - count:,} suppressed before")
            if refused:
                rows_were = "1 row was" if len(refused) == 1 else f"{len(refused):,} rows were"
                say(f"{rows_were} refused, and the numbers are NOT suppressed: mend and import them", "red")
                refused_rows(refused, len(refused))
        return FAILED if refused else DONE

    raise SystemExit(guarded(work))


@suppressions_group.command("list")
def list_(
    phone: Annotated[str | None, typer.Option(help="Only this number.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    after: Annotated[str, typer.Option(help="Go on after this number of the page before.")] = "",
    region: Region = None,
    json: Json = False,
) -> None:
    """The suppressions, by number."""

    def work() -> int:

        from bulksend.ledger import suppressions
        from bulksend.operations.json_shape import to_json
        from ops.cli.context import ledger, settings
        from ops.cli.output import Times, print_json, table

        of = settings()
        subject = None if phone is None else _subject(phone, _region(region, of))
        with ledger(of).read() as tx:
            found = [to_json(s) for s in suppressions.listed(tx, after=after, limit=limit, subject=subject)]
        if json:
            for line in found:
                print_json(line)
        else:
            columns = ["subject", "scope", "reason", "source", "added_at", "until"]
            table(
                columns,
                [[f[c] for c in columns] for f in found],
                optional=("added_at", "source"),
                times=Times(of.timezone or "UTC"),
            )
        return DONE

    raise SystemExit(guarded(work))


@senders_group.command("list")
def senders_list(json: Json = False) -> None:
    """Every sender on record."""

    def work() -> int:

        from bulksend.ledger import senders
        from bulksend.operations.json_shape import to_json
        from ops.cli.context import ledger, settings
        from ops.cli.output import Times, print_json, table

        of = settings()
        with ledger(of).read() as tx:
            found = [to_json(s) for s in senders.all_senders(tx)]
        if json:
            for line in found:
                print_json(line)
        else:
            table(
                ["phone", "name", "rate", "quota", "paused_at", "pause_why"],
                [
                    (
                        *(f["phone"], f["name"], f"{f['rate']:g}/s"),
                        "none" if f["quota"] is None else f"{f['quota']:,}",
                        *(f["paused_at"], f["pause_why"]),
                    )
                    for f in found
                ],
                optional=("quota",),
                times=Times(of.timezone or "UTC"),
            )
        return DONE

    raise SystemExit(guarded(work))


Rate = Annotated[str | None, typer.Option(help="Messages per second, e.g. 80/s.")]
Quota = Annotated[str | None, typer.Option(help="Unique recipients per rolling 24 h, e.g. 2000, or none.")]
Name = Annotated[str | None, typer.Option(help="What people call it.")]


@senders_group.command("add")
def senders_add(
    phone: Phone, rate: Rate = None, quota: Quota = None, name: Name = None, json: Json = False
) -> None:
    """Put a sender on record."""
    _set(phone, rate, quota, name, json, new=True)


@senders_group.command("set")
def senders_set(
    phone: Phone, rate: Rate = None, quota: Quota = None, name: Name = None, json: Json = False
) -> None:
    """Change a sender's limits; workers follow within seconds."""
    _set(phone, rate, quota, name, json, new=False)


def _set(
    phone: str, rate: str | None, quota: str | None, name: str | None, as_json: bool, *, new: bool
) -> None:
    def work() -> int:

        from bulksend.ledger import senders
        from bulksend.messaging.units import counted, parse_rate
        from bulksend.operations.json_shape import to_json
        from ops.cli.context import actor, ledger, settings
        from ops.cli.output import print_json, say

        of = settings()
        digits = _subject(phone, of.default_region)
        with ledger(of).write() as tx:
            if new:
                senders.register(tx, digits, rate=of.default_rate)
            sender = senders.change(
                tx,
                digits,
                actor=actor(),
                name=name,
                rate=None if rate is None else parse_rate(rate, field="--rate"),
                quota=_quota(quota),
                no_quota=quota == "none",
            )
        if as_json:
            print_json(to_json(sender))
        else:
            limit = "no quota" if sender.quota is None else f"{counted(sender.quota, 'recipient')} in 24 h"
            say(f"{sender.phone}: {sender.rate:g}/s, {limit}")
        return DONE

    raise SystemExit(guarded(work))


def _quota(text: str | None) -> int | None:
    from bulksend.errors import InvalidValue

    if text is None or text == "none":
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise InvalidValue("--quota", text[:40], "is a whole number of recipients per 24 h, or none")
    return int(text)


@senders_group.command("pause")
def senders_pause(phone: Phone, why: Annotated[str, typer.Option(help="Why.")], json: Json = False) -> None:
    """Hold back everything this sender would send."""
    _switch("sender", phone, "pause", why, json)


@senders_group.command("resume")
def senders_resume(phone: Phone, why: Annotated[str, typer.Option(help="Why.")], json: Json = False) -> None:
    """Let it send again."""
    _switch("sender", phone, "resume", why, json)


@account_group.command("pause")
def account_pause(why: Annotated[str, typer.Option(help="Why.")], json: Json = False) -> None:
    """Hold back everything, of every sender and campaign."""
    _switch("account", None, "pause", why, json)


@account_group.command("resume")
def account_resume(
    why: Annotated[str, typer.Option(help="Why, e.g. topped up.")], json: Json = False
) -> None:
    """Let the account send again, e.g. once it has money; no attempt was burnt meanwhile."""
    _switch("account", None, "resume", why, json)


def _switch(what: str, phone: str | None, act: str, why: str, as_json: bool) -> None:
    def work() -> int:
        from bulksend.bootstrap import working_limiter
        from bulksend.ledger import pauses, senders
        from bulksend.messaging.outcome import Scope
        from ops.cli.context import actor, ledger, settings
        from ops.cli.output import print_json, say

        of = settings()
        id = of.account() if phone is None else _subject(phone, of.default_region)
        database = ledger(of)
        with database.write() as tx:
            if what == "sender":
                senders.get(tx, id)
            doing = {
                ("sender", "pause"): pauses.pause_sender,
                ("sender", "resume"): pauses.resume_sender,
                ("account", "pause"): pauses.pause_account,
                ("account", "resume"): pauses.resume_account,
            }[(what, act)]
            changed = doing(tx, id, actor=actor(), why=why)
        # The flag in Redis only makes it act sooner; the ledger's word is what counts.
        permits = working_limiter(of, database, lambda why: say(why, "yellow"))
        if permits is not None:
            (permits.pause if act == "pause" else permits.resume)(Scope(what), id)
        state = "paused" if act == "pause" else "running"
        if as_json:
            print_json({what: id, "status": state, "changed": changed})
        else:
            say(f"{what} {id} is {state} now" if changed else f"{what} {id} was {state} before")
        return DONE

    raise SystemExit(guarded(work))
