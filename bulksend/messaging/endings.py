"""What became of a message, from all its attempts: the one place that ranks them.

An attempt that the vendor accepted outranks one that may have gone out, and both outrank every other word about the
message: that it failed, expired, was cancelled or suppressed. The ledger's statements are tested against ``ending``.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from bulksend.messaging.states import Status


class Fate(StrEnum):
    """What is known of one attempt: its outcome, corrected by receipts and by a person's word."""

    NOT_SENT = "not_sent"
    """Refused, throttled or surely not sent; or unknown, and a person resolved the message as failed since."""
    UNDELIVERED = "undelivered"
    """The vendor took it, and a receipt says that it failed."""
    UNKNOWN = "unknown"
    """It may have gone out."""
    ACCEPTED = "accepted"
    """The vendor took it."""


#: What each fate makes of the message, the strongest first. NOT_SENT says nothing.
_SAYS = (
    (Fate.ACCEPTED, Status.ACCEPTED),
    (Fate.UNKNOWN, Status.UNKNOWN),
    (Fate.UNDELIVERED, Status.FAILED),
)


def fate(outcome: str | None, *, undelivered: bool = False, said_failed: bool = False) -> Fate:
    """The fate of an attempt of this outcome (the ledger's word; None: still open).

    ``undelivered``: a receipt for its MessageId says failed. ``said_failed``: a person resolved the message as failed
    after the attempt began.
    """
    if undelivered:
        return Fate.UNDELIVERED
    if outcome == "accepted":
        return Fate.ACCEPTED
    if outcome in ("unknown", None) and not said_failed:
        return Fate.UNKNOWN
    return Fate.NOT_SENT


def ending(fates: Iterable[Fate], otherwise: Status) -> Status:
    """Where a message ends whose attempts have these fates; ``otherwise`` where none of them says anything."""
    known = set(fates)
    return next((status for fate, status in _SAYS if fate in known), otherwise)
