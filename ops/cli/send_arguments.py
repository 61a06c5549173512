"""The arguments that say what is sent: the same for ``send``, ``plan`` and ``rehearse``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.arguments import Encoding, SheetOption

if TYPE_CHECKING:
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
    name: Annotated[str | None, typer.Option(help="The campaign's name; default: the file's.")] = None
    at: Annotated[str | None, typer.Option(help="When to send, ISO 8601; default: now.")] = None
    ttl: Annotated[
        str | None, typer.Option(help="Drop what cannot be sent within this long of its due time, e.g. 10m.")
    ] = None
    rate: Annotated[str | None, typer.Option(help="Maximum rate, e.g. 40/s; default: the sender's.")] = None
    on_unknown: Annotated[
        str | None,
        typer.Option(help="What to do with a message that may have gone out: hold (default) or resend."),
    ] = None
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

    def plan(self, of: Settings, created_by: str) -> FilePlan:
        """The send, checked. Raises InvalidInput."""
        from bulksend.messaging.argument_naming import as_cli_option
        from producer.files import plan_file

        return plan_file(
            self.file,
            sender=self.sender,
            type=self.type,
            content=self.content,
            kind=self.kind,
            name=self.name,
            at=self.at,
            ttl=self.ttl,
            rate=self.rate,
            on_unknown=self.on_unknown,
            key=self.key,
            again=self.again,
            into=self.into,
            region=self.region,
            timezone=self.timezone,
            default_region=of.default_region,
            default_timezone=of.timezone,
            encoding=self.encoding,
            sheet=self.sheet,
            columns=self.map or (),
            created_by=created_by,
            naming=as_cli_option,
        )


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
