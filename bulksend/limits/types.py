"""The limiter's types: an ask, its answer (a permit or a wait), and the gate that a wait names.

Instants are Redis's clock, milliseconds since the epoch, fractional. Rates are messages per second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from bulksend.limits.rules import PROBE_LATE_MS
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
    missed_ms: float | None = None
    """The slot that it got before and did not use: its pair rate and quota are already counted, and another message can
    have the slot. 0 once the limiter has been told.
    """

    def __post_init__(self) -> None:
        if self.campaign_rate is not None and not self.campaign_rate > 0:
            raise ValueError(f"a campaign's rate must be more than 0 messages/s, not {self.campaign_rate}")

    @property
    def exchange(self) -> bool:
        """Whether it had a slot before."""
        return self.missed_ms is not None

    def without_missed_slot(self) -> Ask:
        """The next ask after an answer: the missed slot is told only once."""
        return replace(self, missed_ms=0.0) if self.missed_ms else self


@dataclass(frozen=True, slots=True)
class Spacing:
    """The spacing of slots: ``together`` of them as close as the limits allow, the next ones ``apart_ms`` later.

    A caller that cannot begin its POSTs as fast as the rate gives slots would miss the last ones. Raises ValueError.
    """

    together: int
    apart_ms: float

    def __post_init__(self) -> None:
        if self.together < 1 or self.apart_ms < 0:
            raise ValueError("a spacing needs at least one slot at a time and a time that is not negative")


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to POST one message at ``slot_ms``, or less than ``late_ms`` later; after that it is stale and the
    message asks again (docs/decisions/0002).
    """

    slot_ms: float
    late_ms: float
    probe: bool = False
    """Whether it is the one message that tests if an outage is over: the limiter waits for its report."""

    @classmethod
    def of_probe(cls, slot_ms: float) -> Permit:
        """A permit of a probe."""
        return cls(slot_ms, PROBE_LATE_MS, probe=True)

    def is_stale(self, now_ms: float) -> bool:
        """Whether it is too late to use it."""
        return now_ms - self.slot_ms >= self.late_ms


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
class Paused:
    """A pause flag. ``id``: the id of the campaign or account, or the keyed hash of the sender."""

    scope: Scope
    id: str
    since_ms: float
    why_code: str


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

    def ask(self, asks: Sequence[Ask], *, lead_ms: float, spacing: Spacing | None = None) -> Grant:
        """Answer all asks in one call: slots at least ``lead_ms`` from now, better lanes first.

        In a lane the senders take turns, and the messages of a sender are served in their order here: who asks decides
        how its campaigns share the sender.

        ``spacing`` puts slots further apart than the limits do; other callers get the slots between them. A permit that
        is not used is lost, unless its message asks again with ``Ask.missed_ms``: then the rates of sender and
        account make up for it. An empty list only reads clock and epoch.
        """
        ...

    def peek(self, ask: Ask) -> tuple[Wait, ...]:
        """All gates that hold this message now. Changes nothing."""
        ...

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
        ...

    def pause(self, scope: Scope, id: str, why_code: str = "") -> None:
        """Give no permits for this campaign, sender or account. ``why_code`` is one word, never free text."""
        ...

    def resume(self, scope: Scope, id: str) -> None:
        """Give permits again."""
        ...

    def paused(self) -> tuple[Paused, ...]:
        """All pause flags."""
        ...

    def restore(
        self, *, pauses: Iterable[tuple[Scope, str]], recent: Iterable[tuple[str, float]] | None
    ) -> None:
        """Restore a limiter that lost its memory from the ledger.

        ``recent``: the recipients of the last 24 h over all senders and when (ms); None where the account has no quota:
        what asks with one stays cold. Repeated and concurrent calls are harmless.
        """
        ...
