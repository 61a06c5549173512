"""``bulksend campaigns``: list, show, watch, set, pause, resume, cancel, retry, breakdown, report
and clone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.arguments import Json, Reason, Yes
from ops.cli.context import DONE, FAILED, INTERRUPTED, actor, command, ledger, limiter_opener, settings

if TYPE_CHECKING:
    from bulksend.operations.campaign_settings import RetryPreview
    from bulksend.operations.campaigns import ActResult

group = typer.Typer(help="See and control campaigns.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(help="The campaign's id, or its name if it is unique.", metavar="ID")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="campaigns")


@group.command("list")
@command
def list_(limit: Annotated[int, typer.Option(min=1, max=1000)] = 20, json: Json = False) -> int:
    """The newest campaigns."""
    from bulksend.operations import campaigns
    from ops.cli.output import Times, print_json_lines, table

    of = settings()
    with ledger(of).read() as tx:
        found = campaigns.newest(tx, limit)
    if json:
        print_json_lines(found)
        return DONE
    table(
        ["id", "name", "kind", "status", "total", "sent", "created_at"],
        [
            (
                *(f["campaign_id"], f["name"], f["kind"], f["status"], f"{f['total']:,}"),
                *(f"{campaigns.sent(f['statuses']):,}", f["created_at"]),
            )
            for f in found
        ],
        optional=("created_at", "kind"),
        times=Times(of.timezone or "UTC"),
    )
    return DONE


@group.command("show")
@command
def show(id: Id, json: Json = False) -> int:
    """One campaign: messages by status, rate, failures, refused rows, acts."""
    from bulksend.operations import campaigns
    from ops.cli.output import print_json

    of = settings()
    shown = campaigns.show(of, ledger(of), id)
    if json:
        print_json(shown)
    else:
        _show(shown, of.timezone)
    return DONE


def _show(shown: dict[str, Any], zone: str | None) -> None:
    from bulksend.messaging import RefusedRow
    from ops.cli.output import Times, acts_table, pairs, refused_rows, say, table

    for text in shown.pop("stopped_by"):
        say(text, "yellow")
    upload = shown.pop("upload")
    if upload is not None and upload["error"] is not None:
        say(f"the posted file {upload['file']} was refused: {upload['error']['detail']}", "yellow")
    statuses = shown.pop("statuses")
    reasons, refused, acts = (shown.pop(name) for name in ("reasons", "refused", "acts"))
    looked_at = shown.pop("reasons_of")
    times = Times(shown.pop("timezone") or zone or "UTC")
    pairs(_readable_numbers(shown), title=shown["name"], times=times)
    table(["status", "messages"], [(status, f"{count:,}") for status, count in statuses.items()])
    if reasons:
        table(
            ["status", "why", "messages"],
            [(r["status"], r["error"], r["count"]) for r in reasons],
            title=_sample(statuses, looked_at),
        )
    refused_rows([RefusedRow(**row) for row in refused], shown["refused_count"])
    if shown["refused_count"]:
        say(f"All refused rows: `bulksend export {shown['campaign_id']} --refused -o refused.csv`")
    acts_table(acts, times)


@group.command("breakdown")
@command
def breakdown(id: Id, json: Json = False) -> int:
    """Count its messages by step, country, hour and reason. Reads each of them, which takes seconds for millions."""
    from bulksend.operations.breakdown import break_down
    from ops.cli.output import Times, pairs, print_json, table

    of = settings()
    with ledger(of).read() as tx:
        found = break_down(tx, id)
    if json:
        print_json(found)
        return DONE
    times = Times(of.timezone or "UTC")
    steps = ("messages", "accepted", "delivered", "read", "failed", "unknown")
    pairs({name: f"{n:,}" for name, n in found["funnel"].items()}, title=found["name"], times=times)
    table(
        ["country", *steps],
        [(each["country"] or "-", *(f"{each[name]:,}" for name in steps)) for each in found["countries"]],
        optional=("unknown", "failed"),
    )
    hourly = ("accepted", "delivered", "read", "failed")
    table(
        ["hour", *hourly],
        [(each["hour"], *(f"{each[name]:,}" for name in hourly)) for each in found["hours"]],
        times=times,
    )
    if found["failures"]:
        why = ("status", "count", "code", "sentence", "remedy")
        rows = [tuple(each[name] for name in why) for each in found["failures"]]
        title = _sample(found["statuses"], found["failures_of"])
        table(["status", "messages", "code", "why", "what follows"], rows, title=title)
    return DONE


@group.command("report")
@command
def report(
    id: Id,
    output: Annotated[Path, typer.Option("-o", "--output", help="FILE.html; - is stdout.")],
) -> int:
    """Write a report as one HTML file with charts, for people and for paper. It has no number of a recipient."""
    from bulksend.operations.report import report as write_report
    from ops.cli.output import say
    from ops.export_files import check_ending, write_text

    check_ending(output, (".html", ".htm"), field="--output")
    of = settings()
    write_text(output, write_report(ledger(of), id, timezone=of.timezone), field="--output")
    say(f"Wrote the report to {output}")
    return DONE


@group.command("clone")
@command
def clone(
    id: Id,
    file: Annotated[
        Path | None, typer.Argument(help="The rows of the new campaign: CSV, XLSX or JSONL.")
    ] = None,
    rest: Annotated[
        bool,
        typer.Option("--rest", help="Instead of a file: the people whom a cancelled campaign did not reach."),
    ] = False,
    name: Annotated[str | None, typer.Option(help="The new campaign's name.")] = None,
    at: Annotated[str | None, typer.Option(help="When to send, ISO 8601; default: now.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Start a new campaign even where people have the same message.")
    ] = False,
    into: Annotated[
        str | None,
        typer.Option("--continue", help="Add the rows that this campaign does not have.", metavar="NAME"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every row and forecast; change nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it until every message has ended.")] = False,
    json: Json = False,
) -> int:
    """Send a file with the content and the options of a campaign: sender, kind, rate, time to live, zone."""
    from bulksend.errors import InvalidInput
    from bulksend.messaging.argument_naming import as_cli_option
    from ops.cli.output import say_notes
    from ops.cli.send import send_plan, show_forecast
    from producer.clones import plan_clone, plan_rest

    if (file is None) != rest:
        raise InvalidInput("FILE: give the file of the new campaign, or --rest without a file")
    of = settings()
    database = ledger(of)
    if file is None:
        if again or dry_run or into is not None:
            raise InvalidInput(
                f"--rest: is sent once; `bulksend campaigns show {id}` has its numbers. Give it alone"
            )
        plan = plan_rest(database, id, of=of, created_by=actor(), name=name, at=at, naming=as_cli_option)
        say_notes(plan.notes)
        return send_plan(of, plan, json, wait=wait)
    copy = plan_clone(
        database,
        id,
        file,
        of=of,
        created_by=actor(),
        name=name,
        at=at,
        again=again,
        into=into,
        naming=as_cli_option,
    )
    say_notes(copy.notes)
    return show_forecast(of, copy, json) if dry_run else send_plan(of, copy, json, wait=wait)


@group.command("watch")
@command
def watch(id: Id, json: Json = False) -> int:
    """Show its progress until every message has ended. Ctrl-C ends only this command, not the sending."""
    import sys

    from bulksend.operations import campaigns
    from bulksend.operations.progress import Watch
    from ops.cli.output import print_json, say
    from ops.cli.watching import follow

    database = ledger(settings())
    with database.read() as tx:
        campaign = campaigns.find(tx, id)
    watched = Watch(database, [campaign.id])
    try:
        follow(watched, None if json else sys.stdout)
    except KeyboardInterrupt:
        say(f"sending goes on; watch it again with `bulksend campaigns watch {campaign.id}`")
        return INTERRUPTED
    if json:
        with database.read() as tx:
            print_json(campaigns.details(tx, campaign.id))
    statuses = watched.statuses(campaign.id)
    return FAILED if statuses.get("failed") or statuses.get("unknown") else DONE


@group.command("set", no_args_is_help=True)
@command
def set_(
    id: Id,
    rate: Annotated[
        str | None,
        typer.Option(help="Maximum rate, e.g. 40/s; none: the sender's. Takes hold within a second."),
    ] = None,
    at: Annotated[str | None, typer.Option(help="When to send, ISO 8601; only before it begins.")] = None,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    why: Reason = None,
    json: Json = False,
) -> int:
    """Change a campaign while it runs; nothing is restarted."""
    from bulksend.messaging.argument_naming import as_cli_option
    from bulksend.operations.campaign_settings import change
    from ops.cli.output import print_json, say

    of = settings()
    done = change(
        ledger(of),
        id,
        actor=actor(),
        name=name,
        rate=rate,
        send_at=at,
        why=why,
        timezone=of.timezone,
        naming=as_cli_option,
    )
    if json:
        print_json(done)
        return DONE
    limit = done["rate_limit"]
    shown = f"{done['name']}: due {done['due_at']}, {f'at most {limit:g}/s' if limit else 'at the rate of its sender'}"
    say(shown if done["changed"] else f"Nothing changed. {shown}")
    return DONE


@group.command("pause")
@command
def pause(id: Id, why: Reason = None, json: Json = False) -> int:
    """Hold every message that has not been sent; takes effect at once."""
    return _act(id, "pause", why, json)


@group.command("resume")
@command
def resume(
    id: Id,
    why: Reason = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also while its template cannot be sent, by what is known of it.")
    ] = False,
    json: Json = False,
) -> int:
    """Continue where it was paused; no recipient is skipped or repeated."""
    from bulksend.operations.templates import ask_about_campaign

    if not force:
        of = settings()
        ask_about_campaign(of, ledger(of), id, actor=actor())
    return _act(id, "resume", why, json, force=force)


@group.command("cancel")
@command
def cancel(id: Id, why: Reason = None, json: Json = False) -> int:
    """Cancel every message that is not being sent right now. Cannot be undone."""
    return _act(id, "cancel", why, json)


@group.command("retry")
@command
def retry(
    id: Id,
    why: Reason = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only; change nothing.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Queue failed messages again, never accepted or unknown ones. At a terminal it counts and asks first."""
    from ops.cli.output import print_json, say
    from ops.cli.questions import agreed, can_ask

    if dry_run or (can_ask() and not yes):
        from bulksend.operations.campaign_settings import preview_retry

        with ledger(settings()).read() as tx:
            preview = preview_retry(tx, id)
        if dry_run and json:
            print_json(preview.as_json())
            return DONE
        say(_what_a_retry_does(preview))
        if dry_run:
            return DONE
        if preview.send and not agreed("Send them again?"):
            say("Nothing was changed")
            return DONE
    return _act(id, "retry", why, json)


def _what_a_retry_does(preview: RetryPreview) -> str:
    from bulksend.messaging.units import counted

    return (
        f"{preview.campaign.name}: {counted(preview.send, 'failed message')} would be sent again; left out: "
        f"{preview.skip:,} accepted, {preview.leave:,} in doubt, {preview.not_possible:,} failed for good"
    )


def _act(id: str, what: str, why: str | None, json: bool, *, force: bool = False) -> int:
    from bulksend.operations.campaigns import Act, act
    from ops.cli.output import print_json, say

    of = settings()
    database = ledger(of)
    done = act(database, limiter_opener(of, database), id, Act(what), actor=actor(), why=why, force=force)
    if json:
        print_json(done.as_json())
    else:
        say(_sentence(done))
    return DONE


def _sentence(done: ActResult) -> str:
    """What an act changed."""
    from bulksend.messaging.units import counted
    from bulksend.operations.campaigns import Act

    name = done.campaign.name
    if done.retried is not None:
        rest = "; the relay queues the others" if done.retried.goes_on else ""
        return f"{name}: {counted(done.retried.queued, 'failed message')} queued again{rest}"
    if done.cancelled is not None:
        return _cancelled(done)
    if not done.changed:
        return f"Nothing changed: {name} is {done.campaign.status}"
    left = counted(done.left, "message")
    return f"Paused {name}: {left} held" if done.act is Act.PAUSE else f"Resumed {name}: {left} to send"


def _cancelled(done: ActResult) -> str:
    from bulksend.messaging.units import counted

    assert done.cancelled is not None
    text = f"Cancelled {done.campaign.name}: {counted(int(done.changed or 0), 'message')} will not be sent"
    if done.cancelled.held:
        text += f", {done.cancelled.held:,} of them held by a worker"
    if done.cancelled.sending:
        text += f"; {counted(done.cancelled.sending, 'message')} being sent now will still get an answer"
    return text


def _readable_numbers(shown: dict[str, Any]) -> dict[str, Any]:
    """The same for people: thousands separated, a rate and a duration with their units."""
    from bulksend.messaging.units import format_duration

    counts = ("total", "attempts", "rows", "duplicates", "suppressed", "refused_count")
    eta, limit = shown["eta_seconds"], shown["rate_limit"]
    return {
        **{name: f"{value:,}" if name in counts and value else value for name, value in shown.items()},
        "rate": f"{shown['rate']:.3g}/s" if shown["rate"] else None,
        "rate_limit": f"{limit:g}/s" if limit else None,
        "eta_seconds": None,
        "time_left": format_duration(eta * 1000) if eta else None,
    }


def _sample(statuses: dict[str, int], looked_at: dict[str, int]) -> str | None:
    """The messages that the reasons were taken from, unless these are all."""
    parts = [f"{n:,} newest of {statuses[s]:,} {s}" for s, n in looked_at.items() if n < statuses[s]]
    return f"Why: {', '.join(parts)}" if parts else None
