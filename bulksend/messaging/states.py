"""The states of a message, one sentence each, and the moves that are allowed between them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Kind(StrEnum):
    """The purpose of a campaign. It decides the lane (Celery queue), the priority and how long secrets are kept."""

    OTP = "otp"
    UTILITY = "utility"
    MARKETING = "marketing"


#: Lanes in the order in which they are served.
LANES: tuple[Kind, ...] = (Kind.OTP, Kind.UTILITY, Kind.MARKETING)


class MessageType(StrEnum):
    """The vendor's eight content types (SendMessage ``Type``)."""

    TEXT = "text"
    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    DOCUMENT = "document"
    LOCATION = "location"
    STICKER = "sticker"
    TEMPLATE = "template"


class OnUnknown(StrEnum):
    """What a campaign does with a message that may have gone out."""

    HOLD = "hold"
    RESEND = "resend"


class CampaignStatus(StrEnum):
    """The status of a campaign."""

    INTAKE = "intake"
    """Rows are still being read; messages already taken in may be sent."""
    RUNNING = "running"
    """All rows are in; messages go out as they fall due."""
    PAUSED = "paused"
    """None of its messages goes out until a person resumes it."""
    CANCELLED = "cancelled"
    """Ended by a person; messages that had not begun to be sent are cancelled."""
    FINISHED = "finished"
    """Only a person or a receipt can still move any of its messages."""


class Status(StrEnum):
    """The status of a message."""

    QUEUED = "queued"
    """Taken in, waits for its due time and a worker."""
    RETRY = "retry"
    """As queued, after an attempt that was surely not sent; due again at ``due_at``."""
    CLAIMED = "claimed"
    """It waits, one worker holds it, nothing has left; that worker moves it on, rescue gives it back."""
    SENDING = "sending"
    """It waits, its attempt is open, a POST may be under way; its worker settles it, rescue makes it unknown."""
    ACCEPTED = "accepted"
    """The vendor took it and gave a MessageId; receipts move it on."""
    DELIVERED = "delivered"
    """It reached the recipient's device, says a receipt."""
    READ = "read"
    """The recipient read it, says a receipt."""
    FAILED = "failed"
    """Refused for good, or its tries are spent."""
    EXPIRED = "expired"
    """Its time to live passed before a POST began."""
    SUPPRESSED = "suppressed"
    """The recipient must not get this kind of message."""
    CANCELLED = "cancelled"
    """Its campaign was cancelled before a POST of it could have reached the vendor."""
    SUPERSEDED = "superseded"
    """A newer one-time code for the same person and purpose was sent in its place."""
    UNKNOWN = "unknown"
    """It may have gone out; a receipt or a person settles it."""


S = Status

#: Waits in the ledger, and can be claimed when due.
WAITING: frozenset[Status] = frozenset({S.QUEUED, S.RETRY})
#: Held by a worker: what a message that waits is shown as while it is in flight. Its own row has neither of them.
HELD: frozenset[Status] = frozenset({S.CLAIMED, S.SENDING})
#: Not ended: it waits, or a worker has it.
LEFT: frozenset[Status] = WAITING | HELD
#: The vendor has it.
SENT: frozenset[Status] = frozenset({S.ACCEPTED, S.DELIVERED, S.READ})
#: The product itself does nothing more. ``unknown`` is an ending that evidence may still move.
ENDED: frozenset[Status] = frozenset(set(Status) - LEFT)

#: Endings that say it was not sent. An attempt's evidence outranks them, see ``messaging.final_status``.
UNSENT: frozenset[Status] = frozenset({S.EXPIRED, S.SUPPRESSED, S.CANCELLED, S.SUPERSEDED, S.FAILED})

#: Evidence of an attempt, its answer or a receipt, may move a message to these from every status, also when a second
#: attempt was asked for or the message counted as not sent.
_EVIDENCE = frozenset(SENT | {S.UNKNOWN})
_FROM_WAITING = UNSENT | _EVIDENCE

MOVES: Mapping[Status, frozenset[Status]] = MappingProxyType(
    {
        S.QUEUED: _FROM_WAITING | {S.RETRY},
        S.RETRY: _FROM_WAITING,
        # Unknown: a receipt says that it was not delivered, and another attempt of it may have gone out.
        S.ACCEPTED: frozenset({S.DELIVERED, S.READ, S.FAILED, S.UNKNOWN}),
        S.DELIVERED: frozenset({S.READ}),
        S.READ: frozenset(),
        # A person's `campaigns retry` opens it again, on record.
        S.FAILED: _EVIDENCE | {S.QUEUED},
        # Failed: a receipt says that what the vendor took after all was not delivered.
        S.EXPIRED: _EVIDENCE | {S.FAILED},
        S.SUPPRESSED: _EVIDENCE | {S.FAILED},
        S.CANCELLED: _EVIDENCE | {S.FAILED},
        S.SUPERSEDED: _EVIDENCE | {S.FAILED},
        # A person settles it, on record; or a receipt, or the late answer of its attempt, with all that can follow
        # from one. Cancelled: evidence that it was not sent comes after its campaign was cancelled.
        S.UNKNOWN: SENT | {S.FAILED, S.RETRY, S.QUEUED, S.EXPIRED, S.CANCELLED},
    }
)


def may_move(before: Status, after: Status) -> bool:
    """Whether the table of moves allows ``before`` -> ``after``."""
    return after in MOVES[before]
