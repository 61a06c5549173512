"""What may change of a campaign after it was created: its name, its rate and, before it begins, its due time.

Workers and the relay read the rate again every second. A new due time is also that of its messages; the first of them
get it at once, the relay moves the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, select, text, update

from bulksend.errors import WrongState
from bulksend.ledger import operator_log
from bulksend.ledger.campaign_control import check_allowed
from bulksend.ledger.campaigns import Campaign, get
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database, prefer_indexes
from bulksend.ledger.schema import WAITING_SQL, campaigns, messages
from bulksend.messaging.states import CampaignStatus
from bulksend.messaging.units import format_instant

#: The most messages that a change moves itself, and the most of one transaction. The relay moves the rest.
MOVED_AT_ONCE, MOVE_CHUNK = 20_000, 2_000
_ENDED = (CampaignStatus.CANCELLED, CampaignStatus.FINISHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSettings:
    """New values by the names of the ledger's columns; None: as it is. A ``rate`` of 0 is the sender's rate."""

    name: str | None = None
    rate: float | None = None
    due_at: int | None = None

    def values(self) -> dict[str, Any]:
        """The columns to change."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        values = {name: value for name, value in given.items() if value is not None}
        return values | ({"rate": self.rate or None} if self.rate is not None else {})


def change(database: Database, id: str, new: NewSettings, *, actor: str, why: str) -> bool:
    """Change the settings of a campaign, on record. Returns whether one of them differs.

    Raises WrongState: for a due time when the campaign has begun, is taken in or being moved; for a rate when it has
    ended.
    """
    changed = database.retrying(lambda tx: _change(tx, id, new, actor=actor, why=why))
    moved = 0
    while changed and new.due_at is not None and moved < MOVED_AT_ONCE:
        count = database.retrying(lambda tx: move_messages(tx, id, MOVE_CHUNK))
        if not count:
            break
        moved += count
    return changed


def _change(tx: Connection, id: str, new: NewSettings, *, actor: str, why: str) -> bool:
    # Its row is locked, so that no intake and no other change comes between.
    tx.execute(update(campaigns).where(campaigns.c.id == id).values(rows_read=campaigns.c.rows_read))
    campaign = get(tx, id)
    check_allowed(campaign, "set")
    before = {name: getattr(campaign, name) for name in new.values()}
    before, after = operator_log.changes(before, new.values())
    if not after:
        return False
    if campaign.status in _ENDED and set(after) - {"name"}:
        raise WrongState(
            f"campaign {id} ({campaign.name}) is {campaign.status.value}: only its name can change"
        )
    if "due_at" in after:
        _check_movable(tx, campaign)
        after["moved_from"] = campaign.due_at
    tx.execute(update(campaigns).where(campaigns.c.id == id).values(**after))
    operator_log.record(
        tx,
        actor=actor,
        act="set",
        scope="campaign",
        subject=id,
        why=why,
        before=_shown(before),
        after=_shown({name: after[name] for name in before}),
    )
    return True


def _check_movable(tx: Connection, campaign: Campaign) -> None:
    named = f"campaign {campaign.id} ({campaign.name})"
    if campaign.intake_done_at is None:
        raise WrongState(f"{named} is being taken in; change its due time when it is `running`")
    if campaign.moved_from is not None:
        raise WrongState(f"{named} is being moved to another due time; try again in some seconds")
    if campaign.due_at <= read_clock(tx):
        raise WrongState(
            f"{named} has begun at {format_instant(campaign.due_at)}; pause it and resume it at the time you want"
        )


def _shown(values: dict[str, Any]) -> dict[str, Any]:
    due_at = values.get("due_at")
    return values if due_at is None else values | {"due_at": format_instant(due_at)}


def move_messages(tx: Connection, id: str, limit: int) -> int:
    """Move up to ``limit`` messages to the campaign's due time; returns how many. The move is over when there are none.

    A message with a time of its own in the file keeps it, and so does one that waits for a retry.
    """
    campaign = get(tx, id)
    if campaign.moved_from is None:
        return 0
    prefer_indexes(tx)
    wanted = (
        select(messages.c.id)
        .where(text(f"messages.{WAITING_SQL}"), messages.c.campaign_id == id)
        .where(messages.c.due_at == campaign.moved_from, messages.c.attempts == 0)
        .order_by(messages.c.due_at, messages.c.id)
        .limit(limit)
    )
    by = campaign.due_at - campaign.moved_from
    moved = tx.execute(
        update(messages)
        .where(messages.c.id.in_(wanted))
        .values(
            due_at=messages.c.due_at + by,
            expires_at=messages.c.expires_at + by,
            first_due_at=messages.c.first_due_at + by,
        )
    ).rowcount
    if moved < limit:
        tx.execute(update(campaigns).where(campaigns.c.id == id).values(moved_from=None))
    return moved


def move_rest(tx: Connection, limit: int = 5000) -> int:
    """Move up to ``limit`` messages of one campaign that a change left behind; returns how many."""
    id = tx.execute(select(campaigns.c.id).where(campaigns.c.moved_from.is_not(None)).limit(1)).scalar()
    return 0 if id is None else move_messages(tx, str(id), limit)
