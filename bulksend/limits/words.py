"""The words of this room: asks, permits, waits and their gates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from bulksend.messaging.outcome import Scope
from bulksend.messaging.states import Kind

#: Of a limit so much is used: POSTs that are late by up to MAX_LATE_MS then still fit (docs/decisions/0002).
USED = 0.985
#: A slot missed by more than this is worth nothing any more.
MAX_LATE_MS = 12.0
#: How far ahead slots are given, ms: who may reach farther finds the next slot first.
HORIZON_MS: Mapping[Kind, float] = {Kind.OTP: 1000.0, Kind.UTILITY: 250.0, Kind.MARKETING: 100.0}
#: After the limiter lost its memory nothing is given for so long: no second can hold old slots and new ones.
BLACKOUT_MS = 1100.0 + max(HORIZON_MS.values())
DAY_MS = 86_400_000.0
#: A slow-down halves the rate at most so often, never below this share, and is forgotten bit by bit.
SLOW_EVERY_MS, SLOWEST, CLIMB_MS = 1000.0, 0.05, 60_000.0
#: The breaker: so many outages in a row open it, first for this long, doubled up to that long.
OUTAGES, OPEN_MS, OPEN_MOST_MS, PROBE_MS = 5, 2000.0, 60_000.0, 500.0


class Gate(StrEnum):
    """What can hold a message."""

    DUE_TIME = "due_time"
    BACKOFF = "backoff"
    QUIET_HOURS = "quiet_hours"
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


@dataclass(frozen=True, slots=True)
class SenderLimits:
    """``rate`` in messages/s; ``quota`` in unique recipients per rolling 24 h, None for none."""

    rate: float
    quota: int | None


@dataclass(frozen=True, slots=True)
class Ask:
    """One message that wants to go. The recipient leaves this room only as a keyed hash."""

    kind: Kind
    sender: str
    campaign_id: str
    recipient: str
    sender_limits: SenderLimits
    campaign_rate: float | None
    exchange: bool = False
    """It had a slot and missed it: its pair rate and quota are paid for already."""


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to POST one message at ``slot_ms`` (Redis's clock, ms since the epoch), or up to MAX_LATE_MS later."""

    slot_ms: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now. ``until_ms`` is the earliest instant worth asking again; None: when somebody resumes it."""

    gate: Gate
    until_ms: float | None


@dataclass(frozen=True, slots=True)
class Grant:
    """The answers in the order of the asks, the limiter's clock, and how many workers share the limits."""

    answers: tuple[Permit | Wait, ...]
    now_ms: float
    workers: int
    needs_restore: bool = False


class Permits(Protocol):
    """What a worker asks before it POSTs, and tells afterwards."""

    def ask(self, asks: Sequence[Ask], *, lead_ms: float) -> Grant:
        """Slots for these messages, none earlier than ``lead_ms`` from now."""
        ...

    def report(self, *, slow: Iterable[tuple[Scope, str]] = (), outages: int = 0, successes: int = 0) -> None:
        """Senders or accounts that were told to slow down; evidence of an outage, or that there is none."""
        ...

    def pause(self, scope: Scope, id: str) -> None:
        """Give no permits for this campaign, sender or account."""
        ...

    def resume(self, scope: Scope, id: str) -> None:
        """Give them again."""
        ...

    def restore(
        self, *, pauses: Iterable[tuple[Scope, str]], recent: Mapping[str, Iterable[tuple[str, int]]]
    ) -> None:
        """After memory was lost: what is paused, and whom each sender with a quota has written to (recipient, ms)."""
        ...


def is_stale(slot_ms: float, now_ms: float) -> bool:
    """Whether a slot was missed by more than a permit allows."""
    return now_ms - slot_ms > MAX_LATE_MS
