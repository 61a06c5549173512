"""The permit requests of one sender and lane, its campaigns in turn by their weights (fair queueing).

A sender's queue asks as one, since its campaigns share the sender's rate: if each campaign asked for the whole rate,
most answers would be "wait". Times are the event loop's, in seconds, and passed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heapreplace
from typing import Protocol

from bulksend.limits import Ask, Gate, Permit


@dataclass(frozen=True, slots=True)
class Slice:
    """A permit and its slice in the event loop's time: the POST starts at ``at`` or shortly after it."""

    at: float
    permit: Permit
    granted_ms: float = 0.0
    """When the limiter gave it, by the limiter's clock."""

    def is_missed(self, now: float) -> bool:
        """Whether its slice is over: a POST now could put more into one second than the limit allows."""
        return self.permit.is_over(self.permit.begin_ms + (now - self.at) * 1000)


@dataclass(frozen=True, slots=True)
class Blocked:
    """A gate gives no permit before ``until_ms`` (Redis's clock); None until an operator resumes it."""

    gate: Gate
    until_ms: int | None


class PermitFuture(Protocol):
    """Receives the answer to a permit request: an asyncio future, or an object with these two methods of it."""

    def done(self) -> bool:
        """Whether it takes no answer any more."""
        ...

    def set_result(self, answer: Slice | Blocked, /) -> None:
        """Give it the answer."""
        ...


@dataclass(slots=True, eq=False)
class PermitRequest:
    """A message that waits for a permit, and what receives the answer."""

    ask: Ask
    future: PermitFuture
    deadline: float | None = None
    """When the message's time to live ends, in ``steady_seconds``."""


def equal_weights(campaign_id: str) -> int:
    """Each campaign gets as much as any other."""
    return 1


class SenderQueue:
    """The requests of one sender and lane. ``ahead_s`` is how far ahead the limiter gives the lane's slices.

    Each campaign has a virtual time, which a permit moves on by 1 / weight; the one that is furthest back is next. So a
    campaign of weight 3 gets three permits for each one of a campaign of weight 1, while both have messages.
    """

    def __init__(self, ahead_s: float, weight: Callable[[str], int] = equal_weights) -> None:
        self._ahead_s = ahead_s
        self._weight = weight
        self._campaigns: dict[str, deque[PermitRequest]] = {}
        self._served: dict[str, float] = {}
        """The virtual times, also of campaigns that have no request now."""
        self._now = 0.0
        """The virtual time of the campaign that got the last permit, before it."""
        self._steps: dict[str, float] = {}
        """How far a permit moves each campaign on, by their weights at the last ``take``."""
        self._campaign_not_before: dict[str, float] = {}
        self._not_before = 0.0

    def __bool__(self) -> bool:
        return bool(self._campaigns)

    def add(self, request: PermitRequest) -> None:
        """Add it to the end of its campaign's queue."""
        self._queue_of(request.ask.campaign_id).append(request)

    def put_back(self, request: PermitRequest) -> None:
        """Put it to the front of its campaign's queue. Put several back in reverse order."""
        self._queue_of(request.ask.campaign_id).appendleft(request)

    def _queue_of(self, campaign_id: str) -> deque[PermitRequest]:
        queue = self._campaigns.get(campaign_id)
        if queue is None:
            # It has no claim to what it did not ask for: it begins where the others are.
            now = self._now
            self._served = {id: at for id, at in self._served.items() if at > now or id in self._campaigns}
            self._served.setdefault(campaign_id, now)
            queue = self._campaigns[campaign_id] = deque()
        return queue

    def take(self, most: int, now: float) -> list[PermitRequest]:
        """Take requests of the campaigns in turn, at most as many as the limiter can grant now."""
        self._drop_done()
        ready = {
            id: queue
            for id, queue in self._campaigns.items()
            if self._campaign_not_before.get(id, 0.0) <= now
        }
        if not ready or self._not_before > now:
            return []
        allowed = {id: self._grantable(queue[0].ask.campaign_rate) for id, queue in ready.items()}
        most = min(most, self._grantable(next(iter(ready.values()))[0].ask.sender_limits.rate))
        taken: list[PermitRequest] = []
        steps = self._steps = {id: 1 / self._weight(id) for id in ready}
        turns = [(self._served_since(id), place, id) for place, id in enumerate(ready)]
        heapify(turns)
        while turns and len(taken) < most:
            at, place, id = turns[0]
            request = ready[id].popleft()
            if not request.future.done():
                taken.append(request)
                allowed[id] -= 1
                at += steps[id]
            if ready[id] and allowed[id]:
                heapreplace(turns, (at, place, id))
            else:
                heappop(turns)
        self._drop_done()
        return taken

    def _grantable(self, rate: float | None) -> int:
        return int(rate * self._ahead_s) + 2 if rate is not None else 1_000_000

    def _drop_done(self) -> None:
        """Drop requests that take no answer any more, as after a stop. An empty campaign has no turn."""
        for id, queue in list(self._campaigns.items()):
            while queue and queue[0].future.done():
                queue.popleft()
            if not queue:
                del self._campaigns[id]
                self._campaign_not_before.pop(id, None)

    def remove(self, campaign_id: str | None) -> list[PermitRequest]:
        """Remove and return all requests of this campaign; None means of every campaign."""
        ids = list(self._campaigns) if campaign_id is None else [campaign_id]
        removed = [request for id in ids for request in self._campaigns.pop(id, ())]
        for id in ids:
            self._campaign_not_before.pop(id, None)
        return removed

    def remove_expired(self, now: float) -> list[PermitRequest]:
        """Remove and return the requests whose deadline has passed; ``now`` is in ``steady_seconds``."""
        expired: list[PermitRequest] = []
        for requests in self._campaigns.values():
            late = [r for r in requests if r.deadline is not None and r.deadline <= now]
            for request in late:
                requests.remove(request)
            expired += late
        self._drop_done()
        return expired

    def count_permit(self, campaign_id: str) -> None:
        """One of this campaign's messages got a permit: it is the others' turn."""
        if campaign_id in self._served:
            at = self._served_since(campaign_id)
            self._now = max(self._now, at)
            self._served[campaign_id] = at + self._steps.get(campaign_id, 1.0)

    def _served_since(self, campaign_id: str) -> float:
        """Its virtual time. A campaign that a rate of its own held back for long does not make up for all of it."""
        return max(self._served[campaign_id], self._now - 1.0)

    def move_to_front(self, campaign_id: str, future: PermitFuture) -> None:
        """Serve this request of a campaign before its others, if it waits here."""
        queue: deque[PermitRequest] = self._campaigns.get(campaign_id, deque())
        request = next((each for each in queue if each.future is future), None)
        if request is not None:
            queue.remove(request)
            queue.appendleft(request)

    def set_rate(self, campaign_id: str, rate: float | None) -> None:
        """Ask for this campaign's permits by another rate from now on."""
        for request in self._campaigns.get(campaign_id, ()):
            request.ask = replace(request.ask, campaign_rate=rate)
        self._campaign_not_before.pop(campaign_id, None)

    def defer(self, at: float) -> None:
        """Return nothing from ``take`` before ``at``."""
        self._not_before = at

    def defer_campaign(self, campaign_id: str, at: float) -> None:
        """Return nothing of this campaign from ``take`` before ``at``."""
        self._campaign_not_before[campaign_id] = at

    def next_at(self) -> float:
        """When ``take`` may return something; for a queue that is not empty."""
        first = min((self._campaign_not_before.get(id, 0.0) for id in self._campaigns), default=0.0)
        return max(self._not_before, first)
