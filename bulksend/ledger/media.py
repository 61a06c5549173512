"""Files that the vendor keeps: one upload for each content and sender, and the campaigns that need it."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Column, Connection, delete, insert, or_, select, update

from bulksend.errors import InvalidValue, NotFound
from bulksend.ledger import operator_log
from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.campaigns import IS_LIVE
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import among, first
from bulksend.ledger.ids import is_id
from bulksend.ledger.schema import campaigns, media
from bulksend.messaging.content_json import load_content_json
from bulksend.messaging.masking import mask_digits
from bulksend.messaging.media_references import file_places, our_id, reference
from bulksend.messaging.states import MessageType

#: The vendor keeps a file this long (Meta, media, 2026-06-16).
KEPT_MS = 30 * 86_400_000
#: An id that ends sooner is not given to a new campaign: the file is uploaded again.
RENEW_MS = 3 * 86_400_000
#: The name space of our ids of files.
_IDS = uuid.UUID("6f2c1c1e-0f0b-4f5e-9d0e-6d656469613a")


class Media(NamedTuple):
    """A file at the vendor. ``media_id`` is the vendor's id of it, which a content names."""

    id: str
    sender: str
    sha256: str
    media_id: str
    type: str
    mime: str
    bytes: int
    name: str
    uploaded_at: int
    expires_at: int
    created_by: str


class NewMedia(NamedTuple):
    """A file that was uploaded just now."""

    sender: str
    sha256: str
    media_id: str
    type: str
    mime: str
    bytes: int
    name: str


def id_of(sender: str, sha256: str) -> str:
    """Our id of a content of a sender, also before it is uploaded: the same after a deletion and another upload."""
    return str(uuid.uuid5(_IDS, f"{sender} {sha256}"))


def id_for(tx: Connection, sender: str, sha256: str) -> str:
    """Our id that this content of this sender has, or will have."""
    found = _of_content(tx, sender, sha256)
    return id_of(sender, sha256) if found is None else found.id


def usable(tx: Connection, sender: str, sha256: str) -> Media | None:
    """The upload of this content by this sender that a new campaign can use; None where there is none."""
    found = _of_content(tx, sender, sha256)
    return found if found is not None and found.expires_at > read_clock(tx) + RENEW_MS else None


def keep(tx: Connection, new: NewMedia, *, actor: str) -> Media:
    """Keep an upload; an earlier one of the same content and sender is replaced."""
    now = read_clock(tx)
    before = _of_content(tx, new.sender, new.sha256)
    values = new._asdict() | {
        "name": storable(new.name, 240),
        "uploaded_at": now,
        "expires_at": now + KEPT_MS,
        "created_by": storable(str(actor), 100),
    }
    id = id_of(new.sender, new.sha256) if before is None else before.id
    if before is None:
        tx.execute(insert(media).values(id=id, **values))
    else:
        tx.execute(update(media).where(media.c.id == id).values(**values))
    why = f"{values['name']}, {new.mime}, {new.bytes:,} bytes"
    operator_log.record(tx, actor=actor, act="upload", scope="media", subject=id, why=why)
    return get(tx, id)


def get(tx: Connection, id: str, *, lock: bool = False) -> Media:
    """A file by our id, with or without ``media:``, or the vendor's. Raises NotFound."""
    is_it = media.c.media_id == storable(id, 256)
    ours = our_id(id) or id
    if is_id(ours):
        # The vendor's ids may look like ours.
        is_it |= media.c.id == ours
    wanted = select(media).where(is_it)
    found = first(tx, wanted.with_for_update() if lock else wanted, Media)
    if found is None:
        raise NotFound(f"there is no file {mask_digits(id[:40])!r}; `bulksend media list` shows them")
    return found


def every(tx: Connection) -> list[Media]:
    """All files, newest first."""
    newest = media.c.uploaded_at.desc(), media.c.id
    return [Media(**row) for row in tx.execute(select(media).order_by(*newest)).mappings()]


def users(tx: Connection, file: Media, *, by_our_id: bool = True, by_vendor_id: bool = True) -> list[str]:
    """The ids of campaigns in intake, running or paused whose content names the file, by our id or the vendor's."""
    named = [reference(file.id)] * by_our_id + [file.media_id] * by_vendor_id
    content = campaigns.c.content
    wanted = select(campaigns.c.id).where(
        IS_LIVE,
        campaigns.c.sender == file.sender,
        or_(*(content.contains(f'"{id}"', autoescape=True) for id in named)),
    )
    return [str(id) for id in tx.execute(wanted.order_by(campaigns.c.id)).scalars()]


def due(tx: Connection) -> list[Media]:
    """The files that end within RENEW_MS, and that a campaign may still send; the first to end first."""
    ends = select(media).where(media.c.expires_at < read_clock(tx) + RENEW_MS)
    found = [Media(**row) for row in tx.execute(ends.order_by(media.c.expires_at)).mappings()]
    return [file for file in found if users(tx, file)]


def kept(tx: Connection, ids: Collection[str]) -> set[str]:
    """Those of these files whose content is kept: a campaign may send them, now or by a new one."""
    now = read_clock(tx)
    wanted = select(media).where(among(tx, media.c.id, sorted(ids)))
    found = [Media(**row) for row in tx.execute(wanted).mappings()]
    return {file.id for file in found if file.expires_at > now or users(tx, file)}


def vendor_ids(tx: Connection, ids: Collection[str]) -> dict[str, str]:
    """The vendor's ids of these files by ours."""
    return _each(tx, ids, media.c.media_id)


def names(tx: Connection, ids: Collection[str]) -> dict[str, str]:
    """The names of these files by our ids."""
    return _each(tx, ids, media.c.name)


def _each(tx: Connection, ids: Collection[str], column: Column[str]) -> dict[str, str]:
    wanted = select(media.c.id, column).where(among(tx, media.c.id, sorted(ids)))
    return {str(id): value for id, value in tx.execute(wanted)} if ids else {}


def why_not(
    tx: Connection,
    sender: str,
    type: str,
    content: str,
    *,
    lock: bool = False,
    coming: Collection[str] = (),
) -> str | None:
    """Why the vendor would not take the files of a checked content, by what is known of them; None where it would.

    ``lock``: none of them is deleted until the end of the transaction. ``coming``: ids of ours that will be uploaded.
    """
    places = list(file_places(MessageType(type), load_content_json(content))) if content else []
    named = {place.object.get("id"): place.type for place in places if place.object.get("id") is not None}
    for id, wanted in named.items():
        ours = our_id(id)
        if ours in coming:
            continue
        file = _named(tx, str(id), ours, lock=lock)
        if file is not None:
            why = _unfit(tx, file, sender, wanted)
        else:
            why = None if ours is None else "is not known here; `bulksend media list` shows the files"
        if why is not None:
            return f"the file {mask_digits(str(id)[:60])} {why}"
    return None


def _named(tx: Connection, id: str, ours: str | None, *, lock: bool) -> Media | None:
    is_it = media.c.media_id == storable(id, 256) if ours is None else media.c.id == ours
    wanted = select(media).where(is_it)
    return first(tx, wanted.with_for_update(read=True) if lock else wanted, Media)


def _unfit(tx: Connection, file: Media, sender: str, wanted: MessageType) -> str | None:
    again = f"`bulksend media upload FILE --sender {sender}`"
    if file.sender != sender:
        return f"was uploaded for another sender; {again} uploads it for this one"
    if file.type != wanted:
        return f"({file.name}) is sent as {file.type}, and the content takes {wanted} there; use another file or type"
    if file.expires_at <= read_clock(tx):
        return f"({file.name}) ended at the vendor, which keeps a file for 30 days; {again} uploads it again"
    return None


def check_new(
    tx: Connection,
    sender: str,
    type: str,
    content: str,
    *,
    field: str,
    lock: bool = True,
    coming: Collection[str] = (),
) -> None:
    """Raises InvalidValue when the vendor would not take the files of a content, as ``why_not`` says."""
    why = why_not(tx, sender, type, content, lock=lock, coming=coming)
    if why is not None:
        raise InvalidValue(field, "", why)


def end(tx: Connection, file: Media, *, at: int) -> None:
    """The vendor's id of a file ends at this time."""
    is_same = (media.c.id == file.id) & (media.c.media_id == file.media_id)
    tx.execute(update(media).where(is_same).values(expires_at=at))


def remove(tx: Connection, file: Media, *, actor: str) -> None:
    """Forget a file that is deleted at the vendor, on record."""
    tx.execute(delete(media).where(media.c.id == file.id))
    operator_log.record(tx, actor=actor, act="delete", scope="media", subject=file.id, why=file.name)


def _of_content(tx: Connection, sender: str, sha256: str) -> Media | None:
    is_it = (media.c.sender == sender) & (media.c.sha256 == sha256)
    return first(tx, select(media).where(is_it), Media)
