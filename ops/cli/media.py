"""``bulksend media``: files of messages at the vendor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ops.cli.arguments import Json
from ops.cli.context import DONE, actor, command, ledger, settings

group = typer.Typer(help="Files of messages at the vendor.", no_args_is_help=True)
Sender = Annotated[str, typer.Option(help="The business number that sends it.", metavar="PHONE")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="media")


@group.command("upload")
@command
def upload_(
    file: Annotated[
        Path, typer.Argument(help="An image, video, audio, document or sticker.", metavar="FILE")
    ],
    sender: Sender,
    json: Json = False,
) -> int:
    """Upload a file; its id is for "id" in a content. The same file is uploaded once for each sender."""
    from bulksend.bootstrap import vendor_calls
    from bulksend.messaging import parse_sender
    from bulksend.operations.media import UPLOAD_S, upload
    from bulksend.operations.media_files import MediaFiles
    from ops.cli.output import line, print_json, say, shown_at

    of = settings()
    phone = parse_sender(sender, default_region=of.default_region, field="--sender")
    files = MediaFiles.from_settings(of)
    done = upload(ledger(of), vendor_calls(of, seconds=UPLOAD_S), file, phone, actor=actor(), files=files)
    if json:
        print_json(done)
        return DONE
    was = "was uploaded before" if done["repeated"] else "uploaded"
    say(
        f"{done['name']} {was}: {done['type']}, {done['mime']}; the vendor keeps it until "
        f"{shown_at(done['expires_at'], of.timezone)}"
    )
    line(done["media_id"])
    return DONE


@group.command("list")
@command
def list_(json: Json = False) -> int:
    """Every file at the vendor, newest first."""
    from bulksend.operations.media import list_media
    from ops.cli.output import listing

    of = settings()
    columns = ("media_id", "name", "type", "bytes", "sender", "expires_at", "id")
    # `media:` and our id is what a content names.
    optional = ("bytes", "sender", "media_id", "expires_at")
    listing(list_media(ledger(of)), columns, json=json, optional=optional, timezone=of.timezone)
    return DONE


@group.command("delete")
@command
def delete_(
    id: Annotated[str, typer.Argument(help="Its id, ours or the vendor's.", metavar="ID")], json: Json = False
) -> int:
    """Delete a file at the vendor. Refused while a campaign sends it."""
    from bulksend.bootstrap import vendor_calls
    from bulksend.operations.media import delete
    from bulksend.operations.media_files import MediaFiles
    from ops.cli.output import print_json, say

    of = settings()
    files = MediaFiles.from_settings(of)
    done = delete(ledger(of), vendor_calls(of), id, actor=actor(), files=files)
    if json:
        print_json(done)
    else:
        say(f"file {done['id']} deleted")
    return DONE
