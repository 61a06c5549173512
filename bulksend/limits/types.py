"""The limiter's types: an ask, its answer (a permit or a wait), and the gate that a wait names.

Instants are Redis's clock, milliseconds since the epoch, fractional. Rates are messages per second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from bulksend.limits.rules import PROBE_LATE_MS, SLICE_MS
from bulksend.messaging import account_quota, quiet_hours
from bulksend.messaging.outcome import Scope
from bulksend.messaging.states import Kind


class Gate(StrEnum):
    """What can hold a message. Due time, backoff and quiet hours are only named here: others decide them."""

    DUE_TIME = "due_time"
    BACKOFF = "backoff"
    SENDER_RATE = "sender_rate"
    ACCOUNT_RATE = "account_rate"
    CAMPAIGN_RATE = "campaign_rate"
    PAIR_RATE = "pair_rate"
    QUOTA = account_quota.GATE
    SENDER_PAUSED = "sender_paused"
    CAMPAIGN_PAUSED = "campaign_paused"
    ACCOUNT_PAUSED = "account_paused"
    OUTAGE = "outage"
    COLD = "cold"
    """The limiter lost its memory or cannot be reached, and does not know yet what limits the message."""
    CANARY = "canary"
    """The ledger decides: the first messages of its campaign come first, and their receipts."""
    QUIET_HOURS = quiet_hours.GATE
    NEWER_CODE = "newer_code"
    """A newer one-time code for the same person and purpose waits, too. The ledger decides it."""


@dataclass(frozen=True, slots=True)
class SenderLimits:
    """``rate``: of the sender, in messages/s; ``quota``: of its account, in unique recipients per rolling 24 h.

    None is no quota. Raises ValueError.
    """

    rate: float
    quota: int | None

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise ValueError(f"a sender's rate must be more than 0 messages/s, not {self.rate}")
        if self.quota is not None and self.quota < 0:
            raise ValueError(f"an account's quota must be at least 0, not {self.quota}")


@dataclass(frozen=True, slots=True)
class Ask:
    """One message that needs a permit. Sender and recipient leave this package only as keyed hashes."""

    kind: Kind
    sender: str
    campaign_id: str
    recipient: str
    sender_limits: SenderLimits
    campaign_rate: float | None
    counted: bool = False
    """It had a permit before and did not use it: its pair rate and quota have counted it."""

    def __post_init__(self) -> None:
        if self.campaign_rate is not None and not self.campaign_rate > 0:
            raise ValueError(f"a campaign's rate must be more than 0 messages/s, not {self.campaign_rate}")


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to begin one POST in the slice from ``begin_ms`` on. What cannot begin in it asks again: the token is
    lost (docs/decisions/0002).
    """

    begin_ms: float
    probe: bool = False
    """Whether it is the one message that tests if an outage is over: the limiter waits for its report."""

    def is_over(self, now_ms: float) -> bool:
        """Whether it is too late to use it."""
        return now_ms - self.begin_ms >= (PROBE_LATE_MS if self.probe else SLICE_MS)


@dataclass(frozen=True, slots=True)
class Wait:
    """No permit now. ``until_ms``: the earliest time to ask again; None: after it is resumed."""

    gate: Gate
    until_ms: float | None


@dataclass(frozen=True, slots=True)
class Grant:
    """The answers in the order of the asks, and Redis's clock at the call.

    ``epoch`` identifies the limiter's memory: a new one means that it started again, perhaps on another machine with
    another clock.
    """

    answers: tuple[Permit | Wait, ...]
    now_ms: float
    needs_restore: bool = False
    epoch: str = ""
    opened_ms: float | None = None
    """When the circuit breaker opened; None while it is closed. Permits given before that must not be used."""


@dataclass(frozen=True, slots=True)
class Slowed:
    """A sender, or the account, that sends slower since the vendor throttled it: the part of its rate that it uses.

    It is all of it again CLIMB_MS after the last time.
    """

    scope: Scope
    id: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Reported:
    """The answer to a report: ``Grant.opened_ms`` after it, and what became slower."""

    opened_ms: float | None = None
    slowed: tuple[Slowed, ...] = ()


class Permits(Protocol):
    """The limiter, shared by any number of workers. Its methods block: call them on a thread."""

    def ask(self, asks: Sequence[Ask], *, lead_ms: float, per_slice: int | None = None) -> Grant:
        """Answer all asks in one call: slices of which at least half is still ahead in ``lead_ms``, better lanes first.

        In a lane the senders take turns, and the messages of a sender are served in their order here: who asks decides
        how its campaigns share the sender.

        ``per_slice``: how many messages of this call may begin in one slice; None for any number. A permit that
        is not used is lost. An empty list only reads clock and epoch.
        """

    def report(
        self,
        *,
        slow: Iterable[tuple[Scope, str]] = (),
        outages: int = 0,
        successes: int = 0,
        probe_over: bool = False,
    ) -> Reported:
        """Report results of POSTs.

        ``slow``: senders, or the account, that the vendor wants slower. For the circuit breaker: ``successes``,
        followed by ``outages`` in a row. ``probe_over``: this worker's probe was answered, or not sent.
        """

    def pause(self, scope: Scope, id: str) -> None:
        """Give no permits for this campaign, sender or account."""

    def resume(self, scope: Scope, id: str) -> None:
        """Give permits again."""

    def paused(self) -> tuple[tuple[Scope, str], ...]:
        """All pause flags: the id of a campaign or account, or the keyed hash of a sender."""

    def restore(
        self, *, pauses: Iterable[tuple[Scope, str]], recent: Iterable[tuple[str, float]] | None
    ) -> None:
        """Restore a limiter that lost its memory from the ledger.

        ``recent``: the recipients of the last 24 h over all senders and when (ms); None where the account has no quota:
        what asks with one stays cold. Repeated and concurrent calls are harmless.
        """
