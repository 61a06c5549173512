"""``bulksend send``: a file becomes a campaign."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.arguments import Yes
from ops.cli.confirmation import ASKED_ABOVE, ask_for_number, can_ask, show_samples
from ops.cli.context import BAD_INPUT, DONE, FAILED, actor, command, leave, ledger, settings, tell
from ops.cli.send_arguments import AskedCampaign, takes_campaign

if TYPE_CHECKING:
    from bulksend.ledger.campaigns import Campaign
    from bulksend.ledger.database import Database
    from bulksend.operations.media import PlacedFile
    from bulksend.settings import Settings
    from producer.clones import RestPlan
    from producer.files import FilePlan
    from producer.intake import Intake
    from producer.intake_report import IntakeReport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("send")(send)


@command
@takes_campaign
def send(
    asked: AskedCampaign,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every row and forecast; change nothing.")
    ] = False,
    preview: Annotated[
        int | None,
        typer.Option(
            help="Show the first rows as they will look; change nothing.", min=1, max=1000, metavar="N"
        ),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(
            help="Send one row to this number, really and outside of the campaign.", metavar="PHONE"
        ),
    ] = None,
    row: Annotated[
        int | None, typer.Option(help="The row of --test; default: the first.", min=1, metavar="N")
    ] = None,
    yes: Yes = False,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it until every message has ended.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Send a file. Running the same command twice sends nothing twice, and says so."""
    from bulksend.bootstrap import existing_database
    from bulksend.errors import InvalidInput
    from ops.cli.output import say_notes

    of = settings()
    if row is not None and test is None:
        raise InvalidInput("--row is the row of --test PHONE; give both")
    changes_nothing = dry_run or preview is not None
    placed = asked.place(of, existing_database(of) if changes_nothing else ledger(of))
    plan = asked.plan(of, actor(), placed)
    say_notes(plan.notes)
    say_simulated(of, asked.type)
    if changes_nothing:
        say_notes(_template_not_known(existing_database(of), plan))
    if preview is not None:
        return _preview(of, plan, preview, json)
    if dry_run:
        return show_forecast(of, plan, json)
    if test is not None:
        upload(of, plan, placed)
        return _test(of, plan, test, row, json)
    return send_plan(of, plan, json, wait=wait, yes=yes, placed=placed)


def say_simulated(of: Settings, type: str) -> None:
    """The simulator accepts every template where its settings list none, and a rehearsal proves nothing about one."""
    from ops.cli.output import say
    from simulator import REHEARSAL_ACCESS_KEY_ID

    if of.uspeedo_accesskey_id == REHEARSAL_ACCESS_KEY_ID and type == "template":
        say(
            "the vendor is simulated: nothing is real, and a template that does not exist passes, unless its "
            "settings list templates",
            "yellow",
        )


def send_plan(
    of: Settings,
    plan: FilePlan | RestPlan,
    as_json: bool,
    *,
    wait: bool,
    yes: bool,
    placed: PlacedFile | None = None,
) -> int:
    """Take a plan in, and say what became of its rows. Asks first where it is much, unless ``yes``.

    ``placed`` is the file of its content, which is uploaded then.
    """
    from ops.cli.output import say_notes

    database = ledger(of)
    say_notes(about_template(of, database, plan) + about_links(of, database, plan))
    if not yes and can_ask():
        _show_and_ask(of, database, plan, as_json)
    upload(of, plan, placed)
    return take_in(of, database, plan.run, as_json, wait=wait, notes_said=len(plan.notes))


def take_in(
    of: Settings,
    database: Database,
    run: Callable[[Intake], IntakeReport],
    as_json: bool,
    *,
    wait: bool,
    notes_said: int = 0,
) -> int:
    """Run an intake, with its progress on the terminal; then show its report, or watch its campaign."""
    from bulksend.errors import InvalidInput
    from bulksend.operations.blockers import find_blockers
    from ops.cli.output import say, say_notes
    from ops.cli.signals import Stopped, stop_on_signals
    from ops.cli.watching import watch_campaign
    from producer.intake import Intake, tune_interpreter

    begun = _Begun(database)
    tune_interpreter()
    progress = _Progress(not as_json)
    statuses: dict[str, int] = {}
    try:
        with stop_on_signals() as between:
            try:
                report = run(
                    Intake.from_settings(of, database, progress=progress, began=begun.begin, between=between)
                )
            finally:
                progress.end()
            begun.taken_in = True
            say_notes(report.notes[notes_said:])
            if wait:
                statuses = watch_campaign(database, report.campaign_id, live=not as_json, between=between)
    except Stopped as stop:
        leave(stop.code, begun.way_back())
    except InvalidInput:
        raise
    except Exception:
        if begun.campaign is not None:
            tell(begun.way_back())
        raise
    if as_json:
        from ops.cli.output import print_json

        print_json(report.as_json() | ({"statuses": statuses} if wait else {}))
    else:
        _show(report, statuses, of.timezone)
    if not wait:
        if not as_json:
            say(f"watch it: bulksend campaigns watch {report.campaign_id}")
        for blocker in find_blockers(of, database, report.campaign):
            say(str(blocker), "yellow")
    if statuses.get("failed") or statuses.get("unknown"):
        return FAILED
    # Every row was refused: a timer that looks only at the exit code has to see it.
    return FAILED if report.refused_count and not report.messages else DONE


def about_template(of: Settings, database: Database, plan: FilePlan | RestPlan) -> list[str]:
    """Ask the vendor about the template of the content; what could not be asked or is not known, as notes."""
    from bulksend.operations.templates import ask_about, unknown_note

    type, content = plan.template.type.value, plan.template.source
    found = ask_about(of, database, plan.sender, type, content, actor=actor())
    asked = found is None and not of.missing_credentials()
    return [note for note in (found, unknown_note(database, type, content, asked=asked)) if note]


def _template_not_known(database: Database | None, plan: FilePlan) -> list[str]:
    """A note where what changes nothing, and so asks no vendor, knows nothing of the template."""
    from bulksend.operations.templates import unknown_note

    type, content = plan.template.type.value, plan.template.source
    note = None if database is None else unknown_note(database, type, content, asked=False)
    return [] if note is None else [note]


def about_links(of: Settings, database: Database | None, plan: FilePlan | RestPlan) -> list[str]:
    """Notes on the links of the content. Raises InvalidValue for one that the vendor cannot fetch.

    Nothing where the ledger has the campaign: what its links answer now changes nothing about it.
    """
    from bulksend.ledger import campaigns
    from bulksend.operations.link_probe import probe_links
    from producer.files import FilePlan

    if isinstance(plan, FilePlan) and database is not None:
        with database.read() as tx:
            if campaigns.by_key(tx, plan.key) is not None:
                return []
    now_ms = int(time.time() * 1000)
    return probe_links(
        plan.template.type,
        plan.template.source,
        now_ms=now_ms,
        due_ms=plan.due_at_ms or now_ms,
        allowed=of.webhook_networks(),
    )


def upload(of: Settings, plan: FilePlan | RestPlan, placed: PlacedFile | None) -> None:
    """Upload the file of a content, if it has one."""
    from bulksend.operations.media import upload_placed
    from producer.files import FilePlan

    if placed is None or not isinstance(plan, FilePlan):
        return
    upload_placed(
        of,
        ledger(of),
        placed,
        sender=plan.sender,
        kind=plan.kind,
        type=plan.type,
        content=plan.template.source,
        field="--content",
        actor=actor(),
    )


class _Begun:
    """The campaign that a send began: how to see it, or to take in its other rows, when the command ends early."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.campaign: Campaign | None = None
        self.taken_in = False

    def begin(self, campaign: Campaign) -> None:
        """The campaign exists; its rows come next."""
        from bulksend.ledger import campaigns

        self.campaign = campaign
        tell(f"campaign {campaign.id} ({campaign.name}), in the ledger at {self._database.address}")
        with self._database.read() as tx:
            if campaigns.count_named(tx, campaign.name) > 1:
                tell(f"other campaigns are named {campaign.name}, too: use the id of this one")

    def way_back(self) -> str:
        """What happens without this command, and the commands that show, continue or end it."""
        if self.campaign is None:
            return "stopped before the first row was taken in; nothing was changed"
        id = self.campaign.id
        if self.taken_in:
            return (
                f"stopped watching; campaign {id} goes on without this command. `bulksend campaigns watch {id}` shows "
                f"it, `bulksend campaigns pause {id}` holds it"
            )
        return (
            f"the intake stopped{self._taken_in()}; they are sent. To take in the other rows of campaign {id}:\n"
            f"  {_continuing(sys.argv[1:], id)}\n`bulksend campaigns cancel {id}` ends it instead"
        )

    def _taken_in(self) -> str:
        from sqlalchemy.exc import SQLAlchemyError

        from bulksend.ledger import campaigns
        from bulksend.messaging.units import counted

        assert self.campaign is not None
        try:
            with self._database.read() as tx:
                now = campaigns.get(tx, self.campaign.id)
        except SQLAlchemyError:
            return " with some rows taken in"
        return f" with {counted(now.messages, 'message')} of {counted(now.rows_read, 'row')} taken in"


def _continuing(words: Sequence[str], id: str) -> str:
    """The same command, into the campaign that it made; an ``apply`` and a rest find it by themselves."""
    if words[:1] == ["apply"] or "--rest" in words:
        return shlex.join(["bulksend", *words])
    kept, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word in ("--key", "--continue"):
            skip = True
        elif word != "--again" and not word.startswith(("--key=", "--continue=")):
            kept.append(word)
    return shlex.join(["bulksend", *kept, "--continue", id])


class _Progress:
    """The number of rows taken in, on one line of a terminal, cleared at the end."""

    def __init__(self, wanted: bool) -> None:
        self._shown = wanted and sys.stderr.isatty()

    def __call__(self, rows: int) -> None:
        """Show the number."""
        self._write(f"  {rows:,} rows taken in")

    def end(self) -> None:
        """Clear the line."""
        self._write("")

    def _write(self, text: str) -> None:
        if self._shown:
            # Back to the left, and clear the line.
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()


def show_forecast(of: Settings, plan: FilePlan, as_json: bool) -> int:
    """Say what ``send_plan`` would do; change nothing."""
    from bulksend.bootstrap import existing_database, reading_cipher
    from ops.cli.output import pairs, print_json, refused_rows, say, say_notes
    from producer.forecast import ForecastLimits
    from producer.forecast import forecast as make_forecast
    from producer.intake_report import repeated_text

    database = existing_database(of)
    if database is None:
        say(f"there is no ledger at {of.database_address()} yet: no senders and suppressions are known")
    forecast = make_forecast(plan, database, reading_cipher(of), ForecastLimits.from_settings(of))
    say_notes(forecast.notes[len(plan.notes) :])
    if forecast.repeats is None:
        say_notes(about_links(of, None, plan))
    if as_json:
        print_json(forecast.as_json())
    else:
        pairs(forecast.summary(plan.timezone or "UTC"), title="Dry run: nothing was changed")
        refused_rows(forecast.refused, forecast.refused_count)
    if forecast.superseded:
        say(_superseded(forecast.superseded), "yellow")
    if forecast.repeats is not None:
        say(repeated_text(forecast.repeats), "yellow")
    if forecast.refusal is not None:
        raise forecast.refusal
    return DONE if forecast.messages or forecast.continues is not None else BAD_INPUT


def _show_and_ask(of: Settings, database: Database, plan: FilePlan | RestPlan, as_json: bool) -> None:
    """What is about to be sent, and a question if it is much. Nothing where the campaign exists already."""
    from bulksend.bootstrap import cipher
    from ops.cli.output import pairs
    from producer.files import FilePlan
    from producer.forecast import ForecastLimits, forecast

    if not isinstance(plan, FilePlan):
        ask_for_number(plan.people)
        return
    made = forecast(plan, database, cipher(of), ForecastLimits.from_settings(of))
    if made.refusal is not None:
        raise made.refusal
    if made.repeats is not None:
        return
    count = made.due.total()
    if count > ASKED_ABOVE and not as_json:
        pairs(made.summary(plan.timezone or "UTC"), title=f"About to send {plan.name}")
    ask_for_number(count)


def _preview(of: Settings, plan: FilePlan, count: int, as_json: bool) -> int:
    from bulksend.bootstrap import existing_database, time_rules
    from ops.cli.output import print_json_lines
    from producer.row_sends import preview_rows

    found = preview_rows(plan, existing_database(of), count, rules=time_rules(of))
    if as_json:
        print_json_lines(found)
    else:
        show_samples(found, plan.timezone or of.timezone)
    return DONE


def _test(of: Settings, plan: FilePlan, to: str, row: int | None, as_json: bool) -> int:
    from bulksend.errors import InvalidValue
    from bulksend.messaging import parse_recipient
    from ops.cli.output import print_json, say, say_notes
    from producer.row_sends import send_test

    parse_recipient(to, default_region=plan.default_region, field="--test")
    database = ledger(of)
    say_notes(about_template(of, database, plan))
    try:
        done = send_test(of, database, plan, to=to, row=row)
    except InvalidValue as error:
        if error.field != "to":
            raise
        raise InvalidValue("--test", error.value, error.why) from None
    if as_json:
        print_json(done.as_json())
    else:
        say(
            f"row {done.row} is sent as a test: message {done.receipt.id} is {done.receipt.status.value}; "
            f"bulksend messages show {done.receipt.id}"
        )
    return DONE


def _superseded(count: int) -> str:
    rows = "1 row is" if count == 1 else f"{count:,} rows are"
    return f"{rows} replaced by a newer row for the same number: of two codes only the last one is sent"


def _show(report: IntakeReport, statuses: dict[str, int], zone: str | None) -> None:
    from bulksend.messaging.units import counted
    from bulksend.operations.json_shape import to_json
    from ops.cli.output import pairs, refused_rows, say, schedule_of
    from producer.intake_report import repeated_text, with_rules

    campaign, continued = report.campaign, report.continued
    if report.new_sender:
        say("the sender is new: it is on record with the default rate (`bulksend senders set` changes it)")
    if report.superseded:
        say(_superseded(report.superseded), "yellow")
    if report.repeated:
        say(repeated_text(campaign), "yellow")
    elif report.resumed_at:
        say(f"continued an earlier run, which had taken in {counted(report.resumed_at, 'row')}", "yellow")
    if continued is not None:
        say(
            f"of {counted(continued.rows, 'row')}: {counted(continued.messages, 'new message')}; left out, since this "
            f"campaign or another one has them: {continued.already:,}"
        )
    pairs(
        {
            "campaign": report.campaign_id,
            "rows": f"{report.rows:,}",
            "messages": f"{report.messages:,}",
            "duplicates": f"{report.duplicates:,}" if report.duplicates else None,
            "suppressed": with_rules(report.suppressed, report.suppressed_by) if report.suppressed else None,
            "refused": f"{report.refused_count:,}" if report.refused else None,
            "due": schedule_of(to_json(campaign), zone)
            if campaign.due_at > campaign.created_at or campaign.local_time is not None
            else None,
        }
        | {status: f"{count:,}" for status, count in statuses.items()}
    )
    refused_rows(report.refused, report.refused_count)
