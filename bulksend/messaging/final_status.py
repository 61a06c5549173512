"""The final status of a message, from the effective outcomes of all its attempts.

An attempt that the vendor accepted outranks one that may have gone out, and both outrank every other status: failed,
expired, cancelled, suppressed. The ledger's statements are tested against ``final_status``.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from bulksend.messaging.states import Status


class EffectiveOutcome(StrEnum):
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
    (EffectiveOutcome.ACCEPTED, Status.ACCEPTED),
    (EffectiveOutcome.UNKNOWN, Status.UNKNOWN),
    (EffectiveOutcome.UNDELIVERED, Status.FAILED),
)


def effective_outcome(
    outcome: str | None, *, undelivered: bool = False, said_failed: bool = False
) -> EffectiveOutcome:
    """The fate of an attempt of this outcome (the ledger's word; None: still open).

    ``undelivered``: a receipt for its MessageId says failed. ``said_failed``: a person resolved the message as failed
    after the attempt began.
    """
    if undelivered:
        return EffectiveOutcome.UNDELIVERED
    if outcome == "accepted":
        return EffectiveOutcome.ACCEPTED
    if outcome in ("unknown", None) and not said_failed:
        return EffectiveOutcome.UNKNOWN
    return EffectiveOutcome.NOT_SENT


def final_status(outcomes: Iterable[EffectiveOutcome], otherwise: Status) -> Status:
    """Where a message ends whose attempts have these fates; ``otherwise`` where none of them says anything."""
    known = set(outcomes)
    return next((status for effective_outcome, status in _SAYS if effective_outcome in known), otherwise)
