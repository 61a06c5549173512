"""The same rules in one process's memory: what a worker goes by while Redis is away, with its share of each limit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence

from bulksend.limits.words import (
    BLACKOUT_MS,
    CLIMB_MS,
    DAY_MS,
    HORIZON_MS,
    OPEN_MOST_MS,
    OPEN_MS,
    OUTAGES,
    PROBE_MS,
    SLOW_EVERY_MS,
    SLOWEST,
    USED,
    Ask,
    Gate,
    Grant,
    Permit,
    Wait,
)
from bulksend.messaging.outcome import Scope
from bulksend.messaging.states import Kind

_MOST_PAIRS = 200_000


class MemoryPermits:
    """The limiter's rules by one clock. ``share`` is this process's part of every rate and quota."""

    def __init__(
        self,
        clock_ms: Callable[[], float],
        *,
        share: float = 1.0,
        account_rate: float | None = None,
        otp_reserve: float = 0.05,
        pair_interval_ms: float = 6000.0,
        pair_burst: int = 45,
        began_ms: float | None = None,
    ) -> None:
        """``began_ms`` is since when it knows everything; None: since its first ask, as after a wipe."""
        self._clock_ms = clock_ms
        self.share = share
        self._account_rate = account_rate
        self._reserve = otp_reserve
        self._pair_ms = pair_interval_ms
        self._burst_ms = (pair_burst - 1) * pair_interval_ms
        self._lock = threading.Lock()
        self.forget()
        self._epoch = began_ms
        self._warm = began_ms is not None

    def forget(self) -> None:
        """Lose all memory, as Redis does when it is wiped: begin cold."""
        self._epoch: float | None = None
        self._warm = False
        self._tats: dict[str, float] = {}
        self._pairs: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._quotas: dict[str, OrderedDict[str, float]] = {}
        self._slow: dict[str, tuple[float, float]] = {}
        self._paused: set[str] = set()
        self._fails = 0
        self._open_until = self._open_ms = self._next_probe = 0.0

    def ask(self, asks: Sequence[Ask], *, lead_ms: float) -> Grant:
        """See Permits."""
        with self._lock:
            now = self._clock_ms()
            if self._epoch is None:
                self._epoch = now
            answers = tuple(self._one(ask, now, lead_ms) for ask in asks)
            return Grant(answers, now, 1, needs_restore=not self._warm)

    def peek(self, ask: Ask) -> tuple[Wait, ...]:
        """Every gate that holds this message now. Changes nothing."""
        with self._lock:
            return tuple(self._gates(ask, self._clock_ms(), 0.0)[0])

    def _one(self, ask: Ask, now: float, lead_ms: float) -> Permit | Wait:
        waits, slot, pair = self._gates(ask, now, lead_ms)
        if waits:
            return waits[0]
        sender = "s:" + ask.sender
        self._spend(sender, slot, ask.sender_limits.rate * self._factor(sender, now))
        if self._account_rate is not None:
            self._spend("a", slot, self._account_rate * self._factor("a", now))
        if ask.campaign_rate is not None:
            self._spend("c:" + ask.campaign_id, slot, ask.campaign_rate)
        if not ask.exchange:
            self._remember(ask, slot, pair)
        if self._fails >= OUTAGES:
            self._next_probe = now + PROBE_MS
        return Permit(slot)

    def _remember(self, ask: Ask, slot: float, pair: float) -> None:
        self._pairs[(ask.sender, ask.recipient)] = pair + self._pair_ms
        self._pairs.move_to_end((ask.sender, ask.recipient))
        while len(self._pairs) > _MOST_PAIRS:
            self._pairs.popitem(last=False)
        if ask.sender_limits.quota is not None:
            recipients = self._quotas.setdefault(ask.sender, OrderedDict())
            recipients[ask.recipient] = slot
            recipients.move_to_end(ask.recipient)

    def _gates(self, ask: Ask, now: float, lead_ms: float) -> tuple[list[Wait], float, float]:
        waits: list[Wait] = []
        epoch = self._epoch if self._epoch is not None else now
        if now < epoch + BLACKOUT_MS:
            waits.append(Wait(Gate.COLD, epoch + BLACKOUT_MS))
        elif not self._warm:
            waits.append(Wait(Gate.COLD, now + 50))
        for field, gate in (
            ("a", Gate.ACCOUNT_PAUSED),
            ("s:" + ask.sender, Gate.SENDER_PAUSED),
            ("c:" + ask.campaign_id, Gate.CAMPAIGN_PAUSED),
        ):
            if field in self._paused:
                waits.append(Wait(gate, None))
        if self._fails >= OUTAGES:
            if now < self._open_until:
                waits.append(Wait(Gate.OUTAGE, self._open_until))
            elif now < self._next_probe:
                waits.append(Wait(Gate.OUTAGE, self._next_probe))
        pair = self._pairs.get((ask.sender, ask.recipient))
        # Nothing known of a pair soon after memory was lost: its burst may be spent already.
        pair = max(now, pair if pair is not None else min(epoch + self._burst_ms, now + self._burst_ms))
        if not ask.exchange and pair - now > self._burst_ms:
            waits.append(Wait(Gate.PAIR_RATE, pair - self._burst_ms))
        if ask.sender_limits.quota is not None and not ask.exchange:
            waits += self._quota(ask, ask.sender_limits.quota, now)
        slot, gate = now + lead_ms, None
        for field, name, applies in (
            ("s:" + ask.sender, Gate.SENDER_RATE, True),
            ("a", Gate.ACCOUNT_RATE, self._account_rate is not None),
            ("c:" + ask.campaign_id, Gate.CAMPAIGN_RATE, ask.campaign_rate is not None),
        ):
            if applies and self._tats.get(field, 0.0) > slot:
                slot, gate = self._tats[field], name
        horizon = HORIZON_MS[ask.kind]
        if gate is not None and slot > now + max(horizon, lead_ms):
            waits.append(Wait(gate, slot - horizon))
        return waits, slot, pair

    def _quota(self, ask: Ask, quota: int, now: float) -> list[Wait]:
        recipients = self._quotas.setdefault(ask.sender, OrderedDict())
        while recipients and next(iter(recipients.values())) <= now - DAY_MS:
            recipients.popitem(last=False)
        if ask.recipient in recipients:
            return []
        whole = quota * self.share
        most = int(whole if ask.kind is Kind.OTP else whole * (1 - self._reserve))
        if len(recipients) < most:
            return []
        return [Wait(Gate.QUOTA, next(iter(recipients.values())) + DAY_MS if recipients else now + 60_000)]

    def _spend(self, field: str, slot: float, rate: float) -> None:
        self._tats[field] = slot + 1000 / (rate * self.share * USED)

    def _factor(self, field: str, now: float) -> float:
        if field not in self._slow:
            return 1.0
        factor, at = self._slow[field]
        return min(1.0, factor + (1 - factor) * (now - at) / CLIMB_MS)

    def report(self, *, slow: Iterable[tuple[Scope, str]] = (), outages: int = 0, successes: int = 0) -> None:
        """See Permits."""
        with self._lock:
            now = self._clock_ms()
            for scope, id in slow:
                field = _field(scope, id)
                if field not in self._slow or now - self._slow[field][1] >= SLOW_EVERY_MS:
                    self._slow[field] = (max(SLOWEST, self._factor(field, now) / 2), now)
            if successes:
                self._fails, self._open_until, self._open_ms, self._next_probe = 0, 0.0, 0.0, 0.0
            elif outages:
                self._fails += outages
                if self._fails >= OUTAGES and now >= self._open_until:
                    self._open_ms = min(OPEN_MOST_MS, max(OPEN_MS, self._open_ms * 2))
                    self._open_until = now + self._open_ms

    def pause(self, scope: Scope, id: str) -> None:
        """See Permits."""
        with self._lock:
            self._paused.add(_field(scope, id))

    def resume(self, scope: Scope, id: str) -> None:
        """See Permits."""
        with self._lock:
            self._paused.discard(_field(scope, id))

    def restore(
        self, *, pauses: Iterable[tuple[Scope, str]], recent: Mapping[str, Iterable[tuple[str, int]]]
    ) -> None:
        """See Permits."""
        with self._lock:
            self._paused |= {_field(scope, id) for scope, id in pauses}
            for sender, recipients in recent.items():
                merged = {r: float(at) for r, at in recipients}
                for recipient, at in self._quotas.get(sender, {}).items():
                    merged[recipient] = max(at, merged.get(recipient, 0.0))
                self._quotas[sender] = OrderedDict(sorted(merged.items(), key=lambda item: item[1]))
            self._warm = True


def _field(scope: Scope, id: str) -> str:
    return "a" if scope is Scope.ACCOUNT else f"s:{id}" if scope is Scope.SENDER else f"c:{id}"
