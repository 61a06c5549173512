"""``bulksend plan``, ``apply``, ``plans`` and ``rehearse``: see what a campaign would do before it does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from ops.cli.arguments import Json, Yes, option_names
from ops.cli.confirmation import ask_for_number, show_samples
from ops.cli.context import DONE, actor, command, ledger, settings
from ops.cli.send import about_links, about_template, say_simulated, take_in, upload
from ops.cli.send_arguments import AskedCampaign, takes_campaign

group = typer.Typer(help="See the plans of campaigns.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("plan")(plan)
    app.command("apply")(apply_)
    app.add_typer(group, name="plans")
    app.command("rehearse")(rehearse)


@command
@takes_campaign
def plan(asked: AskedCampaign, *, json: Json = False) -> int:
    """Freeze what a send of a file would do; `apply` sends it. Takes the options of `send`."""
    from ops.cli.output import print_json, say_notes
    from producer.campaign_plans import CampaignPlans

    of = settings()
    database = ledger(of)
    placed = asked.place(of, database)
    checked = asked.plan(of, actor(), placed)
    say_notes(checked.notes)
    say_simulated(of, asked.type)
    say_notes(about_template(of, database, checked) + about_links(of, database, checked))
    upload(of, checked, placed)
    plans = CampaignPlans.from_settings(of, database)
    made = plans.show(plans.make_here(checked).id)
    say_notes(made["notes"][len(checked.notes) :])
    if json:
        print_json(made)
    else:
        _show(made, checked.timezone or "UTC")
    return DONE


@command
def apply_(
    id: Annotated[str, typer.Argument(help="The plan's id.", metavar="PLAN")],
    yes: Yes = False,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it until every message has ended.")] = False,
    json: Json = False,
) -> int:
    """Send what a plan says; refused with the differences if anything of it changed."""
    from bulksend.messaging.argument_naming import as_cli_option
    from ops.cli.output import say_notes
    from producer.campaign_plans import CampaignPlans

    of = settings()
    database = ledger(of)
    plans = CampaignPlans.from_settings(of, database)

    opened = plans.open(
        id,
        actor=actor(),
        naming=as_cli_option,
        ask=lambda run: say_notes(about_template(of, database, run)),
    )
    if opened.is_new and not yes:
        ask_for_number(opened.to_send)
    return take_in(of, database, lambda intake: plans.apply(opened, intake), json, wait=wait)


@command
@takes_campaign
def rehearse(
    asked: AskedCampaign,
    *,
    speed: Annotated[
        float, typer.Option(help="How many times faster than the real campaign.", metavar="N")
    ] = 10,
    json: Json = False,
) -> int:
    """The whole campaign against a simulated vendor, in a ledger of its own. Nothing is real. Options as `send`."""
    from bulksend.errors import InvalidValue
    from ops.cli.output import say_notes
    from ops.rehearsal import FASTEST, run_rehearsal

    if not 1 <= speed <= FASTEST:
        raise InvalidValue("--speed", f"{speed:g}", f"must be 1 to {FASTEST}")
    of = settings()
    placed = asked.place(of, None)
    checked = asked.plan(of, actor(), placed)
    say_notes(checked.notes)
    return run_rehearsal(checked, of, placed, speed=speed, as_json=json)


@group.command("list")
@command
def list_(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many.")] = 20,
    after: Annotated[str | None, typer.Option(help="The next page: only older than this id.")] = None,
    json: Json = False,
) -> int:
    """The newest plans."""
    from ops.cli.output import Times, print_page, say_next, table
    from producer.campaign_plans import CampaignPlans

    of = settings()
    with option_names():
        page = CampaignPlans.from_settings(of, ledger(of)).page(limit=limit, after=after)
    if json:
        print_page(page)
        return DONE
    table(
        ["id", "name", "kind", "status", "to_send", "created_by", "expires_at"],
        [
            (
                *(each["plan_id"], each["name"], each["kind"], each["status"], f"{each['to_send']:,}"),
                *(each["created_by"], each["expires_at"]),
            )
            for each in page.items
        ],
        optional=("created_by", "kind"),
        times=Times(of.timezone or "UTC"),
    )
    say_next(page)
    return DONE


@group.command("show")
@command
def show(
    id: Annotated[str, typer.Argument(help="The plan's id.", metavar="PLAN")], json: Json = False
) -> int:
    """One plan, as `plan` showed it when it was made, and what became of it."""
    from ops.cli.output import print_json
    from producer.campaign_plans import CampaignPlans

    of = settings()
    shown = CampaignPlans.from_settings(of, ledger(of)).show(id)
    if json:
        print_json(shown)
    else:
        _show(shown, of.timezone or "UTC")
    return DONE


def _show(made: Mapping[str, Any], zone: str) -> None:
    from bulksend.messaging.plan import RefusedRow
    from bulksend.messaging.units import counted
    from ops.cli.output import Times, pairs, refused_rows, say
    from producer.forecast import cost_text, countries_text
    from producer.intake_report import with_rules

    left_out = ("duplicates", "superseded", "already", "refused_count")
    cost, template = made["cost"], made["template"]
    pairs(
        {
            "plan": made["plan_id"],
            "status": made["status"],
            **{name: made[name] for name in ("ended_why", "campaign_id", "applied_at", "applied_by")},
            "hash": made["hash"][:12],
            "rows": f"{made['rows']:,}",
            "sends": f"{made['to_send']:,}",
            **{name.removesuffix("_count"): f"{made[name]:,}" for name in left_out if made[name]},
            "suppressed": with_rules(made["suppressed"], made["suppressed_by"])
            if made["suppressed"]
            else None,
            "countries": countries_text(made["countries"]),
            "template": None if template is None else f"{template['name']} ({template['language']})",
            "begins_at": made["begins_at"],
            "done_by": made["done_by"],
            "at most": f"{made['limits']['rate']:g}/s",
            "quiet_hours": "; ".join(f"{at} {each}" for at, each in made["quiet_hours"].items()) or None,
            "beside": counted(sum(each["left"] for each in made["beside"]), "message")
            if made["beside"]
            else None,
            "cost": None if cost is None else cost_text(cost),
            "expires_at": made["expires_at"],
        },
        title=f"Plan of {made['name']}" + ("" if made["campaign_id"] else ": nothing was sent"),
        times=Times(zone),
    )
    show_samples(made["samples"], zone)
    refused = [RefusedRow(**row) for row in made["refused"]]
    refused_rows(refused, made["refused_count"])
    if made["status"] == "open":
        say(f"send it: bulksend apply {made['plan_id']}")
