"""``bulksend send``: a file becomes a campaign."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.arguments import Encoding, SheetOption
from ops.cli.context import BAD_INPUT, DONE, FAILED, actor, command, leave, ledger, settings, tell

if TYPE_CHECKING:
    from bulksend.ledger.campaigns import Campaign
    from bulksend.ledger.database import Database
    from bulksend.operations.media import PlacedFile
    from bulksend.settings import Settings
    from producer.files import FilePlan
    from producer.intake_report import IntakeReport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("send")(send)


@command
def send(
    file: Annotated[
        Path, typer.Argument(help="CSV, XLSX or JSONL with a header; the recipient's column is `to`.")
    ],
    sender: Annotated[str, typer.Option(help="The business number that sends.", metavar="PHONE")],
    type: Annotated[
        str, typer.Option(help="text, image, video, audio, document, location, sticker or template.")
    ],
    content: Annotated[Path, typer.Option(help="The vendor's Content object, {{column}} in any string.")],
    kind: Annotated[str, typer.Option(help="otp, utility or marketing.")],
    media: Annotated[
        Path | None,
        typer.Option(
            help="A file for the content: it is uploaded once for each sender, and renewed while the campaign lives.",
            metavar="FILE",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The campaign's name; default: the file's.")] = None,
    at: Annotated[str | None, typer.Option(help="When to send, ISO 8601; default: now.")] = None,
    local_time: Annotated[
        str | None,
        typer.Option(
            help="When to send by the recipients' clocks: 09:00 is the next one from --at on; a day may stand before "
            "it. The zone is that of the row's `timezone`, else of the number.",
            metavar="HH:MM",
        ),
    ] = None,
    ttl: Annotated[
        str | None, typer.Option(help="Drop what cannot be sent within this long of its due time, e.g. 10m.")
    ] = None,
    rate: Annotated[str | None, typer.Option(help="Maximum rate, e.g. 40/s; default: the sender's.")] = None,
    on_unknown: Annotated[
        str | None,
        typer.Option(help="What to do with a message that may have gone out: hold (default) or resend."),
    ] = None,
    cap: Annotated[
        str | None,
        typer.Option(
            help="Leave out people who would have more marketing messages in this time, of all campaigns; none: no "
            "cap. Default: BULKSEND_CAP.",
            metavar="2/7d",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="Leave out the people whom this campaign reaches, or with :undelivered those who surely did not get "
            "it; repeatable.",
            metavar="CAMPAIGN[:undelivered]",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Leave out all others than the people of this campaign, as for --exclude; repeatable.",
            metavar="CAMPAIGN[:undelivered]",
        ),
    ] = None,
    require_consent: Annotated[
        bool,
        typer.Option(
            "--require-consent",
            help="Refuse rows of people whose consent is neither in the row (consent_source, consent_at) nor on "
            "record.",
        ),
    ] = False,
    key: Annotated[
        str | None, typer.Option(help="Finds this campaign again; default: a hash of the input.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Start a new campaign even where people have the same message.")
    ] = False,
    into: Annotated[
        str | None,
        typer.Option(
            "--continue",
            help="Add the rows that this campaign does not have. After a cancelled campaign: send in a new one to the "
            "people it surely did not reach (cancelled, expired, suppressed, or refused by the vendor).",
            metavar="NAME",
        ),
    ] = None,
    canary: Annotated[
        str | None,
        typer.Option(
            help="Send this part first, e.g. 1% or 200 (at least 50), and the rest when its receipts are good."
        ),
    ] = None,
    max_failed: Annotated[
        str | None,
        typer.Option(
            help="Pause when more than this share of its last messages fails, e.g. 5%; none: never. Default: the "
            "setting's."
        ),
    ] = None,
    weight: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Its part beside the sender's other campaigns; default: 1."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every row and forecast; change nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it until every message has ended.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    region: Annotated[
        str | None, typer.Option(help="Country of numbers without a country code, e.g. GB.", metavar="XX")
    ] = None,
    timezone: Annotated[str | None, typer.Option(help="Time zone of times without one.")] = None,
    encoding: Encoding = None,
    sheet: SheetOption = None,
    map: Annotated[
        list[str] | None,
        typer.Option(
            help='Which column has which name, e.g. to="Mobile No."; repeatable.', metavar="NAME=COLUMN"
        ),
    ] = None,
) -> int:
    """Send a file. Running the same command twice sends nothing twice, and says so."""
    from bulksend.messaging.argument_naming import as_cli_option
    from ops.cli.output import say_notes
    from producer.files import plan_file

    of = settings()
    placed = None if media is None else _placed(of, media, sender, type, content, region, dry_run=dry_run)
    plan = plan_file(
        file,
        sender=sender,
        type=type,
        content=content if placed is None else placed.content,
        kind=kind,
        name=name,
        at=at,
        local_time=local_time,
        ttl=ttl,
        rate=rate,
        on_unknown=on_unknown,
        cap=cap,
        exclude=exclude or (),
        only=only or (),
        require_consent=require_consent,
        key=key,
        again=again,
        into=into,
        canary=canary,
        max_failed=max_failed,
        weight=weight,
        region=region,
        timezone=timezone,
        default_region=of.default_region,
        default_timezone=of.timezone,
        default_cap=of.cap,
        encoding=encoding,
        sheet=sheet,
        columns=map or (),
        created_by=actor(),
        naming=as_cli_option,
    )
    say_notes(plan.notes)
    _say_simulated(of, type)
    if placed is not None:
        plan = replace(plan, coming_files=frozenset([placed.id]))
    if dry_run:
        return _dry_run(of, plan, json)
    return _send(of, plan, placed, json, wait=wait)


def _placed(
    of: Settings,
    media: Path,
    sender: str,
    type: str,
    content: Path,
    region: str | None,
    *,
    dry_run: bool,
) -> PlacedFile:
    from bulksend.bootstrap import existing_database
    from bulksend.messaging import MessageType, parse_recipient
    from bulksend.messaging.units import parse_choice
    from bulksend.operations.media import place
    from producer.files import read_content

    text = read_content(content, "--content")
    return place(
        existing_database(of) if dry_run else ledger(of),
        media,
        sender=parse_recipient(sender, default_region=region or of.default_region, field="--sender"),
        type=parse_choice(MessageType, type, field="--type"),
        content=text,
        field="--media",
    )


def _say_simulated(of: Settings, type: str) -> None:
    """The simulator accepts every template, so a rehearsal proves nothing about one."""
    from ops.cli.output import say
    from simulator import REHEARSAL_ACCESS_KEY_ID

    if of.uspeedo_accesskey_id == REHEARSAL_ACCESS_KEY_ID and type == "template":
        say(
            "the vendor is simulated: nothing is real, and every template passes, even one that does not exist",
            "yellow",
        )


def _send(of: Settings, plan: FilePlan, placed: PlacedFile | None, as_json: bool, *, wait: bool) -> int:
    from bulksend.errors import InvalidInput
    from bulksend.operations.blockers import find_blockers
    from ops.cli.output import say, say_notes
    from ops.cli.signals import Stopped, stop_on_signals
    from ops.cli.watching import watch_campaign
    from producer.intake import Intake, tune_interpreter

    database = ledger(of)
    say_notes(_about_template(of, database, plan))
    if not _is_repeat(database, plan):
        say_notes(_about_links(of, plan))
    if placed is not None:
        _upload(of, database, plan, placed)
    begun = _Begun(database)
    tune_interpreter()
    progress = _Progress(not as_json)
    statuses: dict[str, int] = {}
    try:
        with stop_on_signals() as between:
            try:
                report = plan.run(
                    Intake.from_settings(of, database, progress=progress, began=begun.begin, between=between)
                )
            finally:
                progress.end()
            begun.taken_in = True
            say_notes(report.notes[len(plan.notes) :])
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


def _about_template(of: Settings, database: Database, plan: FilePlan) -> list[str]:
    """Ask the vendor about the template of the content; what could not be asked or is not known, as notes."""
    from bulksend.operations.templates import ask_about, unknown_note

    type, content = plan.template.type.value, plan.template.source
    found = ask_about(of, database, plan.sender, type, content, actor=actor())
    return [note for note in (found, unknown_note(database, type, content)) if note]


def _is_repeat(database: Database, plan: FilePlan) -> bool:
    """Whether the campaign exists: what its links answer now changes nothing about it."""
    from bulksend.ledger import campaigns

    with database.read() as tx:
        return campaigns.by_key(tx, plan.key) is not None


def _about_links(of: Settings, plan: FilePlan) -> list[str]:
    """Notes on the links of the content. Raises InvalidValue for one that the vendor cannot fetch."""
    from bulksend.operations.link_probe import probe_links

    now_ms = int(time.time() * 1000)
    return probe_links(
        plan.type,
        plan.template.source,
        now_ms=now_ms,
        due_ms=plan.due_at_ms or now_ms,
        allowed=of.webhook_networks(),
    )


def _upload(of: Settings, database: Database, plan: FilePlan, placed: PlacedFile) -> None:
    from bulksend.operations.media import upload_placed

    upload_placed(
        of,
        database,
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
    """The same command, into the campaign that it made."""
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


def _dry_run(of: Settings, plan: FilePlan, as_json: bool) -> int:
    from bulksend.bootstrap import existing_database, reading_cipher, time_rules
    from ops.cli.output import pairs, print_json, refused_rows, say, say_notes
    from producer.forecast import forecast as make_forecast

    database = existing_database(of)
    if database is None:
        say(f"there is no ledger at {of.database_address()} yet: no senders and suppressions are known")
    forecast = make_forecast(plan, database, reading_cipher(of), time_rules(of))
    say_notes(forecast.notes[len(plan.notes) :])
    if forecast.repeats is None:
        say_notes(_about_links(of, plan))
    if as_json:
        print_json(forecast.as_json())
    else:
        pairs(forecast.summary(plan.timezone or "UTC"), title="Dry run: nothing was changed")
        refused_rows(forecast.refused, forecast.refused_count)
    if forecast.superseded:
        say(_superseded(forecast.superseded), "yellow")
    if forecast.repeats is not None:
        say(_repeated(forecast.repeats), "yellow")
    if forecast.refusal is not None:
        raise forecast.refusal
    return DONE if forecast.messages or forecast.continues is not None else BAD_INPUT


def _repeated(campaign: Campaign) -> str:
    from bulksend.messaging.units import counted, format_instant

    if campaign.intake_done_at is None:
        return f"campaign {campaign.id} has {counted(campaign.rows_read, 'row')} of this file and gets the other rows"
    return (
        f"this was sent before, at {format_instant(campaign.created_at)}, as campaign {campaign.id} "
        f"({campaign.name}), which is {campaign.status.value}: nothing is sent twice. "
        "--again sends it as a new campaign"
    )


def _superseded(count: int) -> str:
    rows = "1 row is" if count == 1 else f"{count:,} rows are"
    return f"{rows} replaced by a newer row for the same number: of two codes only the last one is sent"


def _show(report: IntakeReport, statuses: dict[str, int], zone: str | None) -> None:
    from bulksend.messaging.units import counted
    from bulksend.operations.json_shape import to_json
    from ops.cli.output import pairs, refused_rows, say, schedule_of
    from producer.intake_report import with_rules

    campaign, continued = report.campaign, report.continued
    if report.new_sender:
        say("the sender is new: it is on record with the default rate (`bulksend senders set` changes it)")
    if report.superseded:
        say(_superseded(report.superseded), "yellow")
    if report.repeated:
        say(_repeated(campaign), "yellow")
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
