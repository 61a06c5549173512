"""The arguments that say what is sent: the same for ``send``, ``plan`` and ``rehearse``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.arguments import Encoding, SheetOption

if TYPE_CHECKING:
    from bulksend.ledger.database import Database
    from bulksend.operations.media import PlacedFile
    from bulksend.settings import Settings
    from producer.files import FilePlan


@dataclass(frozen=True, slots=True)
class AskedCampaign:
    """A file, its content and its options, as they were typed."""

    file: Annotated[
        Path, typer.Argument(help="CSV, XLSX or JSONL with a header; the recipient's column is `to`.")
    ]
    sender: Annotated[str, typer.Option(help="The business number that sends.", metavar="PHONE")]
    type: Annotated[
        str, typer.Option(help="text, image, video, audio, document, location, sticker or template.")
    ]
    content: Annotated[Path, typer.Option(help="The vendor's Content object, {{column}} in any string.")]
    kind: Annotated[str, typer.Option(help="otp, utility or marketing.")]
    media: Annotated[
        Path | None,
        typer.Option(
            help="A file for the content: it is uploaded once for each sender, and renewed while the campaign lives.",
            metavar="FILE",
        ),
    ] = None
    name: Annotated[str | None, typer.Option(help="The campaign's name; default: the file's.")] = None
    at: Annotated[str | None, typer.Option(help="When to send, ISO 8601; default: now.")] = None
    local_time: Annotated[
        str | None,
        typer.Option(
            help="When to send by the recipients' clocks: 09:00 is the next one from --at on; a day may stand before "
            "it. The zone is that of the row's `timezone`, else of the number.",
            metavar="HH:MM",
        ),
    ] = None
    ttl: Annotated[
        str | None, typer.Option(help="Drop what cannot be sent within this long of its due time, e.g. 10m.")
    ] = None
    rate: Annotated[str | None, typer.Option(help="Maximum rate, e.g. 40/s; default: the sender's.")] = None
    on_unknown: Annotated[
        str | None,
        typer.Option(help="What to do with a message that may have gone out: hold (default) or resend."),
    ] = None
    cap: Annotated[
        str | None,
        typer.Option(
            help="Leave out people who would have more marketing messages in this time, of all campaigns; none: no "
            "cap. Default: BULKSEND_CAP.",
            metavar="2/7d",
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="Leave out the people whom this campaign reaches, or with :unsent those who surely did not get "
            "it; repeatable.",
            metavar="CAMPAIGN[:unsent]",
        ),
    ] = None
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Leave out all but the people of this campaign, as for --exclude; repeatable.",
            metavar="CAMPAIGN[:unsent]",
        ),
    ] = None
    require_consent: Annotated[
        bool,
        typer.Option(
            "--require-consent",
            help="Refuse rows of people whose consent is neither in the row (consent_source, consent_at) nor on "
            "record.",
        ),
    ] = False
    key: Annotated[
        str | None, typer.Option(help="Finds this campaign again; default: a hash of the input.")
    ] = None
    again: Annotated[
        bool, typer.Option("--again", help="Start a new campaign even where people have the same message.")
    ] = False
    into: Annotated[
        str | None,
        typer.Option(
            "--continue",
            help="Add the rows that this campaign does not have. After a cancelled campaign: send in a new one to the "
            "people it surely did not reach (cancelled, expired, suppressed, or refused by the vendor).",
            metavar="NAME",
        ),
    ] = None
    canary: Annotated[
        str | None,
        typer.Option(
            help="Send this part first, e.g. 1% or 200 (at least 50), and the rest when its receipts are good."
        ),
    ] = None
    max_failed: Annotated[
        str | None,
        typer.Option(
            help="Pause when more than this share of its last messages fails, e.g. 5%; none: never. Default: the "
            "setting's."
        ),
    ] = None
    weight: Annotated[
        int | None,
        typer.Option(
            min=1, max=100, help="Its weight when the sender's campaigns share the rate; default: 1."
        ),
    ] = None
    region: Annotated[
        str | None, typer.Option(help="Country of numbers without a country code, e.g. GB.", metavar="XX")
    ] = None
    timezone: Annotated[str | None, typer.Option(help="Time zone of times without one.")] = None
    encoding: Encoding = None
    sheet: SheetOption = None
    map: Annotated[
        list[str] | None,
        typer.Option(
            help='Which column has which name, e.g. to="Mobile No."; repeatable.', metavar="NAME=COLUMN"
        ),
    ] = None

    def place(self, of: Settings, database: Database | None) -> PlacedFile | None:
        """The file of ``--media`` in the content; None where there is none. Raises InvalidInput."""
        if self.media is None:
            return None
        from bulksend.messaging import MessageType, parse_sender
        from bulksend.messaging.units import parse_choice
        from bulksend.operations.media import place
        from producer.files import read_content

        region = self.region or of.default_region
        return place(
            database,
            self.media,
            sender=parse_sender(self.sender, default_region=region, field="--sender"),
            type=parse_choice(MessageType, self.type, field="--type"),
            content=read_content(self.content, "--content"),
            field="--media",
        )

    def plan(self, of: Settings, created_by: str, placed: PlacedFile | None = None) -> FilePlan:
        """The send, checked; ``placed`` is what ``place`` returned. Raises InvalidInput."""
        from bulksend.messaging.argument_naming import as_cli_option
        from producer.files import plan_file

        plan = plan_file(
            self.file,
            sender=self.sender,
            type=self.type,
            content=self.content if placed is None else placed.content,
            kind=self.kind,
            name=self.name,
            at=self.at,
            local_time=self.local_time,
            ttl=self.ttl,
            rate=self.rate,
            on_unknown=self.on_unknown,
            cap=self.cap,
            exclude=self.exclude or (),
            only=self.only or (),
            require_consent=self.require_consent,
            key=self.key,
            again=self.again,
            into=self.into,
            canary=self.canary,
            max_failed=self.max_failed,
            weight=self.weight,
            region=self.region,
            timezone=self.timezone,
            default_region=of.default_region,
            default_timezone=of.timezone,
            default_cap=of.cap,
            encoding=self.encoding,
            sheet=self.sheet,
            columns=self.map or (),
            created_by=created_by,
            naming=as_cli_option,
        )
        return plan if placed is None else replace(plan, coming_files=frozenset([placed.id]))


def takes_campaign(body: Callable[..., int]) -> Callable[..., int]:
    """A command with the arguments of AskedCampaign, which it gets as its first, before those of its own."""
    asked = list(inspect.signature(AskedCampaign, eval_str=True).parameters.values())
    own = list(inspect.signature(body, eval_str=True).parameters.values())[1:]

    def run(**given: Any) -> int:
        of_it = {each.name: given.pop(each.name) for each in asked}
        return body(AskedCampaign(**of_it), **given)

    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*asked, *own)]
    run.__name__, run.__doc__ = body.__name__, body.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run
