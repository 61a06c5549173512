"""Who waits for permits: one line for a sender's messages of a lane, its campaigns taking turns.

A line asks as one, since its campaigns share one rate: were each to ask for all of it, most answers would be
"wait". Times are the event loop's, in seconds, and handed in.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from bulksend.limits import Ask, Gate, Permit


@dataclass(frozen=True, slots=True)
class Slot:
    """A permit, and its slot in this process's own time: POST at ``at``."""

    at: float
    permit: Permit
    granted_ms: float = 0.0
    """When the limiter gave it, by its own clock."""

    def is_missed(self, now: float) -> bool:
        """Whether it is too late for it: such a POST could make a second fuller than the limit."""
        return self.permit.is_stale(self.permit.slot_ms + (now - self.at) * 1000)


@dataclass(frozen=True, slots=True)
class Held:
    """No permit before ``until_ms`` (Redis's clock; None: until somebody resumes it)."""

    gate: Gate
    until_ms: int | None


class Receiver(Protocol):
    """Where an answer goes: a future, or whatever is like one."""

    def done(self) -> bool:
        """Whether nobody waits for it any more."""
        ...

    def set_result(self, answer: Slot | Held, /) -> None:
        """The answer."""
        ...


@dataclass(slots=True, eq=False)
class Waiting:
    """A message that waits, and where its answer goes."""

    ask: Ask
    answer: Receiver


class Line:
    """The messages of one sender and lane. ``ahead_s`` is how far ahead the lane's slots are given."""

    def __init__(self, ahead_s: float) -> None:
        self._ahead_s = ahead_s
        self._campaigns: dict[str, deque[Waiting]] = {}
        self._campaign_from: dict[str, float] = {}
        self._from = 0.0

    def __bool__(self) -> bool:
        return bool(self._campaigns)

    def add(self, waiting: Waiting) -> None:
        """At the end of its campaign's queue."""
        self._campaigns.setdefault(waiting.ask.campaign_id, deque()).append(waiting)

    def put_back(self, waiting: Waiting) -> None:
        """To the front of its campaign's queue: of several, the last first."""
        self._campaigns.setdefault(waiting.ask.campaign_id, deque()).appendleft(waiting)

    def take(self, most: int, now: float) -> list[Waiting]:
        """One of each campaign in turn; no more than the limiter could grant now, as the rest would only cost."""
        self._forget_the_answered()
        ready = {
            id: queue for id, queue in self._campaigns.items() if self._campaign_from.get(id, 0.0) <= now
        }
        if not ready or self._from > now:
            return []
        allowed = {id: self._grantable(queue[0].ask.campaign_rate) for id, queue in ready.items()}
        most = min(most, self._grantable(next(iter(ready.values()))[0].ask.sender_limits.rate))
        taken: list[Waiting] = []
        while ready and len(taken) < most:
            for id in list(ready)[: most - len(taken)]:
                one = ready[id].popleft()
                if not one.answer.done():
                    taken.append(one)
                    allowed[id] -= 1
                if not ready[id] or not allowed[id]:
                    del ready[id]
        self._forget_the_answered()
        return taken

    def _grantable(self, rate: float | None) -> int:
        return int(rate * self._ahead_s) + 2 if rate is not None else 1_000_000

    def _forget_the_answered(self) -> None:
        """Whose worker stops has been cancelled. A campaign of which nobody waits has no turn."""
        for id, queue in list(self._campaigns.items()):
            while queue and queue[0].answer.done():
                queue.popleft()
            if not queue:
                del self._campaigns[id]
                self._campaign_from.pop(id, None)

    def leave(self, campaign_id: str | None) -> list[Waiting]:
        """All that wait of this campaign, or of every one, leave the line."""
        ids = list(self._campaigns) if campaign_id is None else [campaign_id]
        left = [waiting for id in ids for waiting in self._campaigns.pop(id, ())]
        for id in ids:
            self._campaign_from.pop(id, None)
        return left

    def served(self, campaign_id: str) -> None:
        """One of its messages got a permit: the other campaigns come first now."""
        queue = self._campaigns.pop(campaign_id, None)
        if queue is not None:
            self._campaigns[campaign_id] = queue

    def hold(self, until: float) -> None:
        """Take nothing before ``until``."""
        self._from = until

    def hold_campaign(self, campaign_id: str, until: float) -> None:
        """Take nothing of this campaign before ``until``."""
        self._campaign_from[campaign_id] = until

    def next_at(self) -> float:
        """When there may be something to take: for a line in which somebody waits."""
        first = min((self._campaign_from.get(id, 0.0) for id in self._campaigns), default=0.0)
        return max(self._from, first)
