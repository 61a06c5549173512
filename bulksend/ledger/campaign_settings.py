"""What may change of a campaign after it was created: name, rate, weight, limit of failures, and its due time.

Workers and the relay read rate and weight again every second. Before a campaign begins, a new due time is also that of
its messages; the first of them get it at once, the relay moves the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, text, update

from bulksend.errors import WrongState
from bulksend.ledger import operator_log, pauses
from bulksend.ledger.campaign_control import check_allowed
from bulksend.ledger.campaigns import Campaign, get
from bulksend.ledger.clock import read_clock
from bulksend.ledger.content_checks import check_resume
from bulksend.ledger.database import Database, prefer_indexes
from bulksend.ledger.schema import WAITING_SQL, campaigns, messages
from bulksend.messaging import quiet_hours
from bulksend.messaging.states import CampaignStatus
from bulksend.messaging.units import NEVER_MS, format_due, format_instant

#: The most messages that a change moves itself, and the most of one transaction. The relay moves the rest.
MOVED_AT_ONCE, MOVE_CHUNK = 20_000, 2_000
#: Why a campaign without a schedule is paused.
UNSCHEDULED = "not scheduled; `bulksend campaigns set ID --at TIME` schedules it again"
_ENDED = (CampaignStatus.CANCELLED, CampaignStatus.FINISHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSettings:
    """New values by the names of the ledger's columns; None: as it is. A ``rate`` of 0 is the sender's rate."""

    name: str | None = None
    rate: float | None = None
    due_at: int | None = None
    max_failed: float | None = None
    weight: int | None = None

    def values(self) -> dict[str, Any]:
        """The columns to change."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        values = {name: value for name, value in given.items() if value is not None}
        return values | ({"rate": self.rate or None} if self.rate is not None else {})


def change(database: Database, id: str, new: NewSettings, *, actor: str, why: str) -> bool:
    """Change the settings of a campaign, on record. Returns whether one of them differs.

    Raises WrongState: for a due time when the campaign has begun, is taken in or being moved; for a rate when it has
    ended; for a due time of one that is not scheduled, while its template cannot be sent.
    """
    changed = database.retrying(lambda tx: _change(tx, id, new, actor=actor, why=why))
    if changed and new.due_at is not None:
        _move_at_once(database, id)
    return changed


def unschedule(database: Database, id: str, *, actor: str, why: str) -> bool:
    """Take a campaign that has not begun off its schedule: it is paused, and due when ``change`` gives it a time.

    Its messages do not expire meanwhile, except those with a time of their own in the file. Returns whether it was
    scheduled. Raises WrongState as ``change`` for a due time.
    """
    changed = database.retrying(lambda tx: _unschedule(tx, id, actor=actor, why=why))
    if changed:
        _move_at_once(database, id)
    return changed


def _unschedule(tx: Connection, id: str, *, actor: str, why: str) -> bool:
    campaign = _locked(tx, id)
    check_allowed(campaign, "unschedule")
    if campaign.is_unscheduled or campaign.status in _ENDED:
        return False
    _check_movable(tx, campaign)
    _record(tx, id, "unschedule", why, actor, {"due_at": campaign.due_at}, {"due_at": NEVER_MS})
    pauses.pause_campaign(tx, id, actor=actor, why=UNSCHEDULED)
    values = {"due_at": NEVER_MS, "moved_from": campaign.due_at}
    tx.execute(update(campaigns).where(campaigns.c.id == id).values(**values))
    return True


def check_scheduled(campaign: Campaign) -> None:
    """Raises WrongState for a campaign that a resume would send at no time."""
    if campaign.is_unscheduled and campaign.status is CampaignStatus.PAUSED:
        raise WrongState(
            f"campaign {campaign.id} ({campaign.name}) is not scheduled; `bulksend campaigns set {campaign.id} --at "
            "TIME` schedules it and lets it go on; the present time sends it now"
        )


def _move_at_once(database: Database, id: str) -> None:
    moved = 0
    while moved < MOVED_AT_ONCE:
        count = database.retrying(lambda tx: move_messages(tx, id, MOVE_CHUNK))
        if not count:
            return
        moved += count


def _change(tx: Connection, id: str, new: NewSettings, *, actor: str, why: str) -> bool:
    campaign = _locked(tx, id)
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
    _record(tx, id, "set", why, actor, before, {name: after[name] for name in before})
    if campaign.is_unscheduled and "due_at" in before:
        check_resume(tx, campaign)
        pauses.resume_campaign(tx, id, actor=actor, why="scheduled again")
    return True


def _locked(tx: Connection, id: str) -> Campaign:
    """The campaign, its row locked, so that no intake and no other change comes between."""
    tx.execute(update(campaigns).where(campaigns.c.id == id).values(rows_read=campaigns.c.rows_read))
    return get(tx, id)


def _record(
    tx: Connection,
    id: str,
    act: str,
    why: str,
    actor: str,
    before: dict[str, Any],
    after: dict[str, Any],
) -> None:
    operator_log.record(
        tx,
        actor=actor,
        act=act,
        scope="campaign",
        subject=id,
        why=why,
        before=_shown(before),
        after=_shown(after),
    )


def _check_movable(tx: Connection, campaign: Campaign) -> None:
    named = f"{campaign.id} ({campaign.name})"
    if campaign.intake_done_at is None:
        raise WrongState(f"campaign {named} is being taken in; change its due time when it is `running`")
    if campaign.local_time is not None:
        raise WrongState(
            f"campaign {named} is due at {campaign.local_time} at the recipients', each message at a time of its own; "
            "pause it, or cancel it and send it again"
        )
    if campaign.moved_from is not None:
        raise WrongState(f"campaign {named} is being moved to another due time; try again in some seconds")
    if campaign.due_at <= read_clock(tx):
        raise WrongState(
            f"campaign {named} has begun at {format_instant(campaign.due_at)}; pause it and resume it at the "
            "time you want"
        )


def _shown(values: dict[str, Any]) -> dict[str, Any]:
    due_at = values.get("due_at")
    return values if due_at is None else values | {"due_at": format_due(due_at)}


def move_messages(tx: Connection, id: str, limit: int) -> int:
    """Move up to ``limit`` messages to the campaign's due time; returns how many. The move is over when there are none.

    A message with a time of its own in the file keeps it, and so does one that waits for a retry. One that quiet hours
    made due later is moved where it would else be sent before the due time, or could be sent earlier.
    """
    campaign = get(tx, id)
    if campaign.moved_from is None:
        return 0
    prefer_indexes(tx)
    moved = _move(tx, campaign, messages.c.due_at == campaign.moved_from, limit)
    if moved < limit:
        moved += _move(
            tx, campaign, _held_by_quiet_hours(campaign.moved_from, campaign.due_at), limit - moved
        )
    if moved < limit:
        tx.execute(update(campaigns).where(campaigns.c.id == id).values(moved_from=None))
    return moved


def _held_by_quiet_hours(moved_from: int, due_at: int) -> ColumnElement[bool]:
    """Which of them to move: all to an earlier due time, to a later one those that are due before it."""
    held = (messages.c.gate == quiet_hours.GATE) & (messages.c.due_at > moved_from)
    return held if due_at < moved_from else held & (messages.c.due_at < due_at)


def _move(tx: Connection, campaign: Campaign, which: ColumnElement[bool], limit: int) -> int:
    wanted = (
        select(messages.c.id)
        .where(text(f"messages.{WAITING_SQL}"), messages.c.campaign_id == campaign.id)
        .where(which, messages.c.attempts == 0)
        .order_by(messages.c.due_at, messages.c.id)
        .limit(limit)
    )
    by = campaign.due_at - messages.c.due_at
    return tx.execute(
        update(messages)
        .where(messages.c.id.in_(wanted))
        .values(
            due_at=campaign.due_at,
            expires_at=messages.c.expires_at + by,
            first_due_at=messages.c.first_due_at + by,
            gate=None,
        )
    ).rowcount


def move_rest(tx: Connection, limit: int = 5000) -> int:
    """Move up to ``limit`` messages of one campaign that a change left behind; returns how many."""
    id = tx.execute(select(campaigns.c.id).where(campaigns.c.moved_from.is_not(None)).limit(1)).scalar()
    return 0 if id is None else move_messages(tx, str(id), limit)
