"""The limiter in one process's memory: the readable counterpart of the Lua scripts, and the limiter of other tests.

One contract suite runs on both, by the same clock, and expects the same answers.
"""

from __future__ import annotations

import copy
import os
import threading
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from bulksend.limits.ask_groups import Group, group_asks, rates_of
from bulksend.limits.keyed_hashes import KeyedHashes
from bulksend.limits.rules import (
    BLACKOUT_MS,
    CLOCK_BACK_MS,
    COLD_AGAIN_MS,
    DAY_MS,
    HORIZON_MS,
    MAX_LEAD_MS,
    LimitRules,
    late_ms,
)
from bulksend.limits.types import Ask, Gate, Grant, Paused, Permit, Reported, Slowed, Spacing, Wait
from bulksend.messaging.outcome import Scope
from bulksend.messaging.states import LANES, Kind
from tests.limiter.circuit_breaker import Breaker, Slowdown
from tests.limiter.timeline import Reach, Timeline, pace, stored
from tests.limiter.window import CampaignWindow

_PRUNE_PAIRS_ABOVE = 20_000


@dataclass(slots=True)
class _Sender:
    line: Timeline = field(default_factory=Timeline)


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
    line: Timeline = field(default_factory=Timeline)
    senders: dict[str, _Sender] = field(default_factory=dict)
    campaigns: dict[str, CampaignWindow] = field(default_factory=dict)
    slow: dict[str, Slowdown] = field(default_factory=dict)
    pairs: dict[str, float] = field(default_factory=dict)
    recipients: dict[str, float] = field(default_factory=dict)
    """Of an account with a quota: when each was written to last, by whichever sender."""
    pauses: dict[str, tuple[float, str] | None] = field(default_factory=dict)
    """By field: since when and why; None for one that was resumed while the memory was cold."""


@dataclass(slots=True)
class _Turn:
    """A group in the middle of being answered."""

    group: Group
    asks: list[Ask]
    sender: _Sender
    window: CampaignWindow | None
    campaign_rate: float
    reach: Reach
    limit: float
    """The latest slot that may be given."""
    late_ms: float
    next: int = 0

    @property
    def ahead(self) -> float:
        """How far from now that is."""
        return self.limit - self.reach.now

    def wait_for(self, gate: Gate, slot: float, line: Timeline) -> Wait:
        """Of a line that is used up: its next slot comes within reach, or one kept for others comes close."""
        return Wait(gate, min(slot - self.ahead, line.opens(self.reach)))


@dataclass(slots=True)
class _Call:
    """How many slots one call has been given, and how it spreads them."""

    spacing: Spacing | None
    given: int = 0

    @property
    def later_ms(self) -> float:
        """How much later than the soonest slot the next one may be at the soonest."""
        return 0.0 if self.spacing is None else self.given // self.spacing.together * self.spacing.apart_ms


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

    def ask(self, asks: Sequence[Ask], *, lead_ms: float, spacing: Spacing | None = None) -> Grant:
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
            call = _Call(spacing)
            turns = [self._turn(memory, group, asks, now, lead_ms) for group in free]
            for lane in LANES:
                self._serve(memory, _queues(turns, lane), now, answers, call)
            memory.turn = (memory.turn + call.given) % 1_000_000
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
            held += self._rates_that_hold(memory, turn)
            recipient, pair = self._recipient_and_pair(ask)
            by_recipient = (self._quota(memory, turn, recipient, now), self._pair(memory, pair, now))
            held += [wait for wait in by_recipient if wait is not None and not ask.exchange]
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

    def pause(self, scope: Scope, id: str, why_code: str = "") -> None:
        """See Permits."""
        with self._lock:
            now = self._clock_ms()
            self._remember(now).pauses[self.hashes.field(scope, id)] = (now, why_code)

    def resume(self, scope: Scope, id: str) -> None:
        """See Permits."""
        with self._lock:
            memory = self._remember(self._clock_ms())
            if memory.warm:
                memory.pauses.pop(self.hashes.field(scope, id), None)
            else:  # a restore that is under way may have read the ledger before it was resumed there
                memory.pauses[self.hashes.field(scope, id)] = None

    def paused(self) -> tuple[Paused, ...]:
        """See Permits."""
        with self._lock:
            pauses = self._remember(self._clock_ms()).pauses
            return tuple(
                Paused(*self.hashes.unfield(item), *flag) for item, flag in pauses.items() if flag is not None
            )

    def restore(
        self, *, pauses: Iterable[tuple[Scope, str]], recent: Iterable[tuple[str, float]] | None
    ) -> None:
        """See Permits."""
        with self._lock:
            now = self._clock_ms()
            memory = self._remember(now)
            if recent is not None:
                known = memory.recipients
                for number, at_ms in recent:
                    recipient = self.hashes.recipient(number)
                    known[recipient] = max(float(at_ms), known.get(recipient, 0.0))
                memory.quota_known = True
            if not memory.warm:
                for scope, id in pauses:
                    memory.pauses.setdefault(self.hashes.field(scope, id), (now, ""))
                memory.pauses = {item: flag for item, flag in memory.pauses.items() if flag is not None}
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
        tag = self.hashes.sender(group.sender)
        sender = memory.senders.setdefault(tag, _Sender())
        if group.limits.quota is None:
            memory.quota_known = False  # its messages are not counted
        account = memory.slow.get(f"account:{self.hashes.account_tag}", _FULL).now(now)
        factor = memory.slow.get(f"sender:{tag}", _FULL).now(now) * account
        rates = rates_of(group, self._rules)
        lines = [sender.line]
        sender.line.begin(now, pace(rates[0], factor))
        if self._rules.account_rate is not None:
            memory.line.begin(now, pace(self._rules.account_rate, account))
            lines.append(memory.line)
        for slot in [slot for place in group.places if (slot := asks[place].missed_ms)]:
            for line in lines:
                line.miss(slot, now, soonest)
        window = None
        if group.campaign_rate is not None:
            window = memory.campaigns.setdefault(group.campaign_id, CampaignWindow())
        return _Turn(
            group,
            [asks[place] for place in group.places],
            sender,
            window,
            group.campaign_rate or 0.0,
            Reach(now, soonest, group.kind, narrow=group.campaign_rate is not None),
            soonest + HORIZON_MS[group.kind],
            late_ms(rates),
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
        found = self._slot(memory, turn, turn.reach.soonest + call.later_ms)
        if isinstance(found, Wait):
            return found, True
        slot, own, shared = stored(found[0]), found[1], found[2]
        recipient, pair = self._recipient_and_pair(ask)
        held = None
        if not ask.exchange:
            held = self._quota(memory, turn, recipient, now) or self._pair(memory, pair, now)
        if held is not None:
            return held, False
        turn.sender.line.take(slot, own, turn.reach)
        if self._rules.account_rate is not None:
            memory.line.take(slot, shared, turn.reach)
        if turn.window is not None:
            turn.window.take(slot, turn.campaign_rate)
        if not ask.exchange:
            self._count(memory, ask, recipient, pair, slot)
        call.given += 1
        is_probe = memory.breaker.gave(now, self._rules.probe_ms)
        return Permit.of_probe(slot) if is_probe else Permit(slot, turn.late_ms), False

    def _recipient_and_pair(self, ask: Ask) -> tuple[str, str]:
        recipient = self.hashes.recipient(ask.recipient)
        return recipient, self.hashes.sender(ask.sender) + recipient

    def _count(self, memory: _Memory, ask: Ask, recipient: str, pair: str, slot: float) -> None:
        """What is counted by recipient: once a message, however often it exchanges its slot."""
        if ask.sender_limits.quota is not None:
            memory.recipients[recipient] = slot
        floor = max(memory.pairs.get(pair, 0.0), memory.pair_floor, slot)
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
        return [Wait(gate, None) for gate, item in fields if memory.pauses.get(item) is not None]

    def _cold(self, memory: _Memory, group: Group, now: float) -> list[Wait]:
        if now < memory.cold_until:
            return [Wait(Gate.COLD, memory.cold_until)]
        if not memory.warm or (group.limits.quota is not None and not memory.quota_known):
            return [Wait(Gate.COLD, now + COLD_AGAIN_MS)]
        return []

    def _slot(self, memory: _Memory, turn: _Turn, earliest: float) -> tuple[float, int, int] | Wait:
        """The first slot that every rate allows, with its gaps in the sender's and the account's line."""
        reach = turn.reach
        if turn.window is not None:
            own = turn.window.earliest(turn.campaign_rate, turn.sender.line.step)
            if own > turn.limit:
                return Wait(Gate.CAMPAIGN_RATE, own - turn.ahead)
            earliest = max(earliest, own)
        slot, gap = turn.sender.line.fit(earliest, reach, grid=earliest > reach.soonest)
        while slot <= turn.limit and self._rules.account_rate is not None:
            shared, shared_gap = memory.line.fit(slot, reach, grid=False)
            if shared <= slot:
                return slot, gap, shared_gap
            if shared > turn.limit:
                return turn.wait_for(Gate.ACCOUNT_RATE, shared, memory.line)
            slot, gap = turn.sender.line.fit(shared, reach, grid=False)
            if slot <= shared:
                return slot, gap, shared_gap
        if slot > turn.limit:
            return turn.wait_for(Gate.SENDER_RATE, slot, turn.sender.line)
        return slot, gap, 0

    def _rates_that_hold(self, memory: _Memory, turn: _Turn) -> list[Wait]:
        """Each rate by itself."""
        lines = [(Gate.SENDER_RATE, turn.sender.line)]
        if self._rules.account_rate is not None:
            lines.append((Gate.ACCOUNT_RATE, memory.line))
        found = []
        for gate, line in lines:
            at = line.fit(turn.reach.soonest, turn.reach, grid=False)[0]
            if at > turn.limit:
                found.append(turn.wait_for(gate, at, line))
        if turn.window is not None:
            earliest = turn.window.earliest(turn.campaign_rate, turn.sender.line.step)
            if earliest > turn.limit:
                found.append(Wait(Gate.CAMPAIGN_RATE, earliest - turn.ahead))
        return found

    def _quota(self, memory: _Memory, turn: _Turn, recipient: str, now: float) -> Wait | None:
        quota = turn.group.limits.quota
        if quota is None:
            return None
        known = memory.recipients
        for old in [r for r, at in known.items() if at <= now - DAY_MS]:
            del known[old]
        most = quota - int(quota * self._rules.otp_reserve) if turn.reach.bulk else quota
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
