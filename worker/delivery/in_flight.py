"""What a worker has in hand: every message between its claim and the end of our part, and the room for more.

Only counts: no I/O, no clock of its own. Belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from bulksend.gateway import SendOrder
from bulksend.ledger.sending import Claimed, Opening, Settlement
from bulksend.messaging import Kind
from worker.delivery.rate_meter import Pace
from worker.permits.sender_queue import Held, Slot


class Stage(Enum):
    """How far a message in hand has come."""

    WAITING = auto()
    """Claimed: it waits for a permit, or is on its way back to the ledger. Nothing is written of an attempt."""
    OPENING = auto()
    """It has a permit, and its attempt is being written ahead."""
    OPEN = auto()
    """Written ahead: it waits for its slot."""
    MISSED = auto()
    """Its slot has passed, and it waits for another."""
    POSTING = auto()
    """A task has it: connection, slot, POST."""
    ANSWERED = auto()
    """Its result is on its way into the ledger."""
    OVER = auto()
    """Ours no longer."""


@dataclass(slots=True, eq=False)
class Delivery:
    """One message in hand. ``deadline`` is when its time to live ends, in seconds of ``steady_seconds``."""

    opening: Opening
    lease: str
    deadline: float | None
    on_permit: Callable[[Delivery, Slot | Held], None]
    order: SendOrder | None = None
    slot: Slot | None = None
    stage: Stage = Stage.WAITING
    has_permit: bool = False
    task: asyncio.Future[Any] | None = None
    """What a stop cancels."""
    began_at: float | None = None
    """When its POST began, in the event loop's time."""

    @property
    def message(self) -> Claimed:
        """As it was claimed."""
        return self.opening.message

    # What a line of the permit desk asks of whoever waits in it: see worker.permits.sender_queue.Receiver.

    def done(self) -> bool:
        """Whether it waits for a permit no longer."""
        return self.stage is not Stage.WAITING and self.stage is not Stage.MISSED

    def set_result(self, answer: Slot | Held) -> None:
        """Its permit, or what holds it."""
        self.on_permit(self, answer)


class InFlightTable:
    """The messages in hand, and how many more there may be."""

    def __init__(self, *, in_flight: int, in_hand: int, claim_size: int) -> None:
        self.places = in_flight
        """How many POSTs may be under way."""
        # A tenth of the places is kept for one-time codes.
        self._bulk_in_flight = max(1, in_flight - max(1, in_flight // 10))
        self._in_hand = in_hand
        self._claim_size = claim_size
        self._held: dict[str, Delivery] = {}
        self._of_lane: Counter[Kind] = Counter()
        self._permitted = 0
        """Those that have a permit and are not settled: what is in flight, or about to be."""
        self._permitted_codes = 0
        self._under_way = 0
        self._bulk_under_way = 0
        self.over = asyncio.Event()
        """Set for an instant whenever a place is free again."""
        self.empty = asyncio.Event()
        """Set while nothing is in hand."""
        self.empty.set()
        self.answers = Pace()
        self.unopened: set[str] = set()
        """Claimed and neither opened nor given back: a stop gives these back."""
        self.unsettled: dict[str, Settlement] = {}
        """Results that the ledger does not have yet, by attempt."""

    def __contains__(self, id: object) -> bool:
        return id in self._held

    def __iter__(self) -> Iterator[Delivery]:
        return iter(list(self._held.values()))

    @property
    def under_way(self) -> int:
        """POSTs under way."""
        return self._under_way

    def ids(self) -> set[str]:
        """The ids of all that is in hand."""
        return set(self._held)

    def get(self, id: str) -> Delivery | None:
        """The delivery of a message in hand."""
        return self._held.get(id)

    def take(self, delivery: Delivery) -> None:
        """It is in hand from now on."""
        message = delivery.message
        self._held[message.id] = delivery
        self._of_lane[message.kind] += 1
        self.empty.clear()

    def permitted(self, delivery: Delivery) -> None:
        """It has its permit, and counts as in flight until it is let go."""
        delivery.has_permit = True
        self._permitted += 1
        self._permitted_codes += delivery.message.kind is Kind.OTP

    def let_go(self, delivery: Delivery) -> None:
        """It is ours no longer, whatever became of it."""
        if delivery.stage is Stage.OVER:
            return
        delivery.stage = Stage.OVER
        kind = delivery.message.kind
        if self._held.pop(delivery.message.id, None) is not None:
            self._of_lane[kind] -= 1
        if delivery.has_permit:
            self._permitted -= 1
            self._permitted_codes -= kind is Kind.OTP
        if not self._held:
            self.empty.set()

    def may_claim(self, lane: Kind) -> int:
        """How many more of a lane may be in hand.

        Many more than can be in flight: those of a slow sender wait here without standing in another's way.
        """
        room = self._in_hand - self._of_lane[lane]
        # Full hands take the next handful, not one message for each that leaves: a claim is a transaction.
        handful = min(self._claim_size, self._in_hand // 4)
        enough = lane is Kind.OTP or room >= handful
        return max(0, min(room, self._claim_size)) if enough else 0

    def free(self, lane: Kind, now: float, lead_s: float) -> int:
        """How many more POSTs of a lane may be under way ``lead_s`` from now, when their attempts are open.

        Those that will have been answered by then leave their place, and so do half as many answers as there are
        places while the ledger takes them in: the more a ledger falls behind, the fewer POSTs begin.
        """
        places = self.places
        leaving = min(places, int(self.answers.rate(now) * lead_s))
        under_way = self._permitted - min(places // 2, len(self.unsettled)) - leaving
        if lane is Kind.OTP:
            # What is kept for codes is theirs, however far ahead a blast has counted on the rest.
            return max(places - under_way, places - self._bulk_in_flight - self._permitted_codes)
        bulk = under_way - self._permitted_codes
        return min(places - under_way, self._bulk_in_flight - bulk)

    def has_place(self, lane: Kind) -> bool:
        """Whether another POST of a lane may be under way.

        Answers that wait for the ledger, past half as many as there are places, take a place each: what is in doubt
        after a kill is at most one and a half times the places.
        """
        places = self.places
        behind = len(self.unsettled) - places // 2
        if behind > 0:
            places -= behind
        if lane is Kind.OTP:
            return self._under_way < places
        return self._under_way < places and self._bulk_under_way < self._bulk_in_flight

    async def wait_for_place(self, lane: Kind) -> None:
        """Until another POST of a lane may be under way: more were let ahead than were answered since."""
        while not self.has_place(lane):
            await self.over.wait()

    def settled(self, attempt_id: str) -> None:
        """The ledger has the result of an attempt."""
        takes_a_place = len(self.unsettled) > self.places // 2
        self.unsettled.pop(attempt_id, None)
        if takes_a_place:
            self._may_begin()

    def begins(self, lane: Kind) -> None:
        """A POST begins."""
        self._under_way += 1
        self._bulk_under_way += lane is not Kind.OTP

    def ends(self, lane: Kind) -> None:
        """A POST is over, however it went."""
        self._under_way -= 1
        self._bulk_under_way -= lane is not Kind.OTP
        self._may_begin()

    def _may_begin(self) -> None:
        self.over.set()
        self.over.clear()
