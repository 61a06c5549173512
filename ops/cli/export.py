"""``bulksend export``: the messages of a campaign as a file, or all that is held about a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.arguments import Json, option_names
from ops.cli.context import DONE, actor, command, ledger, settings

if TYPE_CHECKING:
    from bulksend.messaging import RefusedRow
    from producer.reading import RawRow, RowSource


exports_group = typer.Typer(help="Exports that programs requested from the HTTP API.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the command and the group."""
    app.command("export")(export)
    app.add_typer(exports_group, name="exports")


@exports_group.command("list")
@command
def list_(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many.")] = 100,
    after: Annotated[str | None, typer.Option(help="Older ones than this, the last id shown.")] = None,
    json: Json = False,
) -> int:
    """Exports of all programs, the newest first; each is kept for 24 hours after its end."""
    from bulksend.operations.exports import list_exports
    from ops.cli.output import listing

    of = settings()
    with option_names():
        found = list_exports(ledger(of), None, limit=limit, after=after).items
    rows = found if json else [item | {"rows": item["progress"]["rows"]} for item in found]
    columns = ("id", "status", "format", "rows", "created_at", "expires_at", "error")
    listing(rows, columns, json=json, optional=("created_at", "rows"), timezone=of.timezone)
    return DONE


@command
def export(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="FILE.csv, .jsonl, .xlsx or .parquet; - is CSV on stdout.")
    ],
    campaign: Annotated[
        str | None, typer.Argument(help="A campaign's id or name.", metavar="CAMPAIGN")
    ] = None,
    person: Annotated[
        str | None,
        typer.Option(
            help="Instead of a campaign: all that is held about this person, as JSON.", metavar="PHONE"
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(help="Country of --person without a country code, e.g. GB.", metavar="GB"),
    ] = None,
    refused: Annotated[
        bool, typer.Option("--refused", help="The rows that were refused, instead of the messages.")
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option(help="The file that the campaign was made of: adds all of its columns."),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of --file, if it is a CSV that is not UTF-8.")
    ] = None,
    sheet: Annotated[
        str | None, typer.Option(help="Sheet of --file, if it is an XLSX; default: the first.")
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Phone numbers in full, and the columns of its file that its content uses."
        ),
    ] = False,
    audience: Annotated[
        str | None,
        typer.Option(
            help="People to send to instead of messages, with the columns of the content: all, undelivered, unread, "
            "unsent, or code=131049.",
        ),
    ] = None,
) -> int:
    """Export a campaign to a file, one row a message, or all that is held about a person.

    Phone numbers of a campaign are masked unless --full, --file or --audience.
    """
    from bulksend.bootstrap import reading_cipher
    from bulksend.errors import InvalidInput
    from bulksend.messaging.audience import parse_audience
    from bulksend.messaging.units import counted
    from bulksend.operations.export import REFUSED_COLUMNS, Export
    from bulksend.operations.exports import check_audience_format, export_content, note_export
    from ops.cli.output import say
    from ops.export_files import check_fits, checked_format, open_writer

    if (campaign is None) == (person is None):
        raise InvalidInput("CAMPAIGN or --person: give one of the two")
    if person is not None:
        if refused or full or file is not None or audience is not None or encoding or sheet:
            raise InvalidInput("--person: all that is held is exported; it takes --output and --region only")
        return _export_person(person, region, output)
    if region is not None:
        raise InvalidInput("--region: belongs to --person; give it too")
    if refused and (full or file is not None or audience is not None):
        raise InvalidInput("--refused: refused rows have no numbers; leave --full, --file and --audience out")
    if audience is not None and file is not None:
        raise InvalidInput("--audience: has the columns that the content uses; leave --file out")
    people = None if audience is None else parse_audience(audience, field="--audience")
    if people is not None:
        check_audience_format(output.suffix.removeprefix("."), "--output")
    if file is None and (encoding or sheet):
        raise InvalidInput("--encoding and --sheet: they say how --file is read; give it too")
    if str(output) != "-":
        checked_format(output.suffix, field="--output")
    of = settings()
    count = 0
    database = ledger(of)
    content = export_content(refused=refused, audience=audience, masked=not full and file is None)
    with (
        ExitStack() as stack,
        open_writer(output, REFUSED_COLUMNS if refused else None) as write,
        # The transaction ends before the file does: packing a workbook takes long.
        database.read() as tx,
    ):
        source = Export(tx, str(campaign), reading_cipher(of))
        check_fits(
            output.suffix, source.campaign.refused if refused else source.campaign.messages, "--output"
        )
        if refused:
            rows = source.refused_rows()
        elif people is not None:
            rows = source.audience(people)
        elif file is None:
            rows = source.messages() if full else source.masked_messages()
        elif source.is_otp:
            raise InvalidInput("--file: the file of one-time codes is not exported")
        else:
            rows = source.messages(stack.enter_context(_open_columns(file, encoding, sheet)))
        for row in rows:
            write(row)
            count += 1
    what = counted(count, "refused row" if refused else "message" if people is None else "recipient")
    note_export(database, source.campaign, actor=actor(), format=output.suffix[1:] or "csv", content=content)
    say(f"Wrote {what} of {source.campaign.name} to {output}")
    if source.unreadable:
        say(
            f"The file's columns of {counted(source.unreadable, 'message')} are empty: they are encrypted with a key "
            "that BULKSEND_ENCRYPTION_KEY does not list",
            "yellow",
        )
    return DONE


def _export_person(phone: str, region: str | None, output: Path) -> int:
    """Write all that is held about a person, readable by this user alone."""
    import json

    from bulksend.bootstrap import reading_cipher
    from bulksend.messaging.units import counted
    from bulksend.operations.person_export import export_person
    from ops.cli.context import actor
    from ops.cli.output import say
    from ops.cli.persons import person_of
    from ops.export_files import check_is_file, write_text

    of = settings()
    number = person_of(phone, region, of, field="--person")
    check_is_file(output, field="--output")
    held = export_person(
        ledger(of), reading_cipher(of), number, actor=actor(), why="all that is held, for the person"
    )
    write_text(output, json.dumps(held, indent=2, ensure_ascii=False) + "\n", field="--output")
    say(f"Wrote {counted(len(held['messages']), 'message')} and all else that is held to {output}")
    return DONE


@contextmanager
def _open_columns(file: Path, encoding: str | None, sheet: str | None) -> Iterator[FileColumns]:
    from bulksend.messaging.argument_naming import as_cli_option
    from ops.cli.output import say_notes
    from producer.reading import open_rows

    with open_rows(file, encoding=encoding, sheet=sheet, naming=as_cli_option) as source:
        say_notes(source.notes)
        yield FileColumns(source, file.name)


class FileColumns:
    """Every column of the file that a campaign was made of, found by the numbers of its rows, in flat memory."""

    def __init__(self, source: RowSource, name: str) -> None:
        self._name = name
        self._to = next((own for own, ours in source.columns().names.items() if ours == "to"), "to")
        self._header = list(source.header)
        self._rows = iter(source)
        self._current: RawRow | RefusedRow | None = next(self._rows, None)

    def of(self, row: int, recipient: str) -> Mapping[str, str | None]:
        """See operations.export.FileColumns. Raises InvalidInput when the file is not the campaign's."""
        from bulksend.errors import InvalidInput
        from bulksend.messaging.plan import as_text
        from producer.reading import RawRow

        while self._current is not None and self._current.row < row:
            self._current = next(self._rows, None)
        found = self._current
        if not isinstance(found, RawRow) or found.row != row:
            raise InvalidInput(f"--file: {self._name} has no row {row}: it is not the file of this campaign")
        text = as_text(self._to, found.values.get(self._to)) or ""
        digits = "".join(str(int(c)) for c in text if c.isdecimal())
        if recipient[-6:] not in digits:
            raise InvalidInput(
                f"--file: row {row} of {self._name} has another number than the campaign: it is not the file of this "
                "campaign"
            )
        return {name: as_text(name, found.values.get(name)) for name in self._header}
