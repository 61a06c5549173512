"""What an attempt came to, as a closed set, and what the vendor's answer asks us to do about it.

The three that matter are told apart by evidence, never by an exception's name: the vendor *surely has it*
(:class:`Accepted`), *surely did not send it* (:class:`Refused`, :class:`Throttled`, :class:`NotSent`), or
*may have* (:class:`Unknown`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Scope(StrEnum):
    """How far a pause, a slow-down or a limit reaches."""

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
    """Back to the queue without counting a try: what stood in its way was not its own fault."""


@dataclass(frozen=True, slots=True)
class Suppress:
    """Stop sending to this recipient: ``scope`` is ``marketing`` or ``all``."""

    scope: str
    for_ms: int | None = None
    """How long, in milliseconds; None is until a person lifts it."""
    after_days: int = 1
    """Only once this code was seen on so many different days."""
    country: bool = False
    """The recipient's whole country, not only the number."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """What a row of the classification table asks for, besides naming the outcome."""

    retry: Retry = Retry.NEVER
    never_otp: bool = False
    """The retry is not for one-time codes: that nothing was sent is likely, but nobody vouches for it."""
    min_wait_ms: int = 0
    """Not before so many milliseconds, whatever the backoff says."""
    pair_backoff: bool = False
    """Wait 4**X seconds, X counted from 0 (WhatsApp's rule for 131056)."""
    pause: Scope | None = None
    pause_after: int = 1
    """Pause only when so many in a row ended like this; 1 pauses at once."""
    slow: Scope | None = None
    breaker: bool = False
    """Evidence of an outage: too many of these in a row open the circuit breaker."""
    suppress: Suppress | None = None
    alert: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """RetCode 0 with a MessageId. Accepted, not delivered."""

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
    """Surely nothing that the vendor could act on left this machine."""

    why: str
    remedy: Remedy = field(default_factory=lambda: Remedy(retry=Retry.BACKOFF, breaker=True))


@dataclass(frozen=True, slots=True)
class Throttled:
    """Surely not sent, because a rate was exceeded; waiting costs no try."""

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
    """What was seen of one POST: kept with the attempt, so that a person can judge it later."""

    http_status: int | None = None
    ret_code: int | None = None
    whatsapp_code: int | None = None
    vendor_message: str = ""
    """The vendor's own words, at most 500 characters, phone numbers masked."""
    request_id: str = ""
    message_id: str = ""
    bytes_sent: bool = False
    """Whether any byte of the request was handed to the kernel for this connection."""
    reply_began: bool = False
    """Whether any byte of a reply was read."""
    error: str = ""
    """The class of the transport's error, never its text."""


class Answer(NamedTuple):
    """An outcome together with the evidence it rests on."""

    outcome: Outcome
    evidence: Evidence
