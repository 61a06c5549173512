"""Files that the vendor keeps: one upload for each content and sender, and the campaigns that need it."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

from bulksend.errors import NotFound
from bulksend.ledger import operator_log
from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.campaigns import ACTIVE
from bulksend.ledger.clock import read_clock
from bulksend.ledger.ids import is_id, new_id
from bulksend.ledger.schema import campaigns, media
from bulksend.messaging.masking import mask_digits
from bulksend.messaging.states import CampaignStatus

#: The vendor keeps a file this long (Meta, media, 2026-06-16).
KEPT_MS = 30 * 86_400_000
#: An id that ends sooner is not given to a new campaign: the file is uploaded again.
RENEW_MS = 3 * 86_400_000


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
    id = new_id() if before is None else before.id
    if before is None:
        tx.execute(insert(media).values(id=id, **values))
    else:
        tx.execute(update(media).where(media.c.id == id).values(**values))
    why = f"{values['name']}, {new.mime}, {new.bytes:,} bytes"
    operator_log.record(tx, actor=actor, act="upload", scope="media", subject=id, why=why)
    return get(tx, id)


def get(tx: Connection, id: str) -> Media:
    """A file by our id or the vendor's. Raises NotFound."""
    is_it = media.c.media_id == storable(id, 256)
    if is_id(id):
        # The vendor's ids may look like ours.
        is_it |= media.c.id == id
    row = tx.execute(select(media).where(is_it)).mappings().first()
    if row is None:
        raise NotFound(f"there is no file {mask_digits(id[:40])!r}; `bulksend media list` shows them")
    return Media(**row)


def every(tx: Connection) -> list[Media]:
    """All files, newest first."""
    return [Media(**row) for row in tx.execute(select(media).order_by(media.c.uploaded_at.desc())).mappings()]


def users(tx: Connection, file: Media) -> list[str]:
    """The ids of campaigns in intake, running or paused whose content names the file."""
    statuses = [*(status.value for status in ACTIVE), CampaignStatus.PAUSED.value]
    wanted = select(campaigns.c.id).where(
        campaigns.c.status.in_(statuses),
        campaigns.c.sender == file.sender,
        campaigns.c.content.contains(f'"{file.media_id}"', autoescape=True),
    )
    return [str(id) for id in tx.execute(wanted.order_by(campaigns.c.id)).scalars()]


def remove(tx: Connection, file: Media, *, actor: str) -> None:
    """Forget a file that is deleted at the vendor, on record."""
    tx.execute(delete(media).where(media.c.id == file.id))
    operator_log.record(tx, actor=actor, act="delete", scope="media", subject=file.id, why=file.name)


def _of_content(tx: Connection, sender: str, sha256: str) -> Media | None:
    is_it = (media.c.sender == sender) & (media.c.sha256 == sha256)
    row = tx.execute(select(media).where(is_it)).mappings().one_or_none()
    return None if row is None else Media(**row)
