"""What stops a message from going out now: one list, for doctor, send and campaigns show."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bulksend.messaging.units import format_in_zone

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from bulksend.ledger.campaigns import Campaign
    from bulksend.ledger.database import Database
    from bulksend.settings import Settings

#: Less room than this on a disk is said, in bytes: a busy ledger writes it within minutes.
LEAST_ROOM = 200 * 2**20


@dataclass(frozen=True, slots=True)
class Stop:
    """One thing that holds messages back, and what to do about it."""

    about: str
    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.about}: {self.found}; {self.remedy}"


def stops_now(of: Settings, database: Database, campaign: Campaign | None = None) -> list[Stop]:
    """By the ledger, the keys and the disks. With a ``campaign`` only what holds that one back.

    Raises LedgerUnreachable, LedgerUnfit.
    """
    with database.in_our_words(), database.read() as tx:
        return [
            *_pauses(tx, of, campaign),
            *_nobody_works(tx),
            *_missing_keys(tx, of, campaign),
            *_full_disks(of, database),
        ]


def _pauses(tx: Connection, of: Settings, campaign: Campaign | None) -> Iterator[Stop]:
    from bulksend.ledger import senders

    zone = (campaign.timezone if campaign is not None else None) or of.timezone or "UTC"
    account = senders.account_pause(tx, of.account())
    if account is not None:
        yield Stop(
            "account",
            f"paused since {_since(account[0], zone)}: {account[1]}",
            'bulksend account resume --why "…" once the cause is mended',
        )
    for sender in senders.listed(tx):
        if sender.paused_at is not None and (campaign is None or campaign.sender == sender.phone):
            yield Stop(
                "sender",
                f"{sender.phone} is paused since {_since(sender.paused_at, zone)}: {sender.pause_why}",
                f'bulksend senders resume {sender.phone} --why "…"',
            )
    if campaign is not None and campaign.paused_at is not None:
        yield Stop(
            "campaign",
            f"{campaign.name} is paused since {_since(campaign.paused_at, zone)}: {campaign.pause_why}",
            f'bulksend campaigns resume {campaign.id} --why "…"',
        )


def _since(ms: int, zone: str) -> str:
    return f"{format_in_zone(ms, zone)} ({zone})"


def _nobody_works(tx: Connection) -> Iterator[Stop]:
    from bulksend.ledger import leases

    if not leases.alive(tx):
        yield Stop(
            "workers",
            "no worker is at work: nothing goes out",
            "bulksend worker and bulksend relay, or bulksend up",
        )


def _missing_keys(tx: Connection, of: Settings, campaign: Campaign | None) -> Iterator[Stop]:
    from bulksend.ledger import campaigns, due
    from bulksend.ledger.keyfile import encryption_keys
    from bulksend.ledger.sealing import Sealer

    sealer = Sealer.from_text(encryption_keys(of))
    for each in campaigns.live(tx) if campaign is None else [campaign]:
        if any(not sealer.has_key_of(payload) for payload in due.next_payloads(tx, each.id)):
            yield Stop(
                "encryption key",
                f"messages of {each.name} are sealed with a key that is not set",
                "add the old key to BULKSEND_ENCRYPTION_KEY of every process, behind a comma",
            )
            return


def _full_disks(of: Settings, database: Database) -> Iterator[Stop]:
    places = {"spool": Path(of.spool_dir)}
    if database.is_sqlite and database.url.database:
        places["ledger"] = Path(database.url.database).parent
    for name, place in places.items():
        there = next((folder for folder in (place, *place.absolute().parents) if folder.is_dir()), None)
        if there is None:
            continue
        free = shutil.disk_usage(there).free
        if free < LEAST_ROOM:
            yield Stop(f"{name} disk", f"{free / 2**20:.0f} MiB are free at {there}", "make room")
