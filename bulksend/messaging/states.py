"""The states of a message, one sentence each, and the moves that are allowed between them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Kind(StrEnum):
    """What a campaign is for; its lane (Celery queue), its priority and how long its secrets live."""

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
    """What a campaign wants for a message that may have gone out."""

    HOLD = "hold"
    RESEND = "resend"


class CampaignStatus(StrEnum):
    """Where a campaign is in its life."""

    INTAKE = "intake"
    """Rows are still being read; messages already taken in may be sent."""
    RUNNING = "running"
    """All rows are in; messages go out as they fall due."""
    PAUSED = "paused"
    """Nothing of it goes out until someone resumes it."""
    CANCELLED = "cancelled"
    """Ended by a person; messages that had not begun to be sent are cancelled."""
    FINISHED = "finished"
    """No message of it can still move without a person or a receipt."""


class Status(StrEnum):
    """Where a message is in its life."""

    QUEUED = "queued"
    """Taken in, waits for its due time and a worker; intake and rescue put it here, a claim takes it out."""
    RETRY = "retry"
    """As queued, after an attempt that was surely not sent; due again at ``due_at``."""
    CLAIMED = "claimed"
    """One worker holds it, nothing has left; that worker moves it on, rescue gives it back."""
    SENDING = "sending"
    """An attempt was opened and committed, a POST may be under way; its worker settles it, rescue makes it unknown."""
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
    UNKNOWN = "unknown"
    """It may have gone out; a receipt or a person settles it."""


S = Status

#: Waits in the ledger and may be claimed once due.
WAITING: frozenset[Status] = frozenset({S.QUEUED, S.RETRY})
#: Held by a worker.
HELD: frozenset[Status] = frozenset({S.CLAIMED, S.SENDING})
#: The vendor has it.
SENT: frozenset[Status] = frozenset({S.ACCEPTED, S.DELIVERED, S.READ})
#: Nothing more is done by the product itself. ``unknown`` is an ending that evidence may still move.
ENDED: frozenset[Status] = frozenset(set(Status) - WAITING - HELD)

#: Endings that say it was not sent. An attempt's evidence outranks them, see ``messaging.final_status``.
UNSENT: frozenset[Status] = frozenset({S.EXPIRED, S.SUPPRESSED, S.CANCELLED, S.FAILED})

#: What an attempt's evidence may raise a message to, by its answer or by a receipt: out of every status in which no
#: POST is under way, also where a second attempt was asked for and where the message was taken for not sent.
_EVIDENCE = frozenset(SENT | {S.UNKNOWN})
_FROM_WAITING = UNSENT | _EVIDENCE

MOVES: Mapping[Status, frozenset[Status]] = MappingProxyType(
    {
        S.QUEUED: _FROM_WAITING | {S.CLAIMED},
        S.RETRY: _FROM_WAITING | {S.CLAIMED},
        S.CLAIMED: _FROM_WAITING | {S.QUEUED, S.RETRY, S.SENDING},
        S.SENDING: frozenset({S.ACCEPTED, S.FAILED, S.RETRY, S.QUEUED, S.UNKNOWN, S.EXPIRED}),
        S.ACCEPTED: frozenset({S.DELIVERED, S.READ, S.FAILED}),
        S.DELIVERED: frozenset({S.READ}),
        S.READ: frozenset(),
        # A person's `campaigns retry` opens it again, on record.
        S.FAILED: _EVIDENCE | {S.QUEUED},
        # Failed: a receipt says that what the vendor took after all was not delivered.
        S.EXPIRED: _EVIDENCE | {S.FAILED},
        S.SUPPRESSED: _EVIDENCE | {S.FAILED},
        S.CANCELLED: _EVIDENCE | {S.FAILED},
        # A person settles it, on record; or its attempt's own answer comes late, and then all is possible that
        # follows from an answer; or a receipt. Cancelled: its last doubt is cleared after its campaign was cancelled.
        S.UNKNOWN: SENT | {S.FAILED, S.RETRY, S.QUEUED, S.EXPIRED, S.CANCELLED},
    }
)


def may_move(before: Status, after: Status) -> bool:
    """Whether the table of moves allows ``before`` -> ``after``."""
    return after in MOVES[before]
