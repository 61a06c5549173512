"""The outcomes of an attempt, a closed set, and the remedy that the vendor's answer asks for.

Evidence decides between them, never the name of an exception: the vendor certainly has the message (``Accepted``),
certainly did not send it (``Refused``, ``Throttled``, ``NotSent``), or may have sent it (``Unknown``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Scope(StrEnum):
    """What a pause, a slowdown or a limit applies to."""

    PAIR = "pair"
    CAMPAIGN = "campaign"
    SENDER = "sender"
    ACCOUNT = "account"


class Retry(StrEnum):
    """Whether the same message may be POSTed again."""

    NEVER = "never"
    """This message has ended."""
    BACKOFF = "backoff"
    """Later, with exponential backoff and full jitter; counts as a try."""
    FEW = "few"
    """As BACKOFF, at most twice, then it fails."""
    FREE = "free"
    """Back to the queue without counting a try: the cause is not the message."""


@dataclass(frozen=True, slots=True)
class Suppress:
    """Stop sending to this recipient: ``scope`` is ``marketing`` or ``all``."""

    scope: str
    for_ms: int | None = None
    """How long, in milliseconds; None until a person removes it."""
    after_days: int = 1
    """Only after this code occurred on this many different days."""
    country: bool = False
    """The recipient's whole country, not only the number."""
    by_switch: bool = False
    """The person asked for it by WhatsApp's own switch, which can lift it too."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """What a row of the table of error codes asks for, besides its outcome."""

    retry: Retry = Retry.NEVER
    never_otp: bool = False
    """No retry of one-time codes: probably nothing was sent, but no source confirms it."""
    min_wait_ms: int = 0
    """The shortest wait in milliseconds; the backoff can only lengthen it."""
    pair_backoff: bool = False
    """Wait 4**X seconds, X counted from 0 (WhatsApp's rule for 131056)."""
    pause: Scope | None = None
    pause_after: int = 1
    """Pause after this many attempts in a row with this result; 1 pauses at once."""
    slow: Scope | None = None
    breaker: bool = False
    """Evidence of an outage: too many of these in a row open the circuit breaker."""
    suppress: Suppress | None = None
    alert: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """RetCode 0 with a MessageId: the vendor has the message, which is not yet delivered."""

    message_id: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The vendor answered that it did not send it."""

    code: str
    why: str
    remedy: Remedy = field(default_factory=Remedy)


@dataclass(frozen=True, slots=True)
class NotSent:
    """Certainly nothing that the vendor could act on left this machine."""

    why: str
    remedy: Remedy = field(default_factory=lambda: Remedy(retry=Retry.BACKOFF, breaker=True))


@dataclass(frozen=True, slots=True)
class Throttled:
    """Certainly not sent, because a rate was exceeded. Waiting costs no try."""

    code: str
    why: str
    scope: Scope
    retry_after_ms: int | None = None
    remedy: Remedy = field(default_factory=lambda: Remedy(retry=Retry.FREE))


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have gone out. Never rounded to yes or no."""

    why: str
    code: str = ""
    remedy: Remedy = field(default_factory=lambda: Remedy(retry=Retry.NEVER, breaker=True))


Outcome = Accepted | Refused | NotSent | Throttled | Unknown


class Evidence(NamedTuple):
    """What was observed of one POST. Kept with the attempt, so that a person can judge it later."""

    http_status: int | None = None
    ret_code: int | None = None
    whatsapp_code: int | None = None
    vendor_message: str = ""
    """The vendor's own words, at most 500 characters, phone numbers masked."""
    request_id: str = ""
    message_id: str = ""
    bytes_sent: bool | None = False
    """Whether any byte of the request was handed to the kernel for this connection; None: not known."""
    reply_began: bool | None = False
    """Whether any byte of a reply was read; None: not known."""
    error: str = ""
    """The class of the transport's error, never its text."""


class Answer(NamedTuple):
    """An outcome with its evidence."""

    outcome: Outcome
    evidence: Evidence
