"""The words of this room: an ask, its answer (a permit or a wait), and the gate that a wait names.

Instants are Redis's clock, milliseconds since the epoch, fractional. Rates are messages per second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from bulksend.limits.rules import PROBE_LATE_MS
from bulksend.messaging.outcome import Scope
from bulksend.messaging.states import Kind


class Gate(StrEnum):
    """What can hold a message. The first two and the last are decided elsewhere and only named here."""

    DUE_TIME = "due_time"
    BACKOFF = "backoff"
    SENDER_RATE = "sender_rate"
    ACCOUNT_RATE = "account_rate"
    CAMPAIGN_RATE = "campaign_rate"
    PAIR_RATE = "pair_rate"
    QUOTA = "quota"
    SENDER_PAUSED = "sender_paused"
    CAMPAIGN_PAUSED = "campaign_paused"
    ACCOUNT_PAUSED = "account_paused"
    OUTAGE = "outage"
    COLD = "cold"
    """The limiter lost its memory, or cannot be reached, and what it would have to know is not known yet."""
    QUIET_HOURS = "quiet_hours"


@dataclass(frozen=True, slots=True)
class SenderLimits:
    """``rate`` in messages/s; ``quota`` in unique recipients per rolling 24 h, None for none."""

    rate: float
    quota: int | None

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise ValueError(f"a sender's rate must be more than 0 messages/s, not {self.rate}")
        if self.quota is not None and self.quota < 0:
            raise ValueError(f"a sender's quota must be at least 0, not {self.quota}")


@dataclass(frozen=True, slots=True)
class Ask:
    """One message that wants to go. Sender and recipient leave this room only as keyed hashes."""

    kind: Kind
    sender: str
    campaign_id: str
    recipient: str
    sender_limits: SenderLimits
    campaign_rate: float | None
    missed_ms: float | None = None
    """The slot that it had and did not use: its pair rate and quota are paid for, and somebody else can have it. 0 once
    the limiter knows which.
    """

    def __post_init__(self) -> None:
        if self.campaign_rate is not None and not self.campaign_rate > 0:
            raise ValueError(f"a campaign's rate must be more than 0 messages/s, not {self.campaign_rate}")

    @property
    def exchange(self) -> bool:
        """Whether it had a slot already."""
        return self.missed_ms is not None

    def heard(self) -> Ask:
        """As it asks again after an answer: which slot it missed need not be told twice."""
        return replace(self, missed_ms=0.0) if self.missed_ms else self


@dataclass(frozen=True, slots=True)
class Spacing:
    """How a caller can use slots: ``together`` of them as near to each other as the limits allow, then the next ones
    ``apart_ms`` later. Where a rate gives slots faster than POSTs can be begun, the last ones would be missed.
    """

    together: int
    apart_ms: float

    def __post_init__(self) -> None:
        if self.together < 1 or self.apart_ms < 0:
            raise ValueError("a spread is of at least one slot at a time, and its time is not negative")


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to POST one message at ``slot_ms``, or less than ``late_ms`` after it; later it is stale, and another
    one is asked for (docs/decisions/0002).
    """

    slot_ms: float
    late_ms: float
    probe: bool = False
    """Whether it is the one message that finds out if an outage is over: the limiter waits for its report."""

    @classmethod
    def of_probe(cls, slot_ms: float) -> Permit:
        """A probe's."""
        return cls(slot_ms, PROBE_LATE_MS, probe=True)

    def is_stale(self, now_ms: float) -> bool:
        """Whether it was missed by as much as it allows."""
        return now_ms - self.slot_ms >= self.late_ms


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now. ``until_ms`` is the earliest instant worth asking again; None: when somebody resumes it."""

    gate: Gate
    until_ms: float | None


@dataclass(frozen=True, slots=True)
class Grant:
    """The answers in the order of the asks, and Redis's clock at the call.

    ``epoch`` names the limiter's memory: another one means that it began anew, perhaps on another machine
    with another clock.
    """

    answers: tuple[Permit | Wait, ...]
    now_ms: float
    needs_restore: bool = False
    epoch: str = ""
    opened_ms: float | None = None
    """When the breaker opened, None while it is closed. Permits given before that are not to be used."""


@dataclass(frozen=True, slots=True)
class Paused:
    """A pause flag. ``id`` is the campaign's or account's id; of a sender its keyed hash (see
    ``KeyedHashes.sender``).
    """

    scope: Scope
    id: str
    since_ms: float
    why_code: str


class Permits(Protocol):
    """The right to POST, over any number of workers. Blocking: call it on a thread."""

    def ask(self, asks: Sequence[Ask], *, lead_ms: float, spread: Spacing | None = None) -> Grant:
        """Answer all of them in one call: slots no earlier than ``lead_ms`` from now, better lanes first.

        ``spread`` spaces them further than the limits do; whoever asks meanwhile finds what lies between.

        A permit that is not used is lost, unless its message asks anew and says which one it missed
        (``Ask.missed_ms``): a sender's and the account's rate make up for it. An empty list only reads clock and epoch.
        """
        ...

    def peek(self, ask: Ask) -> tuple[Wait, ...]:
        """All gates that hold this message now; empty if none does. Changes nothing."""
        ...

    def report(
        self,
        *,
        slow: Iterable[tuple[Scope, str]] = (),
        outages: int = 0,
        successes: int = 0,
        probe_over: bool = False,
    ) -> float | None:
        """What POSTs came to: senders (or the account) that the vendor wants slower, and evidence for the breaker:
        ``successes``, after them ``outages`` in a row. ``probe_over``: this worker's probe was answered, or never sent.

        Returns ``Grant.opened_ms`` as it is now.
        """
        ...

    def pause(self, scope: Scope, id: str, why_code: str = "") -> None:
        """Give no permits for this campaign, sender or account. ``why_code`` is a word, never free text."""
        ...

    def resume(self, scope: Scope, id: str) -> None:
        """Give them again."""
        ...

    def paused(self) -> tuple[Paused, ...]:
        """All pause flags."""
        ...

    def restore(
        self, *, pauses: Iterable[tuple[Scope, str]], recent: Mapping[str, Iterable[tuple[str, float]]]
    ) -> None:
        """Give a limiter that lost its memory back what the ledger knows, all of it.

        ``recent`` names *every* sender that has a quota, with whom it wrote to in the last 24 h and when
        (ms); a sender with a quota that it does not name stays cold. Doing it twice, or two workers at once,
        is harmless.
        """
        ...


def needs_restore(grant: Grant) -> bool:
    """Whether ``restore`` has to be called before everything asked for here can get permits."""
    return grant.needs_restore
