"""A blast without a vendor: messages go through claim, write-ahead, settlement and receipts at a rate.

Beside it the relay's maintenance of each second: events are numbered, counts merged, minutes kept, hours rolled up.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.context import SpawnContext
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event

from sqlalchemy import update

from bench.stand import number
from bulksend.ledger import campaign_timeline, campaigns, counters, intake, leases, receipts, stats
from bulksend.ledger.claim import claim
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.event_numbers import number_committed
from bulksend.ledger.ids import new_id
from bulksend.ledger.message_rows import NewMessage
from bulksend.ledger.receipts import Receipt
from bulksend.ledger.schema import campaigns as table
from bulksend.ledger.settle import Settlement, settle
from bulksend.ledger.write_ahead import Opening, open_attempts
from bulksend.messaging.outcome import Accepted, Evidence
from bulksend.messaging.states import Status

TICK_S, HOUR_MS, STORED_AT_ONCE = 0.25, 3_600_000, 2_000
#: One message in this many gets no receipt.
WITHOUT_RECEIPT = 3


@dataclass(frozen=True, slots=True)
class Progress:
    """Between the process of the blast and the one that waits for it."""

    is_stored: Event
    may_begin: Event
    sent: Synchronized[int]


def progress(context: SpawnContext) -> Progress:
    """Of a blast that has not begun."""
    return Progress(context.Event(), context.Event(), context.Value("q", 0))


def blast(url: str, campaign_id: str, rate: float, seconds: float, of: Progress) -> None:
    """Store ``rate * seconds`` messages of the campaign, and take ``rate`` a second of them through their life."""
    database = Database(url, by_key=True)
    waiting = _store(database, campaign_id, int(rate * seconds))
    with database.write() as tx:
        lease, _ = leases.take(tx, "bench", HOUR_MS)
    of.is_stored.set()
    of.may_begin.wait()
    began = kept_at = time.monotonic()
    done = 0
    while done < len(waiting):
        due = min(len(waiting), int((time.monotonic() - began) * rate))
        if due > done:
            _send(database, waiting[done:due], lease)
            done = due
            of.sent.value = done
        if time.monotonic() - kept_at >= 1:
            kept_at = time.monotonic()
            _maintain(database)
        # A blast in real time: the next part goes out at the next tick.
        time.sleep(max(0.0, TICK_S - (time.monotonic() - began) % TICK_S))


def _store(database: Database, campaign_id: str, many: int) -> list[str]:
    """Rows that follow those of the campaign's file; the ids of their messages."""
    ids: list[str] = []
    with database.write() as tx:
        # Its file comes in until here.
        tx.execute(update(table).where(table.c.id == campaign_id).values(intake_done_at=None))
    for first in range(0, many, STORED_AT_ONCE):
        with database.write() as tx:
            campaign = campaigns.get(tx, campaign_id)
            before = campaign.rows_read
            rows = [_message(before + n + 1, campaign) for n in range(min(STORED_AT_ONCE, many - first))]
            stored = intake.store_chunk(
                tx, campaign, after_row=before, planned=rows, refused=(), cipher=Cipher([])
            )
            ids += stored.ready
    with database.write() as tx:
        done = update(table).where(table.c.id == campaign_id).values(intake_done_at=int(time.time() * 1000))
        tx.execute(done)
    return ids


def _message(row: int, of: campaigns.Campaign) -> NewMessage:
    to, body = number(row), {"v": {"name": f"Name {row}", "code": "SPRING"}}
    return NewMessage(row, to, False, to, of.sender, of.type, body, str(body), 0, None)


def _send(database: Database, ids: Sequence[str], lease: str) -> None:
    with database.write() as tx:
        claimed = claim(tx, ids, lease=lease, account="default")
    opened = [Opening(message, new_id()) for message in claimed]
    with database.write() as tx:
        open_attempts(tx, opened, lease=lease, account="default")
    with database.write() as tx:
        settle(tx, [_accepted(each) for each in opened])
    now = int(time.time() * 1000)
    told = [
        Receipt(each.attempt_id, "delivered", now) for n, each in enumerate(opened) if n % WITHOUT_RECEIPT
    ]
    with database.write() as tx:
        receipts.take(tx, told)


def _accepted(opening: Opening) -> Settlement:
    id = opening.attempt_id
    evidence = Evidence(200, 0, None, "", id, id, True, True, "")
    return Settlement(
        opening.message.id, id, Accepted(id, id), evidence, 51.2, Status.ACCEPTED, None, 1, 0, ""
    )


def _maintain(database: Database) -> None:
    for task in (number_committed, counters.merge_parts, campaign_timeline.keep, stats.roll_up):
        with database.write() as tx:
            task(tx)
