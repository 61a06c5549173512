"""``bulksend campaigns``: list, show, watch, set, pause, resume, unschedule, cancel and retry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli import campaign_reports, clones
from ops.cli.arguments import CampaignId, Json, Reason, Yes, option_names
from ops.cli.campaign_reports import sample_title
from ops.cli.context import DONE, FAILED, INTERRUPTED, actor, command, ledger, limiter_opener, settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bulksend.operations.campaign_settings import RetryPreview
    from bulksend.operations.campaigns import ActResult, Summary

group = typer.Typer(help="See and control campaigns.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group."""
    campaign_reports.register(group)
    clones.register(group)
    app.add_typer(group, name="campaigns")


@group.command("list")
@command
def list_(
    status: Annotated[
        str | None, typer.Option(help="Only these: running, paused, cancelled, finished, …")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Only of this kind: otp, utility or marketing.")] = None,
    sender: Annotated[str | None, typer.Option(help="Only of this sender.", metavar="PHONE")] = None,
    name: Annotated[str | None, typer.Option(help="Only of this name.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many.")] = 20,
    after: Annotated[str | None, typer.Option(help="The next page: only older than this id.")] = None,
    json: Json = False,
) -> int:
    """The newest campaigns."""
    from bulksend.operations import campaigns
    from ops.cli.output import Times, print_page, say_next, table

    of = settings()
    wanted = campaigns.Filter(status=status, kind=kind, sender=sender, name=name)
    with option_names(), ledger(of).read() as tx:
        page = campaigns.find_page(tx, wanted, limit=limit, after=after)
    if json:
        print_page(page)
        return DONE
    table(
        ["id", "name", "kind", "status", "total", "sent", "created_at"],
        [
            (
                *(f["campaign_id"], f["name"], f["kind"], _status_of(f), f"{f['total']:,}"),
                *(f"{campaigns.sent(f['statuses']):,}", f["created_at"]),
            )
            for f in page.items
        ],
        optional=("created_at", "kind"),
        times=Times(of.timezone or "UTC"),
    )
    say_next(page)
    return DONE


@group.command("show")
@command
def show(id: CampaignId, json: Json = False) -> int:
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


def _status_of(shown: Mapping[str, Any]) -> str:
    """Its status; as in the console "scheduled" where it is running and its time has not come."""
    from datetime import UTC, datetime

    due, status = shown["due_at"], str(shown["status"])
    is_coming = due is not None and datetime.fromisoformat(due) > datetime.now(UTC)
    return "scheduled" if status == "running" and is_coming else status


def _show(shown: dict[str, Any], zone: str | None) -> None:
    from bulksend.messaging import RefusedRow
    from ops.cli.output import Times, acts_table, paces_table, pairs, refused_rows, say, schedule_of, table

    for text in shown.pop("stopped_by"):
        say(text, "yellow")
    upload = shown.pop("upload")
    if upload is not None and upload["error"] is not None:
        say(f"the posted file {upload['file']} was refused: {upload['error']['detail']}", "yellow")
    statuses = shown.pop("statuses")
    slowed = shown.pop("slowed")
    reasons, refused, acts = (shown.pop(name) for name in ("reasons", "refused", "acts"))
    looked_at, latency = shown.pop("reasons_of"), shown.pop("latency")
    shown["status"] = _status_of(shown)
    shown["due_at"] = schedule_of(shown, zone) or ("not scheduled" if shown["paused_at"] else None)
    times = Times(shown.pop("timezone") or zone or "UTC")
    pairs(_readable_numbers(shown), title=shown["name"], times=times)
    table(["status", "messages"], [(status, f"{count:,}") for status, count in statuses.items()])
    if latency is not None:
        columns = ["count", "p50_ms", "p95_ms", "p99_ms"]
        table(
            ["from intake until", *columns],
            [(name, *(each[column] for column in columns)) for name, each in latency.items()],
        )
    if reasons:
        table(
            ["status", "why", "messages"],
            [(r["status"], r["error"], r["count"]) for r in reasons],
            title=sample_title(statuses, looked_at),
        )
    refused_rows([RefusedRow(**row) for row in refused], shown["refused_count"])
    if shown["refused_count"]:
        say(f"All refused rows: `bulksend export {shown['campaign_id']} --refused -o refused.csv`")
    paces_table(slowed, times)
    acts_table(acts, times)


@group.command("watch")
@command
def watch(id: CampaignId, json: Json = False) -> int:
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
    id: CampaignId,
    rate: Annotated[
        str | None,
        typer.Option(help="Maximum rate, e.g. 40/s; none: the sender's. Takes hold within a second."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            help="When to send, ISO 8601; only before it begins. Without an offset in the campaign's zone."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    max_failed: Annotated[
        str | None,
        typer.Option(
            help="Pause when more than this share of its last messages fails, e.g. 5%; none: never."
        ),
    ] = None,
    weight: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Its weight when the sender's campaigns share the rate."),
    ] = None,
    why: Reason = None,
    json: Json = False,
) -> int:
    """Change a campaign while it runs; nothing is restarted."""
    from bulksend.messaging.argument_naming import as_cli_option
    from bulksend.operations.campaign_settings import change
    from ops.cli.output import print_json, say, schedule_of

    of = settings()
    done = change(
        ledger(of),
        id,
        actor=actor(),
        name=name,
        rate=rate,
        send_at=at,
        max_failed=max_failed,
        weight=weight,
        why=why,
        timezone=of.timezone,
        naming=as_cli_option,
    )
    if json:
        print_json(done)
        return DONE
    shown = f"{done['name']}: {_settings_now(done, schedule_of(done, of.timezone))}"
    say(shown if done["changed"] else f"Nothing changed. {shown}")
    return DONE


def _settings_now(done: Mapping[str, Any], due: str | None) -> str:
    """What of a campaign can be changed, as it is now."""
    limit, failed = done["rate_limit"], done["max_failed"]
    said = [
        "not scheduled" if due is None else f"due {due}",
        f"at most {limit:g}/s" if limit else "at the rate of its sender",
        f"weight {done['weight']}",
    ]
    if failed is not None:
        said.append(
            "never pauses for failures" if failed == "none" else f"pauses when more than {failed} fail"
        )
    return ", ".join(said)


@group.command("pause")
@command
def pause(id: CampaignId, why: Reason = None, json: Json = False) -> int:
    """Hold every message that has not been sent; takes effect at once."""
    return _act(id, "pause", why, json)


@group.command("resume")
@command
def resume(
    id: CampaignId,
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


@group.command("unschedule")
@command
def unschedule(id: CampaignId, why: Reason = None, json: Json = False) -> int:
    """Take it off its schedule, before it begins; `campaigns set ID --at TIME` schedules it again."""
    return _act(id, "unschedule", why, json)


@group.command("cancel")
@command
def cancel(id: CampaignId, why: Reason = None, yes: Yes = False, json: Json = False) -> int:
    """Cancel every message that is not being sent right now. Cannot be undone, so at a terminal it asks first."""
    from ops.cli.confirmation import agreed, can_ask
    from ops.cli.output import say

    if can_ask() and not yes:
        from bulksend.operations import campaigns

        with ledger(settings()).read() as tx:
            (found,) = campaigns.summaries(tx, [campaigns.find(tx, id)])
        if found["status"] not in ("cancelled", "finished"):
            say(_what_a_cancel_does(found))
            if not agreed("Cancel them?"):
                say("Nothing was changed")
                return DONE
    return _act(id, "cancel", why, json)


def _what_a_cancel_does(found: Summary) -> str:
    from bulksend.messaging.states import WAITING, Status
    from bulksend.messaging.units import counted

    left = sum(found["statuses"].get(status, 0) for status in WAITING | {Status.CLAIMED})
    more = ", and the rows of its file that are not read yet," if found["status"] == "intake" else ""
    return f"{found['name']}: {counted(left, 'message')}{more} would not be sent, and this cannot be undone"


@group.command("retry")
@command
def retry(
    id: CampaignId,
    why: Reason = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only; change nothing.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Queue failed messages again, never accepted or unknown ones. At a terminal it counts and asks first."""
    from ops.cli.confirmation import agreed, can_ask
    from ops.cli.output import print_json, say

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

    most, least = ("", "") if preview.exact else ("at most ", "at least ")
    return (
        f"{preview.campaign.name}: {most}{counted(preview.send, 'failed message')} would be sent again; left out: "
        f"{least}{preview.suppressed:,} suppressed, {preview.skip:,} accepted, {preview.leave:,} in doubt, "
        f"{preview.not_possible:,} failed for good"
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
    if done.act is Act.UNSCHEDULE:
        return f"{name} is not scheduled any more: {left} held; `bulksend campaigns set {done.campaign.id} --at TIME`"
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
        "exclusions": _leaves_out(shown["exclusions"]),
        "pace": f"{shown['pace']:.0%}" if shown["pace"] is not None and shown["pace"] < 1 else None,
        "eta_seconds": None,
        "retrying": shown["retrying"] or None,
        "time_left": format_duration(eta * 1000) if eta else None,
    }


def _leaves_out(exclusions: dict[str, Any]) -> str:
    """The exclusions as the options that ask for them; empty where the campaign leaves none out."""
    options = [f"--cap {exclusions['cap']}"] if exclusions["cap"] else []
    options += [f"--{name} {of}" for name in ("exclude", "only") for of in exclusions[name]]
    return " ".join([*options, *(["--require-consent"] if exclusions["require_consent"] else [])])
