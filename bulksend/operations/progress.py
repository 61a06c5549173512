"""How far campaigns are and how fast they go, for one who watches them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from bulksend.ledger import campaigns
from bulksend.ledger.database import Database
from bulksend.messaging.states import HELD, LEFT, CampaignStatus

_SHOWN = (
    *("accepted", "delivered", "read", "sending", "claimed", "queued", "retry"),
    *("failed", "unknown", "expired", "suppressed", "cancelled", "superseded"),
)


@dataclass(frozen=True, slots=True)
class CampaignProgress:
    """One campaign at its last look. ``ended``: its messages that do not move by themselves any more."""

    id: str
    name: str
    kind: str
    status: str
    total: int
    ended: int
    rate: float
    """Messages that end per second."""
    eta_s: float | None
    statuses: dict[str, int]


class Watch:
    """Looks at campaigns in the ledger, and keeps the looks of the last ``window_s`` seconds for their rates.

    A rate is 0 until the looks span ``least_s`` seconds: over milliseconds it would be a random number.
    """

    def __init__(
        self, database: Database, ids: Sequence[str], *, window_s: float = 5.0, least_s: float = 1.0
    ) -> None:
        self._database = database
        self._ids = list(ids)
        self._window_s = window_s
        self._least_s = least_s
        self._seen: dict[str, campaigns.Campaign] = {}
        self._statuses: dict[str, dict[str, int]] = {}
        self._history: dict[str, deque[tuple[float, int]]] = {id: deque() for id in ids}
        self._lock = threading.Lock()
        self.look()

    def look(self) -> bool:
        """Look at them now. Returns whether no message of them moves any more, or until an operator acts."""
        now = time.monotonic()
        with self._database.read() as tx:
            seen = campaigns.by_ids(tx, self._ids)
            statuses = {id: campaigns.status_counts(tx, id) for id in self._ids}
        with self._lock:
            self._seen, self._statuses = seen, statuses
            for id in self._ids:
                history = self._history[id]
                history.append((now, self._ended(id)))
                while len(history) > 2 and history[0][0] < now - self._window_s:
                    history.popleft()
        return all(self._is_done(id) for id in self._ids)

    def _ended(self, id: str) -> int:
        return sum(n for status, n in self._statuses[id].items() if status not in LEFT)

    def _is_done(self, id: str) -> bool:
        campaign = self._seen[id]
        if campaign.status in (CampaignStatus.FINISHED, CampaignStatus.CANCELLED):
            return not any(self._statuses[id].get(s) for s in HELD)
        return campaign.intake_done_at is not None and not any(self._statuses[id].get(s) for s in LEFT)

    def statuses(self, id: str) -> dict[str, int]:
        """The statuses of one campaign as last seen."""
        return dict(self._statuses[id])

    def progress(self) -> list[CampaignProgress]:
        """The last look at each campaign. May be called from another thread."""
        with self._lock:
            return [self._progress(id) for id in self._ids]

    def _progress(self, id: str) -> CampaignProgress:
        campaign, statuses, history = self._seen[id], self._statuses[id], self._history[id]
        ended = self._ended(id)
        span_s = history[-1][0] - history[0][0]
        rate = (history[-1][1] - history[0][1]) / span_s if span_s > self._least_s else 0.0
        left = campaign.messages - ended
        return CampaignProgress(
            id=id,
            name=campaign.name,
            kind=campaign.kind.value,
            status=campaign.status.value,
            total=campaign.messages,
            ended=ended,
            rate=rate,
            eta_s=left / rate if rate > 0.05 and left else None,
            statuses={s: statuses[s] for s in _SHOWN if statuses.get(s)},
        )
