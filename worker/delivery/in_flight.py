"""The in-flight table: every message between its claim and its settlement, and the capacity for more.

It only counts: no I/O, no clock of its own. Belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from bulksend.gateway import SendOrder
from bulksend.ledger.claim import Claimed
from bulksend.ledger.settle import Settlement
from bulksend.ledger.write_ahead import Opening
from bulksend.messaging import Kind
from worker.delivery.rate_meter import RateMeter
from worker.permits.sender_queue import Blocked, Slice

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext


class Stage(Enum):
    """How far a message in flight has come."""

    WAITING = auto()
    """Claimed: it waits for a permit, or is being given back to the ledger. No attempt is recorded."""
    OPENING = auto()
    """It has a permit, and its attempt is being written ahead."""
    OPEN = auto()
    """The attempt is written ahead: it waits for its slice."""
    MISSED = auto()
    """Its slice is over, and it waits for another."""
    POSTING = auto()
    """Its POST has begun."""
    ANSWERED = auto()
    """Its result is being written to the ledger."""
    REMOVED = auto()
    """No longer in flight."""


@dataclass(slots=True, eq=False)
class InFlightMessage:
    """A claimed message on its way. ``deadline`` is when its time to live ends, in ``steady_seconds``."""

    opening: Opening
    lease: str
    deadline: float | None
    on_permit: Callable[[InFlightMessage, Slice | Blocked], None]
    order: SendOrder | None = None
    slice: Slice | None = None
    stage: Stage = Stage.WAITING
    has_permit: bool = False
    task: asyncio.Future[Any] | None = None
    """Its POST: a stop that has waited long enough cancels it."""
    batch: SpanContext | None = None
    """The trace of its claim."""
    quiet_at: float | None = None
    """When quiet hours begin at its recipient's, in ``steady_seconds``; None: they are not known to."""
    posted_at: float | None = None
    """When its POST started, in the event loop's time."""

    @property
    def claimed(self) -> Claimed:
        """The message as it was claimed."""
        return self.opening.message

    # It is the future of its own permit requests (worker.permits.sender_queue.PermitFuture): one object less a message.

    def done(self) -> bool:
        """Whether it waits for no permit."""
        return self.stage is not Stage.WAITING and self.stage is not Stage.MISSED

    def set_result(self, answer: Slice | Blocked) -> None:
        """Its slice, or the gate that blocks it."""
        self.on_permit(self, answer)


class InFlightTable:
    """The messages in flight, and how many more can be claimed and POSTed.

    ``capacity`` bounds the POSTs under way; a tenth of it is reserved for OTP. ``max_per_lane`` bounds the messages of
    a lane and is much larger: those of a slow sender wait here without blocking other senders.
    """

    def __init__(self, *, capacity: int, max_per_lane: int, claim_size: int) -> None:
        self.capacity = capacity
        self._bulk_capacity = max(1, capacity - max(1, capacity // 10))
        self._max_per_lane = max_per_lane
        self._claim_size = claim_size
        self._messages: dict[str, InFlightMessage] = {}
        self._per_lane: Counter[Kind] = Counter()
        self._with_permit = 0
        """Messages that have a permit and are not settled."""
        self._otp_with_permit = 0
        self.posting = 0
        """How many POSTs are under way."""
        self._bulk_posting = 0
        self.empty = asyncio.Event()
        """Set while no message is in flight."""
        self.empty.set()
        self.answer_rate = RateMeter()
        self.unsettled: dict[str, Settlement] = {}
        """Results that the ledger does not have yet, by attempt."""

    def __contains__(self, id: object) -> bool:
        return id in self._messages

    def __iter__(self) -> Iterator[InFlightMessage]:
        return iter(list(self._messages.values()))

    def ids(self) -> set[str]:
        """The ids of all messages in flight."""
        return set(self._messages)

    def get(self, id: str) -> InFlightMessage | None:
        """The message of this id, if it is in flight."""
        return self._messages.get(id)

    def add(self, message: InFlightMessage) -> None:
        """Add a message that was claimed."""
        claimed = message.claimed
        self._messages[claimed.id] = message
        self._per_lane[claimed.kind] += 1
        self.empty.clear()

    def count_permit(self, message: InFlightMessage) -> None:
        """The message has its permit: it takes capacity until it loses that or is removed."""
        message.has_permit = True
        self._with_permit += 1
        self._otp_with_permit += message.claimed.kind is Kind.OTP

    def lose_permit(self, message: InFlightMessage) -> None:
        """The message missed its slice. If it kept its capacity, all could miss theirs at once and wait for each
        other.
        """
        if message.has_permit:
            message.has_permit = False
            self._with_permit -= 1
            self._otp_with_permit -= message.claimed.kind is Kind.OTP

    def remove(self, message: InFlightMessage) -> None:
        """Remove a message that was settled, given back or lost. Does nothing the second time."""
        if message.stage is Stage.REMOVED:
            return
        message.stage = Stage.REMOVED
        if self._messages.pop(message.claimed.id, None) is not None:
            self._per_lane[message.claimed.kind] -= 1
        self.lose_permit(message)
        if not self._messages:
            self.empty.set()

    def claimable(self, lane: Kind) -> int:
        """How many more messages of a lane may be claimed now."""
        room = self._max_per_lane - self._per_lane[lane]
        # A full table waits until a batch is worth a claim: each claim is a transaction.
        least = min(self._claim_size, self._max_per_lane // 4)
        if room < least and lane is not Kind.OTP:
            return 0
        return max(0, min(room, self._claim_size))

    def expected_capacity(self, lane: Kind, now: float, lead_s: float) -> int:
        """How many more POSTs of a lane can start ``lead_s`` from now, when their attempts are open.

        POSTs that will have been answered by then free their capacity. So do answers that wait for the ledger, up to
        half of the capacity: the more a ledger falls behind, the fewer POSTs start.
        """
        capacity = self.capacity
        answered = min(capacity, int(self.answer_rate.rate(now) * lead_s))
        taken = self._with_permit - min(capacity // 2, len(self.unsettled)) - answered
        if lane is Kind.OTP:
            # The share reserved for OTP is free for it even where other lanes have taken more than their share ahead.
            return max(capacity - taken, capacity - self._bulk_capacity - self._otp_with_permit)
        bulk = taken - self._otp_with_permit
        return min(capacity - taken, self._bulk_capacity - bulk)

    def has_capacity(self, lane: Kind) -> bool:
        """Whether another POST of a lane may start.

        Answers that wait for the ledger, beyond half of the capacity, take capacity too: at most one and a half times
        the capacity is unknown after a kill.
        """
        capacity = self.capacity
        excess = len(self.unsettled) - capacity // 2
        if excess > 0:
            capacity -= excess
        if lane is Kind.OTP:
            return self.posting < capacity
        return self.posting < capacity and self._bulk_posting < self._bulk_capacity

    def post_started(self, lane: Kind) -> None:
        """A POST starts."""
        self.posting += 1
        self._bulk_posting += lane is not Kind.OTP

    def post_ended(self, lane: Kind) -> None:
        """A POST ended, with or without an answer."""
        self.posting -= 1
        self._bulk_posting -= lane is not Kind.OTP
