"""What the vendor says about senders and the account, in notices and lists: kept, on record, and told as events.

Notices come twice and in any order, and a list may be older than a notice: what is older does not replace anything.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, select, update

from bulksend.ledger import events, operator_log, pauses
from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.campaigns import IS_ACTIVE
from bulksend.ledger.clock import read_clock
from bulksend.ledger.schema import acts, campaigns, senders
from bulksend.messaging.sender_quality import LOW_QUALITY, is_low_quality
from bulksend.messaging.states import Kind

_DAY_MS = 86_400_000


class SenderChange(NamedTuple):
    """A notice about a business number; without ``phone`` about all of them. Empty fields are not told."""

    phone: str
    status: str = ""
    quality: str = ""
    tier: str = ""
    event: str = ""
    at: int | None = None
    why: str = ""
    """Where it is no notice: for the operator log."""


def change_sender(tx: Connection, change: SenderChange, *, actor: str) -> bool:
    """Keep what a notice says about a sender on record, or about all of them. Returns whether anything changed."""
    wanted = select(senders).with_for_update()
    if change.phone:
        wanted = wanted.where(senders.c.phone == change.phone)
    told = {
        name: storable(value, most)
        for name, value, most in (
            ("status", change.status, 40),
            ("quality", change.quality, 20),
            ("tier", change.tier, 40),
        )
        if value
    }
    at = read_clock(tx) if change.at is None else change.at
    changed = False
    for row in tx.execute(wanted).mappings().all():
        if row["changed_at"] is not None and at < row["changed_at"]:
            continue
        old, new = operator_log.changes(dict(row), told)
        if not new:
            continue
        tx.execute(update(senders).where(senders.c.phone == row["phone"]).values(**new, changed_at=at))
        why = change.why or f"the vendor's notice {change.event}".strip()
        operator_log.record(
            tx,
            actor=actor,
            act="change",
            scope="sender",
            subject=row["phone"],
            why=why,
            before=old,
            after=new,
        )
        events.add(tx, "sender.changed", {"sender": row["phone"], "before": old, "after": new})
        if is_low_quality(new.get("quality")):
            _pause_marketing(tx, row["phone"], actor=actor)
        changed = True
    return changed


def _pause_marketing(tx: Connection, phone: str, *, actor: str) -> None:
    """Pause the marketing campaigns of a sender whose quality fell: more of them would cost it its limit."""
    c = campaigns.c
    found = select(c.id).where(c.sender == phone, c.kind == Kind.MARKETING.value, IS_ACTIVE)
    for id in tx.execute(found).scalars().all():
        pauses.pause_campaign(tx, str(id), actor=actor, why=LOW_QUALITY.format(sender=phone))


def tell_account(tx: Connection, account: str, event: str, detail: str, *, actor: str) -> None:
    """Put a notice about the account on record, unless the same came within a day."""
    why = storable(f"{event}: {detail}" if detail else event, 500)
    same = (acts.c.act == "notice") & (acts.c.why == why) & (acts.c.at > read_clock(tx) - _DAY_MS)
    is_known = select(acts.c.id).where(acts.c.scope == "account", acts.c.subject == account, same)
    if tx.execute(is_known.limit(1)).first() is not None:
        return
    operator_log.record(tx, actor=actor, act="notice", scope="account", subject=account, why=why)
