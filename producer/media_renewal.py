"""Uploads files again before the vendor deletes them, while a campaign may send them.

A thread of the relay. A campaign whose file cannot be renewed is paused before the vendor's id ends, with the reason.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable

import structlog
from sqlalchemy import Connection

from bulksend.ledger import media, pauses
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.driver_errors import log_text
from bulksend.ledger.media import Media, NewMedia
from bulksend.messaging.masking import mask_digits
from bulksend.messaging.units import format_instant
from bulksend.operations.media import Vendor
from bulksend.operations.media_files import MediaFiles

log = structlog.get_logger(__name__)

ACTOR = "renewal"
EVERY_S = 60.0
#: A campaign is paused this long before its file ends: a message may be under way for minutes.
PAUSE_MS = 3_600_000
_CONTINUE = "Cancel it, and continue it with a content that has media:{id}"


class MediaRenewal:
    """Looks every EVERY_S for files that end within three days."""

    def __init__(self, database: Database, vendor: Vendor, files: MediaFiles) -> None:
        self._database = database
        self._vendor = vendor
        self._files = files

    def run(self, stop: threading.Event, wanted: Callable[[], bool]) -> None:
        """Renew while ``wanted`` returns true, until ``stop`` is set. Never raises."""
        while not stop.wait(EVERY_S):
            if wanted():
                self.round(stop)

    def round(self, stop: threading.Event | None = None) -> None:
        """Renew what is due, and delete the contents that nothing needs. Never raises."""
        try:
            with self._database.read() as tx:
                due = media.due(tx)
            for file in due:
                if stop is not None and stop.is_set():
                    return
                self._renew(file)
            self._tidy()
        except Exception as error:  # noqa: BLE001 - the ledger may be away, and there are three days
            log.warning("media_not_renewed", error=log_text(error))

    def _renew(self, file: Media) -> None:
        with self._database.read() as tx:
            is_needed, now = bool(media.users(tx, file, by_vendor_id=False)), read_clock(tx)
        why = self._upload_again(file) if is_needed else "the content names the vendor's id of it"
        if why is None:
            log.info("media_renewed", media=file.id)
            return
        log.warning("media_not_renewed", media=file.id, why=why, ends=format_instant(file.expires_at))
        if file.expires_at - now < PAUSE_MS:
            self._database.retrying(lambda tx: _pause_users(tx, file, why))

    def _upload_again(self, file: Media) -> str | None:
        """Upload a file again; returns why that was not done."""
        content = self._files.read(file.id)
        if content is None or hashlib.sha256(content).hexdigest() != file.sha256:
            return "its content is not in the upload folder (BULKSEND_UPLOAD_DIR) of the relay any more"
        done = asyncio.run(self._vendor.upload(file.sender, content))
        if done.problem:
            return done.problem
        new = NewMedia(file.sender, file.sha256, done.id, file.type, file.mime, file.bytes, file.name)

        def keep(tx: Connection) -> None:
            named = media.users(tx, file, by_our_id=False)
            media.keep(tx, new, actor=ACTOR)
            _pause(tx, file, named, "the content names the vendor's id of it", _CONTINUE)

        self._database.retrying(keep)
        return None

    def _tidy(self) -> None:
        old = self._files.old()
        if not old:
            return
        with self._database.read() as tx:
            needed = media.kept(tx, old)
        for id in old:
            if id not in needed:
                self._files.remove(id)


def _pause_users(tx: Connection, file: Media, why: str) -> None:
    again = f"`bulksend media upload FILE --sender {file.sender}` uploads it; then resume"
    _pause(tx, file, media.users(tx, file, by_vendor_id=False), why, again)
    _pause(tx, file, media.users(tx, file, by_our_id=False), why, _CONTINUE)


def _pause(tx: Connection, file: Media, campaigns: list[str], why: str, remedy: str) -> None:
    """Pause the campaigns that send a file, with the reason and the remedy."""
    told = f"the vendor keeps the file {mask_digits(file.name[:80])} until {format_instant(file.expires_at)}"
    for id in campaigns:
        remedied = remedy.format(id=file.id)
        pauses.pause_campaign(tx, id, actor=ACTOR, why=f"{told}, and it was not renewed: {why}. {remedied}")
