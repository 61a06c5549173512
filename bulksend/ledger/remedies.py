"""What the vendor's answer or receipt asks for beyond its message: a suppression, or a pause, on record."""

from __future__ import annotations

from sqlalchemy import Connection

from bulksend.ledger import pauses, senders, suppressions
from bulksend.ledger.clock import read_clock
from bulksend.messaging.outcome import Scope, Suppress
from bulksend.messaging.recipient import region_of

#: The source of suppressions that a code of the vendor asked for.
VENDOR = "vendor"


def suppress(
    tx: Connection,
    recipient: str,
    wanted: Suppress,
    *,
    code: int | None,
    why: str,
    actor: str,
    at: int | None = None,
) -> bool:
    """Suppress a recipient or its country, where ``code`` came on enough different days. Returns whether it did.

    ``at``: when the code came, in ms; now, if it is not given.
    """
    needs_days = wanted.after_days > 1 and code is not None
    if needs_days and suppressions.days_with_code(tx, recipient, code or 0) < wanted.after_days:
        return False
    subject = recipient
    if wanted.country:
        region = region_of(recipient)
        if region is None:
            return False
        subject = suppressions.COUNTRY + region
    until = None if wanted.for_ms is None else read_clock(tx) + wanted.for_ms
    source = suppressions.SWITCH if wanted.by_switch else VENDOR
    suppressions.add(
        tx, subject, scope=wanted.scope, reason=why, source=source, actor=actor, until=until, at=at
    )
    return True


def pause(tx: Connection, scope: Scope, id: str, *, why: str, actor: str) -> bool:
    """Pause a campaign, a sender or an account. Returns whether it was running."""
    if scope is Scope.CAMPAIGN:
        return pauses.pause_campaign(tx, id, actor=actor, why=why)
    if scope is Scope.SENDER:
        senders.register(tx, id)
        return pauses.pause_sender(tx, id, actor=actor, why=why)
    return pauses.pause_account(tx, id, actor=actor, why=why)
