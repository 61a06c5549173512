"""The limiter in one process's memory: the readable counterpart of the Lua scripts, and the limiter of other tests.

One contract suite runs on both, by the same clock, and expects the same answers.
"""

from __future__ import annotations

import copy
import math
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from bulksend.limits.keyed_hashes import KeyedHashes
from bulksend.limits.rules import (
    ACCOUNT_CARRY,
    BLACKOUT_MS,
    CLOCK_BACK_MS,
    COLD_AGAIN_MS,
    DAY_MS,
    KEPT_MS,
    MAX_LEAD_MS,
    LimitRules,
)
from bulksend.limits.types import Ask, Gate, Grant, Permit, Reported, Slowed, Wait
from bulksend.messaging.outcome import Scope
from bulksend.messaging.states import LANES, Kind
from tests.limiter.circuit_breaker import Breaker, Slowdown
from tests.limiter.slices import CampaignWindow, Limit, PaceAt, Reach, begin_of, nothing_taken


@dataclass(slots=True)
class _Memory:
    """All that is lost when memory is lost."""

    epoch_ms: float
    warm: bool = False
    quota_known: bool = False
    cold_until: float = 0.0
    pair_floor: float = 0.0
    last_ms: float = 0.0
    turn: int = 0
    breaker: Breaker = field(default_factory=Breaker)
    taken: dict[str, dict[Kind, Counter[int]]] = field(default_factory=dict)
    """Of the limits of senders and of the account, by field."""
    campaigns: dict[str, CampaignWindow] = field(default_factory=dict)
    slow: dict[str, Slowdown] = field(default_factory=dict)
    pairs: dict[str, float] = field(default_factory=dict)
    recipients: dict[str, float] = field(default_factory=dict)
    """Of an account with a quota: when each was written to last, by whichever sender."""
    pauses: dict[str, bool] = field(default_factory=dict)
    """By field; False for one that was resumed while the memory was cold."""


@dataclass(slots=True)
class _Group:
    """What asks share that differ only in their recipients."""

    limits: list[Limit]
    """Of the sender, and of the account where it has one."""
    window: CampaignWindow | None
    campaign_rate: float
    reach: Reach
    at: int
    """The first slice that may have room for it."""
    held: Wait | None = None
    """What holds all that are not answered yet."""

    def campaign_wait(self) -> Wait | None:
        """For the campaign's own rate."""
        if self.earliest() <= self.reach.last:
            return None
        return Wait(Gate.CAMPAIGN_RATE, begin_of(self.earliest()) - self.reach.ahead)

    def earliest(self) -> int:
        """The first slice that the campaign's own rate allows."""
        return 0 if self.window is None else self.window.earliest(self.campaign_rate)


@dataclass(slots=True)
class _Call:
    """How many messages of one call begin in each slice, at most ``per_slice``."""

    now: float
    per_slice: int | None
    begun: Counter[int] = field(default_factory=Counter)

    def may_begin(self, slice: int) -> bool:
        """Whether the caller can begin another one in it."""
        return self.per_slice is None or self.begun[slice] < self.per_slice


class LocalPermits:
    """The rules by ``clock_ms``. Begins cold, as an empty Redis does: ``restore`` warms it.

    ``began_ms``: when its memory began; by default at the first call.
    """

    def __init__(
        self,
        clock_ms: Callable[[], float],
        *,
        hashes: KeyedHashes | None = None,
        rules: LimitRules | None = None,
        began_ms: float | None = None,
    ) -> None:
        self.hashes = hashes or KeyedHashes(os.urandom(32), "default")
        self._clock_ms = clock_ms
        self._rules = rules or LimitRules()
        self._memory = None if began_ms is None else _begin(began_ms, self._rules)
        self._lock = threading.Lock()
        self._told = self._memory
        """The memory of the newest answer, and the last permits that a quota counts: (recipient, begin)."""
        self._counted: deque[tuple[str, float]] = deque()

    # -- see Permits -----------------------------------------------------------------------------------

    def ask(self, asks: Sequence[Ask], *, lead_ms: float, per_slice: int | None = None) -> Grant:
        """See Permits."""
        with self._lock:
            now = self._clock_ms()
            memory = self._remember(now)
            alike = [replace(ask, recipient="") for ask in asks]
            held = {each: self._held(memory, each, now) for each in dict.fromkeys(alike)}
            needs_restore = not memory.warm or any(
                wait is not None and wait.gate is Gate.COLD and now >= memory.cold_until
                for wait in held.values()
            )
            groups = {
                each: self._group(memory, each, now, lead_ms) for each, wait in held.items() if wait is None
            }
            answers: dict[int, Permit | Wait] = {}
            call = _Call(now, per_slice)
            for lane in LANES:
                queues: dict[str, deque[tuple[int, Ask, _Group]]] = {}
                for place, (ask, key) in enumerate(zip(asks, alike, strict=True)):
                    if (wait := held[key]) is not None:
                        answers[place] = wait
                    elif ask.kind is lane:
                        queues.setdefault(ask.sender, deque()).append((place, ask, groups[key]))
                self._serve(memory, list(queues.values()), answers, call)
            memory.turn = (memory.turn + call.begun.total()) % 1_000_000
            epoch, opened_ms = f"local-{memory.epoch_ms:.0f}", memory.breaker.opened_ms()
            in_order = tuple(answers[place] for place in range(len(asks)))
            self._tell(memory, zip(asks, in_order, strict=True), now)
            return Grant(in_order, now, needs_restore, epoch, opened_ms)

    def peek(self, ask: Ask) -> tuple[Wait, ...]:
        """See RedisPermits."""
        with self._lock:
            now = self._clock_ms()
            memory = copy.deepcopy(self._remember(now))
            held = [*self._paused_by(memory, ask), *self._cold(memory, ask, now)]
            until = memory.breaker.holds_until(now)
            if until is not None:
                held.append(Wait(Gate.OUTAGE, until))
            group = self._group(memory, ask, now, 0.0)
            held += [
                limit.wait(gate, group.reach)
                for gate, limit in zip(_RATES, group.limits, strict=False)
                if not limit.has_room(group.reach)
            ]
            recipient, pair = self._recipient_and_pair(ask)
            others = [group.campaign_wait()]
            if not ask.counted:
                others += [self._quota(memory, ask, recipient, now), self._pair(memory, pair, now)]
            return (*held, *(wait for wait in others if wait is not None))

    def report(
        self,
        *,
        slow: Iterable[tuple[Scope, str]] = (),
        outages: int = 0,
        successes: int = 0,
        probe_over: bool = False,
    ) -> Reported:
        """See Permits."""
        with self._lock:
            now = self._clock_ms()
            memory = self._remember(now)
            slowed = []
            for item, one in {self.hashes.field(scope, id): (scope, id) for scope, id in slow}.items():
                change = memory.slow.setdefault(item, Slowdown()).slow(now)
                if change is not None:
                    slowed.append(Slowed(*one, *change))
            memory.breaker.report(outages, successes, probe_over, now)
            return Reported(memory.breaker.opened_ms(), tuple(slowed))

    def pause(self, scope: Scope, id: str) -> None:
        """See Permits."""
        with self._lock:
            self._remember(self._clock_ms()).pauses[self.hashes.field(scope, id)] = True

    def resume(self, scope: Scope, id: str) -> None:
        """See Permits."""
        with self._lock:
            memory = self._remember(self._clock_ms())
            if memory.warm:
                memory.pauses.pop(self.hashes.field(scope, id), None)
            else:  # a restore that is under way may have read the ledger before it was resumed there
                memory.pauses[self.hashes.field(scope, id)] = False

    def paused(self) -> tuple[tuple[Scope, str], ...]:
        """See Permits."""
        with self._lock:
            pauses = self._remember(self._clock_ms()).pauses
            return tuple(self.hashes.unfield(item) for item, paused in pauses.items() if paused)

    def restore(
        self, *, pauses: Iterable[tuple[Scope, str]], recent: Iterable[tuple[str, float]] | None
    ) -> None:
        """See Permits."""
        with self._lock:
            memory = self._remember(self._clock_ms())
            if recent is not None:
                known = memory.recipients
                for number, at_ms in recent:
                    recipient = self.hashes.recipient(number)
                    known[recipient] = max(float(at_ms), known.get(recipient, 0.0))
                memory.quota_known = True
            if not memory.warm:
                for scope, id in pauses:
                    memory.pauses.setdefault(self.hashes.field(scope, id), True)
                memory.pauses = {item: paused for item, paused in memory.pauses.items() if paused}
                memory.warm = True

    def forget(self) -> None:
        """Lose all memory, as a Redis that was wiped."""
        with self._lock:
            self._memory = _begin(self._clock_ms(), self._rules)

    # -- memory ----------------------------------------------------------------------------------------

    def _remember(self, now: float) -> _Memory:
        memory = self._memory
        if memory is None or now < memory.last_ms - CLOCK_BACK_MS:
            memory = self._memory = _begin(now, self._rules)
        memory.last_ms = max(memory.last_ms, now)
        return memory

    def _tell(self, memory: _Memory, answered: Iterable[tuple[Ask, Permit | Wait]], now: float) -> None:
        """Tell a new memory the last permits that a quota counts: the ledger has them later."""
        if memory is not self._told:
            for recipient, begins in self._counted:
                memory.recipients[recipient] = max(begins, memory.recipients.get(recipient, 0.0))
        self._told = memory
        self._counted += [
            (self.hashes.recipient(ask.recipient), answer.begin_ms)
            for ask, answer in answered
            if isinstance(answer, Permit) and ask.sender_limits.quota is not None and not ask.counted
        ]
        while self._counted and self._counted[0][1] < now - KEPT_MS:
            self._counted.popleft()

    # -- one call --------------------------------------------------------------------------------------

    def _group(self, memory: _Memory, ask: Ask, now: float, lead_ms: float) -> _Group:
        if ask.sender_limits.quota is None:
            memory.quota_known = False  # its messages are not counted
        of_account = f"account:{self.hashes.account_tag}"
        of_sender = f"sender:{self.hashes.sender(ask.sender)}"
        limits = [_limit(memory, of_sender, ask.sender_limits.rate, (of_sender, of_account))]
        if self._rules.account_rate is not None:
            limits.append(_limit(memory, of_account, self._rules.account_rate, (of_account,)))
            limits[-1].carry = ACCOUNT_CARRY
        window = None
        if ask.campaign_rate is not None:
            window = memory.campaigns.setdefault(ask.campaign_id, CampaignWindow())
        soonest = now + min(max(lead_ms, 0.0), MAX_LEAD_MS)
        reach = Reach(now, soonest, ask.kind, narrow=ask.campaign_rate is not None)
        return _Group(limits, window, ask.campaign_rate or 0.0, reach, reach.first)

    def _serve(
        self,
        memory: _Memory,
        queues: list[deque[tuple[int, Ask, _Group]]],
        answers: dict[int, Permit | Wait],
        call: _Call,
    ) -> None:
        """One message of each sender in turn, in the order of its asks: the caller knows how its campaigns share it.

        Who begins is who would have been next in the last call.
        """
        begin = memory.turn % len(queues) if queues else 0
        queues = queues[begin:] + queues[:begin]
        while queues:
            for queue in queues:
                while queue:
                    place, ask, group = queue.popleft()
                    if group.held is None:
                        answers[place] = self._one(memory, group, ask, call)
                        break
                    answers[place] = group.held
            queues = [queue for queue in queues if queue]

    def _one(self, memory: _Memory, group: _Group, ask: Ask, call: _Call) -> Permit | Wait:
        until = memory.breaker.holds_until(call.now)
        slice = Wait(Gate.OUTAGE, until) if until is not None else _slice_for(group, call)
        if isinstance(slice, Wait):
            group.held = slice
            return slice
        recipient, pair = self._recipient_and_pair(ask)
        if not ask.counted:
            held = self._quota(memory, ask, recipient, call.now) or self._pair(memory, pair, call.now)
            if held is not None:
                return held
            self._count(memory, ask, recipient, pair, begin_of(slice))
        call.begun[slice] += 1
        for limit in group.limits:
            limit.take(slice, group.reach)
        if group.window is not None:
            group.window.slices.append(slice)
        return Permit(begin_of(slice), probe=memory.breaker.gave(call.now, self._rules.probe_ms))

    def _recipient_and_pair(self, ask: Ask) -> tuple[str, str]:
        recipient = self.hashes.recipient(ask.recipient)
        return recipient, self.hashes.sender(ask.sender) + recipient

    def _count(self, memory: _Memory, ask: Ask, recipient: str, pair: str, begins: float) -> None:
        """What is counted by recipient: once a message, however often it asks again."""
        if ask.sender_limits.quota is not None:
            memory.recipients[recipient] = begins
        floor = max(memory.pairs.get(pair, 0.0), memory.pair_floor, begins)
        memory.pairs[pair] = floor + self._rules.pair_interval_ms

    # -- gates -----------------------------------------------------------------------------------------

    def _held(self, memory: _Memory, ask: Ask, now: float) -> Wait | None:
        """The first gate that holds it by sender, campaign or account: a pause, or a new memory."""
        return next(iter([*self._paused_by(memory, ask), *self._cold(memory, ask, now)]), None)

    def _paused_by(self, memory: _Memory, ask: Ask) -> list[Wait]:
        fields = (
            (Gate.ACCOUNT_PAUSED, f"account:{self.hashes.account_tag}"),
            (Gate.SENDER_PAUSED, f"sender:{self.hashes.sender(ask.sender)}"),
            (Gate.CAMPAIGN_PAUSED, f"campaign:{ask.campaign_id}"),
        )
        return [Wait(gate, None) for gate, item in fields if memory.pauses.get(item)]

    def _cold(self, memory: _Memory, ask: Ask, now: float) -> list[Wait]:
        if now < memory.cold_until:
            return [Wait(Gate.COLD, memory.cold_until)]
        if not memory.warm or (ask.sender_limits.quota is not None and not memory.quota_known):
            return [Wait(Gate.COLD, now + COLD_AGAIN_MS)]
        return []

    def _quota(self, memory: _Memory, ask: Ask, recipient: str, now: float) -> Wait | None:
        quota = ask.sender_limits.quota
        if quota is None:
            return None
        known = memory.recipients
        for old in [r for r, at in known.items() if at <= now - DAY_MS]:
            del known[old]
        most = quota - int(quota * self._rules.otp_reserve) if ask.kind is Kind.MARKETING else quota
        if recipient in known or len(known) < most:
            return None
        over = len(known) - most
        return Wait(Gate.QUOTA, sorted(known.values())[over] + DAY_MS if over < len(known) else None)

    def _pair(self, memory: _Memory, pair: str, now: float) -> Wait | None:
        ahead_of = max(memory.pairs.get(pair, 0.0), memory.pair_floor)
        opens_at = ahead_of - self._rules.pair_tolerance_ms
        return Wait(Gate.PAIR_RATE, opens_at) if opens_at > now else None


_RATES = (Gate.SENDER_RATE, Gate.ACCOUNT_RATE)
_FULL = Slowdown()


def _limit(memory: _Memory, item: str, rate: float, slowed: Sequence[str]) -> Limit:
    """A limit with what is taken of it, as slow as these say together."""
    paces = [memory.slow.get(each, _FULL).now for each in slowed]
    return Limit(rate, memory.taken.setdefault(item, nothing_taken()), _together(paces))


def _together(paces: Sequence[PaceAt]) -> PaceAt:
    return lambda at_ms: math.prod(pace(at_ms) for pace in paces)


def _slice_for(group: _Group, call: _Call) -> int | Wait:
    """The first slice in which every limit has room for a message."""
    wait, reach, tight = group.campaign_wait(), group.reach, 0
    if wait is not None:
        return wait
    sender, *account = group.limits
    for slice in range(max(group.at, group.earliest()), reach.last + 1):
        if call.may_begin(slice) and sender.room(slice, reach)[0] > 0:
            if all(limit.token_for(slice, reach) is not None for limit in account):
                group.at = slice
                return slice
            tight = 1
    return group.limits[tight].wait(_RATES[tight], reach)


def _begin(now: float, rules: LimitRules) -> _Memory:
    """Cold: a blackout, and the burst of every pair counts as spent."""
    return _Memory(now, cold_until=now + BLACKOUT_MS, pair_floor=now + rules.pair_tolerance_ms, last_ms=now)
