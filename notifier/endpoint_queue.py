"""What a notifier holds for one endpoint: claimed deliveries, and how many of them are being sent.

An endpoint has a queue and a concurrency of its own, so that a slow one delays only itself.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from bulksend.ledger.webhook_deliveries import Claimed
from bulksend.ledger.webhook_endpoints import Endpoint, Opened
from bulksend.messaging.webhook_targets import Target
from notifier.posting import Poster

#: After this many failures in a row an endpoint gets one request at a time, until one succeeds.
FAILURES = 5
#: An endpoint that answers within this time has more claimed than it has under way: as much as it takes in AHEAD_MS.
QUICK_MS, AHEAD_MS, MOST_AHEAD = 250.0, 1_000.0, 100


@dataclass(slots=True)
class EndpointQueue:
    """``concurrency`` bounds what is under way."""

    endpoint: Endpoint
    poster: Poster
    concurrency: int
    opened: Opened | None = None
    target: Target | None = None
    why_not: str | None = None
    """Why nothing can be sent: the secret cannot be decrypted, or the URL is not allowed any more."""
    waiting: deque[tuple[float, Claimed]] = field(default_factory=deque)
    """Claimed, not begun, each with when it was claimed (steady clock, s)."""
    in_flight: int = 0
    more: bool = False
    """Whether the last claim took all that there was room for: more may be due."""
    failures: int = 0
    """In a row."""
    latency_ms: float = QUICK_MS

    @property
    def slots(self) -> int:
        """How many may be under way now."""
        return 1 if self.failures >= FAILURES else self.concurrency

    def room(self, total_left: int) -> int:
        """How many more to claim. ``total_left``: how many more the process may have under way.

        An endpoint with nothing under way gets one in any case: slow endpoints may take all there is.
        """
        held = self.in_flight + len(self.waiting)
        if total_left <= 0:
            return 0 if held else 1
        ahead = 0
        if self.failures == 0 and self.latency_ms < QUICK_MS:
            ahead = min(MOST_AHEAD, int(self.slots * AHEAD_MS / max(self.latency_ms, 1.0)))
        return max(0, self.slots + ahead - held)

    def note(self, delivered: bool, latency_ms: float) -> bool:
        """Take a result; returns whether the endpoint began to fail, or to succeed, with it."""
        before = self.failures
        self.failures = 0 if delivered else before + 1
        self.latency_ms += (latency_ms - self.latency_ms) / 4
        return (before == 0) != (self.failures == 0)
