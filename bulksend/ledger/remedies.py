"""What the vendor's answer or receipt asks for beyond its message: a suppression, or a pause, on record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from bulksend.ledger import pauses, senders, suppressions
from bulksend.ledger.clock import read_clock
from bulksend.messaging.outcome import Scope, Suppress
from bulksend.messaging.recipient import region_of

#: The source of suppressions that a code of the vendor asked for.
VENDOR = "vendor"


def suppress(
    tx: Connection,
    asked: Mapping[str, int | None],
    wanted: Suppress,
    *,
    code: int | None,
    why: str,
    actor: str,
) -> int:
    """Suppress recipients or their countries, where ``code`` came on enough different days. Returns how many.

    ``asked``: when the code came for each recipient, in ms; None: now.
    """
    if wanted.after_days > 1 and code is not None:
        days = suppressions.days_with_code(tx, asked, code)
        asked = {recipient: at for recipient, at in asked.items() if days[recipient] >= wanted.after_days}
    if wanted.country:
        regions = {region: at for recipient, at in asked.items() if (region := region_of(recipient))}
        asked = {suppressions.COUNTRY + region: at for region, at in regions.items()}
    if asked:
        until = None if wanted.for_ms is None else _newest(tx, asked.values()) + wanted.for_ms
        source = suppressions.SWITCH if wanted.by_switch else VENDOR
        suppressions.add(tx, asked, scope=wanted.scope, reason=why, source=source, actor=actor, until=until)
    return len(asked)


def _newest(tx: Connection, asked_at: Iterable[int | None]) -> int:
    """The newest of the times. A span counts from it: callbacks that were stored for days begin no new cool-down."""
    now = read_clock(tx)
    return max(now if at is None else min(at, now) for at in asked_at)


def pause(tx: Connection, scope: Scope, id: str, *, why: str, actor: str) -> bool:
    """Pause a campaign, a sender or an account. Returns whether it was running."""
    if scope is Scope.CAMPAIGN:
        return pauses.pause_campaign(tx, id, actor=actor, why=why)
    if scope is Scope.SENDER:
        senders.register(tx, id)
        return pauses.pause_sender(tx, id, actor=actor, why=why)
    return pauses.pause_account(tx, id, actor=actor, why=why)
