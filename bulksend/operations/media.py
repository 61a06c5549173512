"""Files for messages: upload to the vendor once for each content and sender, list, delete."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any, Protocol

from bulksend.errors import InvalidValue, VendorUnavailable, WrongState
from bulksend.gateway.media import Uploaded
from bulksend.ledger import media
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.media import NewMedia
from bulksend.messaging.media_files import HEAD, MOST_BYTES, check_media
from bulksend.operations.json_shape import to_json

#: An upload of many megabytes takes longer than a POST.
UPLOAD_S = 300.0


class Vendor(Protocol):
    """The calls for files, see ``bulksend.gateway.VendorCalls``."""

    async def upload(self, sender: str, file: bytes) -> Uploaded:
        """Store a file."""
        ...

    async def delete_media(self, sender: str, id: str) -> str:
        """Delete a file; returns the problem."""
        ...


def upload(database: Database, vendor: Vendor, file: Path, sender: str, *, actor: str) -> dict[str, Any]:
    """Upload a file for a sender, unless the vendor has the same content of it for some days more.

    Raises InvalidValue when WhatsApp does not take the file, VendorUnavailable when the vendor does not have it then.
    """
    content = _read(file)
    found = check_media(content[:HEAD], len(content), field="FILE", tail=content[-65_536:])
    digest = hashlib.sha256(content).hexdigest()
    with database.read() as tx:
        known = media.usable(tx, sender, digest)
    if known is not None:
        return to_json(known._asdict()) | {"repeated": True}
    done = asyncio.run(vendor.upload(sender, content))
    if done.problem:
        raise VendorUnavailable(f"the file was not uploaded: {done.problem}")
    new = NewMedia(sender, digest, done.id, found.type.value, found.mime, len(content), file.name)
    with database.write() as tx:
        return to_json(media.keep(tx, new, actor=actor)._asdict()) | {"repeated": False}


def list_media(database: Database) -> list[dict[str, Any]]:
    """All files, newest first; ``expired``: the vendor has it no more."""
    with database.read() as tx:
        now = read_clock(tx)
        return [to_json(each._asdict()) | {"expired": each.expires_at <= now} for each in media.every(tx)]


def delete(database: Database, vendor: Vendor, id: str, *, actor: str) -> dict[str, Any]:
    """Delete a file, by our id or the vendor's.

    Raises NotFound; WrongState while a campaign needs it; VendorUnavailable when the vendor did not delete it.
    """
    with database.read() as tx:
        file = media.get(tx, id)
        is_expired = file.expires_at <= read_clock(tx)
        needed_by = media.users(tx, file)
    if needed_by:
        raise WrongState(
            f"campaign {needed_by[0]} sends file {file.id}; nothing was deleted. Delete it after the campaign has ended"
        )
    problem = "" if is_expired else asyncio.run(vendor.delete_media(file.sender, file.media_id))
    if problem:
        raise VendorUnavailable(f"the file was not deleted: {problem}")
    with database.write() as tx:
        media.remove(tx, file, actor=actor)
    return {"id": file.id, "deleted": True}


def _read(file: Path) -> bytes:
    try:
        size = file.stat().st_size
        if size > MOST_BYTES:
            raise InvalidValue("FILE", f"{size:,} bytes", f"is too large: at most {MOST_BYTES:,} bytes")
        return file.read_bytes()
    except OSError as error:
        raise InvalidValue("FILE", "", f"cannot be read: {error.strerror}") from None
