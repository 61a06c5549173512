"""The final status of a message, from the effective outcomes of all its attempts.

An attempt that the vendor accepted outranks one that may have gone out, and both outrank every other status: failed,
expired, cancelled, suppressed. The ledger's statements are tested against ``final_status``.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from bulksend.messaging.states import Status


class EffectiveOutcome(StrEnum):
    """An attempt's outcome, corrected by receipts and by what a person decided."""

    NOT_SENT = "not_sent"
    """Refused, throttled or certainly not sent; or unknown, and a person has resolved the message as failed since."""
    UNDELIVERED = "undelivered"
    """The vendor took it, and a receipt says that it failed."""
    UNKNOWN = "unknown"
    """It may have gone out."""
    ACCEPTED = "accepted"
    """The vendor took it."""


#: The status of a message by its attempts' outcomes, the strongest first. NOT_SENT gives none.
_STATUS_OF = (
    (EffectiveOutcome.ACCEPTED, Status.ACCEPTED),
    (EffectiveOutcome.UNKNOWN, Status.UNKNOWN),
    (EffectiveOutcome.UNDELIVERED, Status.FAILED),
)


def effective_outcome(
    outcome: str | None, *, undelivered: bool = False, said_failed: bool = False
) -> EffectiveOutcome:
    """The effective outcome of an attempt with this outcome in the ledger (None: still open).

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
    """The final status of a message with these effective outcomes; ``otherwise`` when none of them gives one."""
    known = set(outcomes)
    return next((status for outcome, status in _STATUS_OF if outcome in known), otherwise)
