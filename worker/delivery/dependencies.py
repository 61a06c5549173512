"""What the delivery of a message uses, and what it counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bulksend.batcher import Batcher
from bulksend.gateway import SendOrder
from bulksend.ledger.claim import Claimed
from bulksend.ledger.release import Release
from bulksend.ledger.settle import Settlement
from bulksend.ledger.write_ahead import Opening
from bulksend.limits import Ask
from bulksend.messaging import Answer, Kind, Policy
from bulksend.metrics import WorkerMetrics
from bulksend.tracing import Tracing
from worker.delivery.decision_effects import DecisionEffects
from worker.delivery.in_flight import InFlightTable
from worker.delivery.quiet_gate import QuietGate
from worker.permits.permit_queue import PermitQueue
from worker.recovery.flight_recorder import FlightRecorder
from worker.session.campaign_cache import CampaignCache
from worker.session.lease import LeaseKeeper


class Vendor(Protocol):
    """The vendor's client. A network failure is an answer; it never raises."""

    async def connect(self) -> Answer | None:
        """Have one more idle connection; the answer to a message that waited for it where that failed."""
        ...

    def post(
        self, order: SendOrder, begin: Callable[[], bool], done: Callable[[Answer], None]
    ) -> asyncio.Future[Any] | Answer | None:
        """POST once before this returns, if a connection is idle and ``begin``, called just before the first byte,
        allows it; else return None and do nothing. An answer, with nothing done, where it can never be sent.
        """
        ...

    def idle_connections(self) -> int:
        """How many connections are idle."""
        ...

    def connections_left(self) -> int:
        """How many more connections may be opened."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


@dataclass(slots=True)
class Totals:
    """What this worker has done since it started."""

    claimed: int = 0
    posted: int = 0
    accepted: int = 0
    given_back: int = 0
    missed_slices: int = 0


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Everything that the stages of a delivery use."""

    in_flight: InFlightTable
    campaign_cache: CampaignCache
    permits: PermitQueue
    openers: Mapping[Kind, Batcher[Opening, bool]]
    vendor: Vendor
    settler: Batcher[Settlement, None]
    releaser: Batcher[Release, None]
    effects: DecisionEffects
    lease: LeaseKeeper
    recorder: FlightRecorder
    fail: Callable[[list[tuple[str, str]], str], Awaitable[None]]
    """End messages that can never be sent: (id, reason) of each, and the lease."""
    policy: Policy
    dice: Callable[[], float]
    """Uniform in [0, 1)."""
    on_removed: Callable[[Kind], None]
    """Called with the lane of each message that leaves the in-flight table."""
    totals: Totals
    metrics: WorkerMetrics
    tracing: Tracing | None = None
    quiet: QuietGate | None = None
    """None: there are no quiet hours."""

    def ask(self, message: Claimed, *, again: bool = False) -> Ask:
        """The permit request of a message; ``again``: it had a permit before."""
        return Ask(
            kind=message.kind,
            sender=message.sender,
            campaign_id=message.campaign_id,
            recipient=message.recipient,
            sender_limits=self.campaign_cache.sender_limits(message.sender),
            campaign_rate=self.campaign_cache.campaign(message.campaign_id).rate,
            counted=again,
        )
