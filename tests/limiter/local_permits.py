"""The limiter in one process's memory: the readable counterpart of the Lua scripts, and the limiter of other tests.

One contract suite runs on both, by the same clock, and expects the same answers.
"""

from __future__ import annotations

import copy
import math
import os
import threading
from bisect import insort
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from bulksend.limits.ask_groups import Group, group_asks
from bulksend.limits.keyed_hashes import KeyedHashes
from bulksend.limits.rules import (
    ACCOUNT_CARRY,
    BLACKOUT_MS,
    CLOCK_BACK_MS,
    COLD_AGAIN_MS,
    DAY_MS,
    MAX_LEAD_MS,
    LimitRules,
)
from bulksend.limits.types import Ask, Gate, Grant, Permit, Reported, Slowed, Wait
from bulksend.messaging.outcome import Scope
from bulksend.messaging.states import LANES, Kind
from tests.limiter.circuit_breaker import Breaker, Slowdown
from tests.limiter.slices import CampaignWindow, Limit, PaceAt, Reach, begin_of, nothing_taken

_PRUNE_PAIRS_ABOVE = 20_000


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
class _Turn:
    """A group in the middle of being answered."""

    group: Group
    asks: list[Ask]
    sender: Limit
    account: Limit | None
    window: CampaignWindow | None
    campaign_rate: float
    reach: Reach
    at: int
    """The first slice that may have room for it."""
    next: int = 0


@dataclass(slots=True)
class _Call:
    """How many messages of one call begin in each slice, at most ``per_slice``."""

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
        self._prune_above = _PRUNE_PAIRS_ABOVE
        self._lock = threading.Lock()

    # -- the door --------------------------------------------------------------------------------------

    def ask(self, asks: Sequence[Ask], *, lead_ms: float, per_slice: int | None = None) -> Grant:
        """See Permits."""
        with self._lock:
            now = self._clock_ms()
            memory = self._remember(now)
            answers: list[Permit | Wait] = [_NO_ANSWER] * len(asks)
            needs_restore = not memory.warm
            free = []
            for group in group_asks(asks):
                held = self._held(memory, group, now)
                if held is None:
                    free.append(group)
                    continue
                helps = now >= memory.cold_until
                needs_restore = needs_restore or (held.gate is Gate.COLD and helps)
                for place in group.places:
                    answers[place] = held
            call = _Call(per_slice)
            turns = [self._turn(memory, group, asks, now, lead_ms) for group in free]
            for lane in LANES:
                self._serve(memory, _queues(turns, lane), now, answers, call)
            memory.turn = (memory.turn + call.begun.total()) % 1_000_000
            self._prune(memory, now)
            epoch, opened_ms = f"local-{memory.epoch_ms:.0f}", memory.breaker.opened_ms()
            return Grant(tuple(answers), now, needs_restore, epoch, opened_ms)

    def peek(self, ask: Ask) -> tuple[Wait, ...]:
        """See Permits."""
        with self._lock:
            now = self._clock_ms()
            memory = copy.deepcopy(self._remember(now))
            group = group_asks([ask])[0]
            held = [*self._paused_by(memory, group), *self._cold(memory, group, now)]
            until = memory.breaker.holds_until(now)
            if until is not None:
                held.append(Wait(Gate.OUTAGE, until))
            turn = self._turn(memory, group, [ask], now, 0.0)
            held += _rates_that_hold(turn)
            recipient, pair = self._recipient_and_pair(ask)
            by_recipient = (self._quota(memory, turn, recipient, now), self._pair(memory, pair, now))
            held += [wait for wait in by_recipient if wait is not None and not ask.counted]
            return tuple(held)

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

    def _prune(self, memory: _Memory, now: float) -> None:
        if len(memory.pairs) > self._prune_above:
            memory.pairs = {pair: until for pair, until in memory.pairs.items() if until > now}
            self._prune_above = max(_PRUNE_PAIRS_ABOVE, 2 * len(memory.pairs))

    # -- one call --------------------------------------------------------------------------------------

    def _turn(self, memory: _Memory, group: Group, asks: Sequence[Ask], now: float, lead_ms: float) -> _Turn:
        soonest = now + min(max(lead_ms, 0.0), MAX_LEAD_MS)
        if group.limits.quota is None:
            memory.quota_known = False  # its messages are not counted
        of_account = f"account:{self.hashes.account_tag}"
        of_sender = f"sender:{self.hashes.sender(group.sender)}"
        account = window = None
        if self._rules.account_rate is not None:
            account = _limit(memory, of_account, self._rules.account_rate, (of_account,))
            account.carry = ACCOUNT_CARRY
        if group.campaign_rate is not None:
            window = memory.campaigns.setdefault(group.campaign_id, CampaignWindow())
        reach = Reach(now, soonest, group.kind, narrow=group.campaign_rate is not None)
        return _Turn(
            group,
            [asks[place] for place in group.places],
            _limit(memory, of_sender, group.limits.rate, (of_sender, of_account)),
            account,
            window,
            group.campaign_rate or 0.0,
            reach,
            reach.first,
        )

    def _serve(
        self,
        memory: _Memory,
        queues: list[deque[_Turn]],
        now: float,
        answers: list[Permit | Wait],
        call: _Call,
    ) -> None:
        """One message of each sender in turn, in the order of its asks: the caller knows how its campaigns share it.

        Who begins is who would have been next in the last call.
        """
        begin = memory.turn % len(queues) if queues else 0
        queues = queues[begin:] + queues[:begin]
        while queues:
            for queue in queues:
                turn = queue.popleft()
                answer, for_all = self._one(memory, turn, turn.asks[turn.next], now, call)
                last = len(turn.asks) if for_all else turn.next + 1
                for place in turn.group.places[turn.next : last]:
                    answers[place] = answer
                turn.next = last
                while queue and queue[0].next == len(queue[0].asks):
                    queue.popleft()
            queues = [queue for queue in queues if queue]

    def _one(
        self, memory: _Memory, turn: _Turn, ask: Ask, now: float, call: _Call
    ) -> tuple[Permit | Wait, bool]:
        """The answer, and whether it is that of all the rest of the group."""
        until = memory.breaker.holds_until(now)
        if until is not None:
            return Wait(Gate.OUTAGE, until), True
        slice = _slice_for(turn, call)
        if isinstance(slice, Wait):
            return slice, True
        recipient, pair = self._recipient_and_pair(ask)
        held = None
        if not ask.counted:
            held = self._quota(memory, turn, recipient, now) or self._pair(memory, pair, now)
        if held is not None:
            return held, False
        call.begun[slice] += 1
        for limit in _limits(turn):
            limit.take(slice, turn.reach)
        if turn.window is not None:
            turn.window.take(slice, turn.campaign_rate)
        if not ask.counted:
            self._count(memory, ask, recipient, pair, begin_of(slice))
        is_probe = memory.breaker.gave(now, self._rules.probe_ms)
        return Permit.of_probe(begin_of(slice)) if is_probe else Permit(begin_of(slice)), False

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

    def _held(self, memory: _Memory, group: Group, now: float) -> Wait | None:
        """What holds the whole group, whoever its recipients are."""
        return next(iter([*self._paused_by(memory, group), *self._cold(memory, group, now)]), None)

    def _paused_by(self, memory: _Memory, group: Group) -> list[Wait]:
        fields = (
            (Gate.ACCOUNT_PAUSED, f"account:{self.hashes.account_tag}"),
            (Gate.SENDER_PAUSED, f"sender:{self.hashes.sender(group.sender)}"),
            (Gate.CAMPAIGN_PAUSED, f"campaign:{group.campaign_id}"),
        )
        return [Wait(gate, None) for gate, item in fields if memory.pauses.get(item)]

    def _cold(self, memory: _Memory, group: Group, now: float) -> list[Wait]:
        if now < memory.cold_until:
            return [Wait(Gate.COLD, memory.cold_until)]
        if not memory.warm or (group.limits.quota is not None and not memory.quota_known):
            return [Wait(Gate.COLD, now + COLD_AGAIN_MS)]
        return []

    def _quota(self, memory: _Memory, turn: _Turn, recipient: str, now: float) -> Wait | None:
        quota = turn.group.limits.quota
        if quota is None:
            return None
        known = memory.recipients
        for old in [r for r, at in known.items() if at <= now - DAY_MS]:
            del known[old]
        most = quota - int(quota * self._rules.otp_reserve) if turn.reach.kind is Kind.MARKETING else quota
        if recipient in known or len(known) < most:
            return None
        ages: list[float] = []
        for at in known.values():
            insort(ages, at)
        over = len(known) - most
        return Wait(Gate.QUOTA, ages[over] + DAY_MS if over < len(ages) else None)

    def _pair(self, memory: _Memory, pair: str, now: float) -> Wait | None:
        ahead_of = max(memory.pairs.get(pair, 0.0), memory.pair_floor)
        opens_at = ahead_of - self._rules.pair_tolerance_ms
        return Wait(Gate.PAIR_RATE, opens_at) if opens_at > now else None


_NO_ANSWER = Wait(Gate.COLD, None)
_FULL = Slowdown()


def _limit(memory: _Memory, item: str, rate: float, slowed: Sequence[str]) -> Limit:
    """A limit with what is taken of it, as slow as these say together."""
    paces = [memory.slow.get(each, _FULL).now for each in slowed]
    return Limit(rate, memory.taken.setdefault(item, nothing_taken()), _together(paces))


def _together(paces: Sequence[PaceAt]) -> PaceAt:
    return lambda at_ms: math.prod(pace(at_ms) for pace in paces)


def _limits(turn: _Turn) -> list[Limit]:
    return [turn.sender] if turn.account is None else [turn.sender, turn.account]


def _earliest(turn: _Turn) -> int:
    return 0 if turn.window is None else turn.window.earliest(turn.campaign_rate)


def _slice_for(turn: _Turn, call: _Call) -> int | Wait:
    """The first slice in which every limit has room for a message."""
    reach, earliest, tight = turn.reach, _earliest(turn), turn.sender
    if earliest > reach.last:
        return Wait(Gate.CAMPAIGN_RATE, begin_of(earliest) - reach.ahead)
    for slice in range(max(turn.at, earliest), reach.last + 1):
        if call.may_begin(slice) and turn.sender.room(slice, reach)[0] > 0:
            if turn.account is None or turn.account.token_for(slice, reach) is not None:
                turn.at = slice
                return slice
            tight = turn.account
    return tight.wait(Gate.SENDER_RATE if tight is turn.sender else Gate.ACCOUNT_RATE, reach)


def _rates_that_hold(turn: _Turn) -> list[Wait]:
    """Each rate by itself."""
    gates = (Gate.SENDER_RATE, Gate.ACCOUNT_RATE)
    found = [
        limit.wait(gate, turn.reach)
        for gate, limit in zip(gates, _limits(turn), strict=False)
        if not limit.has_room(turn.reach)
    ]
    earliest = _earliest(turn)
    if earliest > turn.reach.last:
        found.append(Wait(Gate.CAMPAIGN_RATE, begin_of(earliest) - turn.reach.ahead))
    return found


def _queues(turns: list[_Turn], lane: Kind) -> list[deque[_Turn]]:
    """The messages of a lane by sender, each as its group's turn, in the order of the asks."""
    queues: dict[str, deque[_Turn]] = {}
    by_place = {place: turn for turn in turns if turn.group.kind is lane for place in turn.group.places}
    for _, turn in sorted(by_place.items(), key=itemgetter(0)):
        queues.setdefault(turn.group.sender, deque()).append(turn)
    return list(queues.values())


def _begin(now: float, rules: LimitRules) -> _Memory:
    """Cold: a blackout, and the burst of every pair counts as spent."""
    return _Memory(now, cold_until=now + BLACKOUT_MS, pair_floor=now + rules.pair_tolerance_ms, last_ms=now)
