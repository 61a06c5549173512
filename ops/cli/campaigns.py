"""``bulksend campaigns``: see how they go, hold them, let them go on, end them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.context import DONE, FAILED, guarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from bulksend.ledger.campaign_control import Cancelled
    from bulksend.ledger.campaigns import Campaign
    from bulksend.ledger.counters import Counts
    from bulksend.ledger.database import Database

group = typer.Typer(
    help="List, show, watch, pause, resume, cancel and retry campaigns.", no_args_is_help=True
)
Id = Annotated[
    str, typer.Argument(help="The campaign's id, or its name where only one has it.", metavar="ID")
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
Why = Annotated[str | None, typer.Option(help="Why; it goes on record.")]

#: Over how long the rate shown is measured.
RATE_WINDOW_MS = 10_000


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="campaigns")


@group.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    json: Json = False,
) -> None:
    """The newest campaigns."""

    def work() -> int:
        from ops.cli.context import ledger, settings
        from ops.cli.output import Times, print_json, table

        of = settings()
        with ledger(of).read() as tx:
            found = listed(tx, limit)
        if json:
            for line in found:
                print_json(line)
        else:
            table(
                ["id", "name", "kind", "status", "total", "sent", "created_at"],
                [
                    (
                        *(f[name] for name in ("campaign_id", "name", "kind", "status")),
                        *(f"{f['total']:,}", sent(f), f["created_at"]),
                    )
                    for f in found
                ],
                optional=("created_at", "kind"),
                times=Times(of.timezone or "UTC"),
            )
        return DONE

    raise SystemExit(guarded(work))


@group.command("show")
def show(id: Id, json: Json = False) -> None:
    """One campaign: where its messages stand, how fast it goes, what was refused and why."""

    def work() -> int:
        from bulksend.ledger import campaigns
        from bulksend.messaging.plan import RefusedRow
        from bulksend.operations.blockers import find_blockers
        from ops.cli.context import ledger, settings
        from ops.cli.output import Times, pairs, print_json, refused_rows, say, table

        of = settings()
        database = ledger(of)
        with database.read() as tx:
            shown = whole(tx, id)
            campaign = campaigns.get(tx, shown["campaign_id"])
        blockers = find_blockers(of, database, campaign) if campaign.ended_at is None else []
        shown["stopped_by"] = [str(blocker) for blocker in blockers]
        if json:
            print_json(shown)
            return DONE
        for text in shown.pop("stopped_by"):
            say(text, "yellow")
        statuses = shown.pop("statuses")
        lists = {name: shown.pop(name) for name in ("reasons", "refused", "acts")}
        looked_at = shown.pop("reasons_of")
        times = Times(shown.pop("timezone") or of.timezone or "UTC")
        pairs(_readable_numbers(shown), title=shown["name"], times=times)
        table(["status", "messages"], [(status, f"{count:,}") for status, count in statuses.items()])
        if lists["reasons"]:
            table(
                ["status", "why", "messages"],
                [(r["status"], r["error"], r["count"]) for r in lists["reasons"]],
                title=_of_which(statuses, looked_at),
            )
        refused_rows([RefusedRow(**row) for row in lists["refused"]], shown["refused_rows"])
        if shown["refused_rows"]:
            say(f"each refused row: `bulksend export {shown['campaign_id']} --refused -o refused.csv`")
        if lists["acts"]:
            columns = ["at", "actor", "act", "why"]
            table(columns, [[a[c] for c in columns] for a in lists["acts"]], title="Acts", times=times)
        return DONE

    raise SystemExit(guarded(work))


@group.command("watch")
def watch(id: Id, json: Json = False) -> None:
    """Watch it until every message has ended. Ctrl-C leaves; sending goes on."""

    def work() -> int:
        import sys

        from bulksend.ledger import campaigns
        from ops.cli.context import INTERRUPTED, ledger, settings
        from ops.cli.output import print_json, say
        from ops.watching import Watch, follow

        database = ledger(settings())
        with database.read() as tx:
            campaign = campaigns.find(tx, id)
        looked = Watch(database, [campaign.id])
        try:
            follow(looked, None if json else sys.stdout)
        except KeyboardInterrupt:
            say(f"sending goes on; watch it again with `bulksend campaigns watch {campaign.id}`")
            return INTERRUPTED
        if json:
            with database.read() as tx:
                print_json(whole(tx, campaign.id))
        statuses = looked.statuses(campaign.id)
        return FAILED if statuses.get("failed") or statuses.get("unknown") else DONE

    raise SystemExit(guarded(work))


@group.command("pause")
def pause(id: Id, why: Why = None, json: Json = False) -> None:
    """Hold back everything of it that has not been POSTed; takes hold at once."""
    _act(id, "pause", why or "paused by hand", json)


@group.command("resume")
def resume(id: Id, why: Why = None, json: Json = False) -> None:
    """Let it go on from where it stands; nobody is skipped or repeated."""
    _act(id, "resume", why or "resumed by hand", json)


@group.command("cancel")
def cancel(id: Id, why: Why = None, json: Json = False) -> None:
    """End it: what waits and what workers hold is cancelled, what is being sent is finished. Cannot be undone."""
    _act(id, "cancel", why or "cancelled by hand", json)


@group.command("retry")
def retry(id: Id, why: Why = None, json: Json = False) -> None:
    """Queue again what failed; never what was accepted, and never what is unknown."""
    _act(id, "retry", why or "retried by hand", json)


def _act(id: str, act: str, why: str, as_json: bool) -> None:
    def work() -> int:
        from bulksend.bootstrap import working_limiter
        from bulksend.ledger import campaign_control, campaigns, counters
        from ops.cli.context import actor, ledger, settings
        from ops.cli.output import print_json, say

        of = settings()
        database = ledger(of)
        with database.read() as tx:
            campaign = campaigns.find(tx, id)
        campaign_control.check_allowed(campaign, act)
        done = _done(database, act, campaign.id, actor=actor(), why=why)
        _tell_limiter(working_limiter(of, database, lambda why: say(why, "yellow")), act, campaign.id)
        with database.read() as tx:
            campaign = campaigns.get(tx, campaign.id)
            left = _left(counters.of(tx, [campaign.id])[campaign.id])
        if as_json:
            print_json({"campaign_id": campaign.id, "status": campaign.status.value} | _changed(done))
        else:
            say(_told(act, done, campaign, left))
        return DONE

    raise SystemExit(guarded(work))


def _done(database: Database, act: str, id: str, *, actor: str, why: str) -> Cancelled | int | bool | None:
    """Do it, and what it came to."""
    from bulksend.ledger import campaign_control, pauses

    if act == "cancel":
        return campaign_control.cancel(database, id, actor=actor, why=why)
    acts: dict[str, Callable[..., int | bool]] = {
        "pause": pauses.pause_campaign,
        "resume": pauses.resume_campaign,
        "retry": campaign_control.retry_failed,
    }
    with database.write() as tx:
        return acts[act](tx, id, actor=actor, why=why)


def _tell_limiter(permits: Any, act: str, id: str) -> None:
    """The flag in Redis only makes it act sooner; the ledger's word is what counts.

    A cancel sets it as a pause does: workers let go at once of what they hold, and one of them lifts it later.
    """
    from bulksend.messaging.outcome import Scope

    if permits is not None and act in ("pause", "cancel"):
        permits.pause(Scope.CAMPAIGN, id)
    elif permits is not None and act in ("resume", "retry"):
        permits.resume(Scope.CAMPAIGN, id)


def _changed(done: Cancelled | int | bool | None) -> dict[str, Any]:
    """The fields of ``--json`` that say what an act changed."""
    from bulksend.ledger.campaign_control import Cancelled

    if not isinstance(done, Cancelled):
        return {"changed": done}
    return {
        "changed": done.waiting + done.held,
        "waiting": done.waiting,
        "held": done.held,
        "sending": done.sending,
    }


def _told(act: str, done: Cancelled | int | bool | None, campaign: Campaign, left: int) -> str:
    from bulksend.ledger.campaign_control import Cancelled
    from bulksend.messaging.units import counted

    if isinstance(done, Cancelled):
        return _cancelled(done)
    if act == "retry":
        return (
            f"{counted(done, 'failed message')} {'is' if done == 1 else 'are'} queued again"
            if done
            else "nothing of it failed that can be sent again"
        )
    if not done:
        return f"nothing to {act}: it is {campaign.status.value}"
    if act == "pause":
        return f"paused {campaign.name}: {counted(left, 'message')} held"
    return f"resumed {campaign.name}: {counted(left, 'message')} to go"


def _cancelled(done: Cancelled) -> str:
    from bulksend.messaging.units import counted

    stopped = done.waiting + done.held
    text = f"cancelled: {counted(stopped, 'message')} will not be sent"
    if done.held:
        text += f", {done.held:,} of them held by a worker"
    if done.sending:
        text += f"; {counted(done.sending, 'message')} being sent now will still get an answer"
    return text


def listed(tx: Connection, limit: int) -> list[dict[str, Any]]:
    """The interface's ``campaigns list``: the newest first."""
    from bulksend.ledger import campaigns, counters, progress

    found = campaigns.newest(tx, limit)
    counts = counters.of(tx, [campaign.id for campaign in found])
    paces = progress.send_rates(tx, found, RATE_WINDOW_MS)
    return [
        _summary(campaign, counts[campaign.id], paces[campaign.id]) | _times(campaign) for campaign in found
    ]


def whole(tx: Connection, id: str) -> dict[str, Any]:
    """The interface's ``campaigns show``. Raises CampaignNotFound."""
    from bulksend.ledger import campaigns, counters, operator_log, progress
    from bulksend.operations.json_shape import to_json

    campaign = campaigns.find(tx, id)
    counts = counters.of(tx, [campaign.id])[campaign.id]
    rate = progress.send_rates(tx, [campaign], RATE_WINDOW_MS)[campaign.id]
    shown = _summary(campaign, counts, rate) | _more(campaign) | _times(campaign)
    shown["reasons"] = [
        {"status": s, "error": e, "count": n} for s, e, n in progress.failure_reasons(tx, campaign.id)
    ]
    shown["reasons_of"] = {
        status: min(counts.statuses[status], progress.REASONS_SAMPLED)
        for status in progress.WITH_REASON
        if status in counts.statuses
    }
    shown["refused"] = [dict(row) for row in campaigns.refused_rows(tx, campaign.id, 1000)]
    shown["acts"] = [
        to_json({"at": a.at, "actor": a.actor, "act": a.act, "why": a.why})
        for a in operator_log.of(tx, "campaign", campaign.id)
    ]
    return shown


def _readable_numbers(shown: dict[str, Any]) -> dict[str, Any]:
    """The same for people: thousands apart, a rate and a duration with their units."""
    from bulksend.messaging.units import format_duration

    counts = ("total", "attempts", "rows", "duplicates", "suppressed", "refused_rows")
    eta, limit = shown["eta_seconds"], shown["rate_limit"]
    return {
        **{name: f"{value:,}" if name in counts and value else value for name, value in shown.items()},
        "rate": f"{shown['rate']:.3g}/s" if shown["rate"] else None,
        "rate_limit": f"{limit:g}/s" if limit else None,
        "eta_seconds": None,
        "time_left": format_duration(eta * 1000) if eta else None,
    }


def _of_which(statuses: dict[str, int], looked_at: dict[str, int]) -> str | None:
    """What the reasons were taken from, where that is not all."""
    parts = [f"{n:,} newest of {statuses[s]:,} {s}" for s, n in looked_at.items() if n < statuses[s]]
    return f"Why: {', '.join(parts)}" if parts else None


def _summary(campaign: Campaign, counts: Counts, rate: float) -> dict[str, Any]:
    """The first fields of both."""
    left = _left(counts)
    return {
        "campaign_id": campaign.id,
        "name": campaign.name,
        "kind": campaign.kind.value,
        "status": campaign.status.value,
        "sender": campaign.sender,
        "total": campaign.messages,
        "statuses": counts.statuses,
        "attempts": counts.attempts,
        "rate": rate,
        "eta_seconds": _eta(campaign, left, rate),
    }


def _left(counts: Counts) -> int:
    """Messages that have not ended."""
    from bulksend.messaging.states import HELD, WAITING

    return sum(counts.statuses.get(s.value, 0) for s in WAITING | HELD)


def _eta(campaign: Campaign, left: int, rate: float) -> int | None:
    """Seconds until all is sent, at the present rate; None where that is not known, or nothing goes out."""
    from bulksend.ledger.campaigns import ACTIVE
    from bulksend.messaging.states import CampaignStatus

    if campaign.status is CampaignStatus.CANCELLED:
        return None
    if not left:
        return 0
    return round(left / rate) if rate and campaign.status in ACTIVE else None


def _more(campaign: Campaign) -> dict[str, Any]:
    return {
        "type": campaign.type,
        "source": campaign.source_name,
        "rows": campaign.rows_read,
        "duplicates": campaign.duplicates,
        "suppressed": campaign.suppressed,
        "refused_rows": campaign.refused,
        "rate_limit": campaign.rate,
        "on_unknown": campaign.on_unknown.value,
        "pause_why": campaign.pause_why,
        "created_by": campaign.created_by,
        "timezone": campaign.timezone,
    }


def _times(campaign: Campaign) -> dict[str, Any]:
    from bulksend.operations.json_shape import to_json

    return to_json(
        {"created_at": campaign.created_at, "due_at": campaign.due_at, "paused_at": campaign.paused_at}
        | {"ended_at": campaign.ended_at}
    )


def sent(shown: dict[str, Any]) -> str:
    """How many the vendor has, of how many."""
    count = sum(shown["statuses"].get(s, 0) for s in ("accepted", "delivered", "read"))
    return f"{count:,}"
