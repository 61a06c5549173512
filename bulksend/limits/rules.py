"""The numbers of the limiter, each with its reason. The Lua scripts get them from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bulksend.messaging.states import Kind

#: Redis's clock is cut into slices. A permit is good for the slice that it names.
SLICES_PER_SECOND = 80
SLICE_MS = 1000.0 / SLICES_PER_SECOND
#: This many slices in a row hold at most a limit's messages of a second: a second touches 81 of them, and one more
#: where clocks and ways to the vendor disagree by up to a slice. 80 of 82 is 97.6 % of a limit (docs/decisions/0002).
WINDOW = SLICES_PER_SECOND + 2
#: A token of the account's rate may be used in its own slice or in one of this many after it, because the tokens of its
#: senders do not lie in the same slices: 80 of 86 is 93 % of it.
ACCOUNT_CARRY = 4
#: Slices are numbered within 28 hours, so that tokens of small rates add up and products stay exact.
CYCLE = 100_000 * WINDOW

#: How far ahead of its earliest use a slice is given, ms. This makes the priority of lanes: a code finds the next slice
#: first, because marketing never takes one that is more than 100 ms away.
HORIZON_MS: Mapping[Kind, float] = {Kind.OTP: 1000.0, Kind.UTILITY: 250.0, Kind.MARKETING: 100.0}
#: The maximum lead of a caller.
MAX_LEAD_MS = 250.0
#: A slice ends at most this far in the future.
FARTHEST_MS = MAX_LEAD_MS + max(HORIZON_MS.values()) + SLICE_MS

#: The layout of the memory: one of another program counts as lost.
LAYOUT = "slices 2"
#: After the limiter lost its memory it gives no permit for this time: until the last old slice, a second, and a margin.
BLACKOUT_MS = FARTHEST_MS + 1100.0
#: A process remembers its permits that a quota counts for this long, for a Redis that lost them.
KEPT_MS = 2 * FARTHEST_MS
#: The wait before the next ask for a sender whose quota is not known yet.
COLD_AGAIN_MS = 250.0
#: Restarts within this time of each other count as one: several workers notice the same restart.
SAME_START_MS = 2000.0
#: If Redis's clock went back by more than this, slices in the future are not valid any more: the limiter starts again.
CLOCK_BACK_MS = 1000.0

#: One token in this many is kept for codes; at low rates one in CODES_SLICES slices, at most every second token. A code
#: finds a slice soon although a blast uses the whole rate of its sender. One in BULK_EVERY is kept for marketing, which
#: a flood of codes would hold up.
CODES_EVERY, CODES_SLICES, BULK_EVERY = 8, 2, 20
#: Until this long before the slice could be used by others, ms: a waiting worker asks every 25 ms.
CODES_CLOSE_MS, BULK_CLOSE_MS = 25.0, 50.0

DAY_MS = 86_400_000.0

#: Slowdown: half of the rate, at most once in SLOW_EVERY_MS, never below SLOWEST, full again after CLIMB_MS. A single
#: throttle costs as much as 5 s of sending; a vendor that throttles again keeps the rate down.
SLOW_EVERY_MS, SLOWEST, CLIMB_MS = 1000.0, 0.05, 20_000.0

#: The circuit breaker: this many outages in a row open it for OPEN_MS, doubled by each failed probe up to OPEN_MOST_MS.
#: Only two, because each POST into an outage may leave a message unknown.
OUTAGES, OPEN_MS, OPEN_MOST_MS = 2, 2000.0, 60_000.0
#: While one worker's probe is in flight, the others ask again after this time.
PROBE_LOOK_MS = 500.0
#: A probe's permit is valid for this long: nothing else is sent meanwhile, so no limit can be exceeded.
PROBE_LATE_MS = 2000.0


@dataclass(frozen=True, slots=True)
class LimitRules:
    """The limits that an installation may set. Raises ValueError for values out of range.

    ``account_rate``: messages/s over all senders, None for no limit. The defaults of the pair rate are WhatsApp's
    (docs/vendor.md#limits). ``otp_reserve``: the part of a quota that marketing leaves to other kinds. ``answer_ms``:
    the maximum time of a POST; a probe without a report for longer is replaced.
    """

    account_rate: float | None = None
    pair_interval_ms: float = 6000.0
    pair_burst: int = 45
    otp_reserve: float = 0.05
    answer_ms: float = 35_000.0

    def __post_init__(self) -> None:
        if self.account_rate is not None and not self.account_rate > 0:
            raise ValueError(f"the account's rate must be more than 0 messages/s, not {self.account_rate}")
        if self.pair_interval_ms <= 0 or self.pair_burst < 1:
            raise ValueError("the pair rate needs an interval of more than 0 ms and a burst of at least 1")
        if not 0 <= self.otp_reserve <= 1:
            raise ValueError(f"the reserve for codes must be between 0 and 1, not {self.otp_reserve}")

    @property
    def probe_ms(self) -> float:
        """How long after its permit a probe may be in flight."""
        return FARTHEST_MS + PROBE_LATE_MS + self.answer_ms

    @property
    def pair_tolerance_ms(self) -> float:
        """How far the messages of a pair may run ahead of its interval."""
        return (self.pair_burst - 1) * self.pair_interval_ms
