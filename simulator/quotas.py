"""What the account may still send: rates of sender and account, the pair rate, and money."""

from __future__ import annotations

from simulator.checks import Rejection
from simulator.settings import Limits
from simulator.windows import Limit

#: Pairs whose limit no longer binds are dropped when this many are kept.
_SWEEP_AT = 100_000


class Quotas:
    """The counters of the limits. Times are monotonic seconds."""

    def __init__(self, limits: Limits, balance: int | None) -> None:
        self._limits = limits
        self._account = (
            None if limits.per_account_per_second is None else Limit(limits.per_account_per_second)
        )
        self._senders: dict[str, Limit] = {}
        self._pairs: dict[tuple[str, str], float] = {}
        self._sweep_at = _SWEEP_AT
        self.balance = balance

    def take_rate(self, sender: str, now: float) -> Rejection | None:
        """Count one request of this sender; when a rate is exceeded, returns the rejection and counts nothing."""
        if self._account is not None and not self._account.has_room(now):
            return self._throttled(80007)
        per_sender = self._limits.per_sender_per_second
        if per_sender is not None:
            limit = self._senders.get(sender)
            if limit is None:
                limit = self._senders[sender] = Limit(per_sender)
            if not limit.has_room(now):
                return self._throttled(130429)
            limit.take(now)
        if self._account is not None:
            self._account.take(now)
        return None

    def _throttled(self, whatsapp_code: int) -> Rejection:
        match self._limits.answer:
            case "http_429":
                return Rejection("Too Many Requests", http_status=429)
            case "ret_code_153":
                return Rejection("Request throttled", 153)
            case "whatsapp_130429":
                return Rejection(f"(#{whatsapp_code}) Rate limit hit", 17115)

    def take_pair(self, sender: str, to: str, now: float) -> Rejection | None:
        """Count one message by the pair rate, one an interval with a burst (docs/vendor.md#limits), or reject it."""
        interval = self._limits.pair_interval_seconds
        if interval is None:
            return None
        free_at = max(self._pairs.get((sender, to), now), now) + interval
        if free_at - now > interval * self._limits.pair_burst + 1e-9:
            return Rejection("(#131056) (Business Account, Consumer Account) pair rate limit hit", 17115)
        self._pairs[sender, to] = free_at
        if len(self._pairs) >= self._sweep_at:
            self._pairs = {pair: until for pair, until in self._pairs.items() if until > now}
            self._sweep_at = max(_SWEEP_AT, 2 * len(self._pairs))
        return None

    @property
    def is_out_of_money(self) -> bool:
        """Whether the account cannot pay for another message."""
        return self.balance is not None and self.balance <= 0

    def pay(self) -> None:
        """Pay for one message."""
        if self.balance is not None:
            self.balance -= 1
