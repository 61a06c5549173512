"""Files for messages: upload to the vendor once for each content and sender, put into a content, list, delete."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from bulksend import bootstrap
from bulksend.errors import InvalidValue, NotFound, VendorUnavailable, WrongState
from bulksend.gateway.media import Uploaded
from bulksend.ledger import media, templates
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.media import Media, NewMedia
from bulksend.messaging import Kind, MessageType
from bulksend.messaging.content_json import load_content_json
from bulksend.messaging.media_files import HEAD, MOST_BYTES, MediaFile, check_media
from bulksend.messaging.media_references import with_file
from bulksend.operations.json_shape import Page, to_json
from bulksend.operations.media_files import MediaFiles
from bulksend.settings import Settings

#: An upload of many megabytes takes longer than a POST.
UPLOAD_S = 300.0


class Vendor(Protocol):
    """The calls for files, see ``bulksend.gateway.vendor_calls``."""

    async def upload(self, sender: str, file: bytes) -> Uploaded:
        """Store a file."""
        ...

    async def delete_media(self, sender: str, id: str) -> str:
        """Delete a file; returns the problem."""
        ...


def upload(
    database: Database,
    vendor: Vendor,
    file: Path,
    sender: str,
    *,
    actor: str,
    files: MediaFiles | None = None,
    field: str = "FILE",
) -> dict[str, Any]:
    """Upload a file for a sender, unless the vendor has the same content of it for some days more.

    ``files`` keeps its content, so that it can be renewed.

    Raises InvalidValue when WhatsApp does not take the file, VendorUnavailable when the vendor does not have it then.
    """
    return _upload(database, lambda: vendor, files, _read(file, field), sender, actor=actor)


class _File(NamedTuple):
    """A file that was read and that WhatsApp takes."""

    name: str
    content: bytes
    sha256: str
    found: MediaFile


def _upload(
    database: Database,
    vendor: Callable[[], Vendor],
    files: MediaFiles | None,
    file: _File,
    sender: str,
    *,
    actor: str,
) -> dict[str, Any]:
    with database.read() as tx:
        known = media.usable(tx, sender, file.sha256)
        id = media.id_for(tx, sender, file.sha256)
    if files is not None and not files.has(id):
        files.keep(id, file.content)
    if known is not None:
        return to_json(known._asdict()) | {"repeated": True}
    done = asyncio.run(vendor().upload(sender, file.content))
    if done.problem:
        raise VendorUnavailable(f"the file was not uploaded: {done.problem}")
    type, mime = file.found.type.value, file.found.mime
    new = NewMedia(sender, file.sha256, done.id, type, mime, len(file.content), file.name)
    with database.write() as tx:
        return to_json(media.keep(tx, new, actor=actor)._asdict()) | {"repeated": False}


def list_media(database: Database) -> list[dict[str, Any]]:
    """All files, newest first; ``expired``: the vendor has it no more."""
    with database.read() as tx:
        now = read_clock(tx)
        return [_shown(each, now) for each in media.every(tx)]


def media_page(database: Database, *, limit: int, after: str = "") -> Page:
    """A page of ``list_media``. ``after`` is the ``next`` of the page before, whose last file may be gone since."""
    with database.read() as tx:
        now, files = read_clock(tx), media.every(tx)
    if after:
        at, _, id = after.partition(" ")
        files = [each for each in files if (-each.uploaded_at, each.id) > (-int(at), id)]
    more = f"{files[limit - 1].uploaded_at} {files[limit - 1].id}" if limit < len(files) else None
    return Page([_shown(each, now) for each in files[:limit]], more)


def show_media(database: Database, id: str) -> dict[str, Any]:
    """A file by our id or the vendor's; ``campaigns``: ids of those that may still send it. Raises NotFound."""
    with database.read() as tx:
        file = media.get(tx, id)
        return _shown(file, read_clock(tx)) | {"campaigns": media.users(tx, file)}


def _shown(file: Media, now: int) -> dict[str, Any]:
    return to_json(file._asdict()) | {"expired": file.expires_at <= now}


def delete(
    database: Database, vendor: Vendor, id: str, *, actor: str, files: MediaFiles | None = None
) -> dict[str, Any]:
    """Delete a file, by our id or the vendor's.

    Raises NotFound; WrongState while a campaign needs it; VendorUnavailable when the vendor did not delete it.
    """
    with database.write() as tx:
        file = media.get(tx, id, lock=True)
        is_expired = file.expires_at <= read_clock(tx)
        needed_by = media.users(tx, file)
        if not needed_by:
            # No campaign that is made meanwhile may name it.
            media.end(tx, file, at=0)
    if needed_by:
        raise WrongState(
            f"campaign {needed_by[0]} sends file {file.id}; nothing was deleted. Delete it after the campaign has ended"
        )
    problem = "" if is_expired else asyncio.run(vendor.delete_media(file.sender, file.media_id))
    if problem:
        with database.write() as tx:
            media.end(tx, file, at=file.expires_at)
        raise VendorUnavailable(f"the file was not deleted: {problem}")
    with database.write() as tx:
        media.remove(tx, file, actor=actor)
    if files is not None:
        files.remove(file.id)
    return {"id": file.id, "deleted": True}


class PlacedFile(NamedTuple):
    """A file in its place in a content, which names it by our id; it may not be uploaded yet."""

    file: _File
    id: str
    content: bytes
    """As JSON."""


def place(
    database: Database | None,
    file: Path,
    *,
    sender: str,
    type: MessageType,
    content: str | bytes,
    field: str,
) -> PlacedFile:
    """A file in its place in a content; nothing is uploaded. ``database`` is None where there is no ledger yet.

    Raises InvalidValue, which names ``field``, when WhatsApp does not take the file or the content has no place for it.
    """
    read = _read(file, field)
    id = media.id_of(sender, read.sha256)
    if database is not None:
        with database.read() as tx:
            id = media.id_for(tx, sender, read.sha256)
    made = with_file(type, load_content_json(content), read.found.type, id, field=field)
    return PlacedFile(read, id, json.dumps(made).encode())


def upload_placed(
    of: Settings,
    database: Database,
    placed: PlacedFile,
    *,
    sender: str,
    kind: Kind,
    type: MessageType,
    content: str,
    field: str,
    actor: str,
) -> None:
    """Upload the file of a checked content that fits its template, unless the vendor has it.

    Raises InvalidInput, VendorUnavailable.
    """
    with database.read() as tx:
        templates.check_new(tx, kind, type, content, field=field, lock=False)
    _upload(
        database,
        lambda: bootstrap.vendor_calls(of, seconds=UPLOAD_S),
        MediaFiles.from_settings(of),
        placed.file,
        sender,
        actor=actor,
    )


def place_uploaded(
    database: Database, id: str, *, type: MessageType, content: str | bytes, field: str
) -> bytes:
    """The content with an uploaded file in its place, by our id or the vendor's; JSON.

    Whether it is the sender's is checked with the campaign. Raises InvalidValue.
    """
    with database.read() as tx:
        try:
            file = media.get(tx, id)
        except NotFound as error:
            raise InvalidValue(field, "", str(error)) from None
    given = load_content_json(content)
    return json.dumps(with_file(type, given, MessageType(file.type), file.id, field=field)).encode()


def _read(file: Path, field: str) -> _File:
    try:
        size = file.stat().st_size
        if size > MOST_BYTES:
            raise InvalidValue(field, f"{size:,} bytes", f"is too large: at most {MOST_BYTES:,} bytes")
        content = file.read_bytes()
    except OSError as error:
        raise InvalidValue(field, "", f"cannot be read: {error.strerror}") from None
    found = check_media(content[:HEAD], len(content), field=field, tail=content[-65_536:])
    return _File(file.name, content, hashlib.sha256(content).hexdigest(), found)
