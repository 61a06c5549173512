"""The numbers of the limiter, each with its reason. The Lua scripts get them from here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bulksend.messaging.states import Kind

#: The part of each limit that is used. N slots take 1000 / 0.985 = 1015.2 ms, so POSTs that begin up to 8 ms late and
#: take up to 7 ms longer on their way than others do not exceed the limit in any second (docs/decisions/0002).
USED, LATE_MS = 0.985, 8.0
#: Above this rate the workers are the limit and not the rate: a smaller part of it is used, a slot is valid for longer
#: (N slots take 1000 / 0.945 = 1058.2 ms), and unused slots are not made up for.
VAST, VAST_USED, VAST_LATE_MS = 4000.0, 0.945, 50.0
#: Unused slots are made up for by later ones: in each second one for this many messages of the rate. A rate below this
#: number has none.
UNUSED_EVERY = 10
#: One unused slot in this many is remembered beyond those that count, for slots in the future that were left out.
UNUSED_MORE = 4

#: How far ahead of its earliest use a slot is given, ms. This makes the priority of lanes: a code finds the next slot
#: first, because marketing never takes one that is more than 100 ms away.
HORIZON_MS: Mapping[Kind, float] = MappingProxyType(
    {Kind.OTP: 1000.0, Kind.UTILITY: 250.0, Kind.MARKETING: 100.0}
)
#: The maximum lead of a caller.
MAX_LEAD_MS = 250.0
#: A slot is at most this far in the future.
FARTHEST_MS = MAX_LEAD_MS + max(HORIZON_MS.values())

#: After the limiter lost its memory it gives no permit for this time: until the last old slot, a second, and a margin.
BLACKOUT_MS = FARTHEST_MS + 1100.0
#: The wait before the next ask for a sender whose quota is not known yet.
COLD_AGAIN_MS = 250.0
#: Restarts within this time of each other count as one: several workers notice the same restart.
SAME_START_MS = 2000.0
#: If Redis's clock went back by more than this, slots in the future are not valid any more: the limiter starts again.
CLOCK_BACK_MS = 1000.0

#: During a flood of codes one slot after this many is reserved for marketing: 1 in 19 is 5.3 %.
KEEP_EVERY = 18
#: A reserved slot that marketing has not taken this long before its time goes to codes.
RECLAIM_MS = 50.0
#: During a blast one slot in this many is reserved for codes, at most this many ms apart (at 80/s every fourth): a code
#: finds a slot soon although the blast uses the whole rate of its sender.
CODES_EVERY, CODES_MS = 8, 40.0
#: A slot reserved for codes goes to others this many steps before its time, within these bounds in ms: a waiting
#: worker asks every 20 ms and is sometimes late.
CODES_CLOSE_STEPS, CODES_CLOSE_LEAST_MS, CODES_CLOSE_MOST_MS = 3, 20.0, 30.0
#: One message of a rate in this many is never given. A POST may lose the processor between its last look at the clock
#: and its first byte for longer than all tolerances: without this spare, four workers at 1,000/s sent 1,001 in a second
#: in one of about twenty runs.
SPARE_EVERY = 500
#: The number of free gaps that are remembered; beyond it the oldest is lost, which only wastes its slots.
MOST_GAPS = 256
#: Instants closer than this are equal (rounding to 0.1 us adds up along the slots).
SAME_MS = 0.002

#: The resolution of an instant of this century as a double, parts of a millisecond. A step is a whole number of parts,
#: so that N steps are exactly N times one step.
FINEST = 4096

DAY_MS = 86_400_000.0

#: Slowdown: half of the rate, at most once in SLOW_EVERY_MS, never below SLOWEST, full again after CLIMB_MS. A single
#: throttle costs as much as 5 s of sending; a vendor that throttles again keeps the rate down.
SLOW_EVERY_MS, SLOWEST, CLIMB_MS = 1000.0, 0.05, 20_000.0

#: The circuit breaker: this many outages in a row open it for OPEN_MS, doubled by each failed probe up to OPEN_MOST_MS.
#: Only two, because each POST into an outage may leave a message unknown.
OUTAGES, OPEN_MS, OPEN_MOST_MS = 2, 2000.0, 60_000.0
#: While one worker's probe is in flight, the others ask again after this time.
PROBE_LOOK_MS = 500.0
#: A probe's slot is valid for this long: nothing else is sent meanwhile, so no limit can be exceeded.
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


def window_ms(rate: float) -> float:
    """The time in which at most one second's worth of ``rate`` is given: more than a second, because POSTs are late."""
    return 1000.0 / (VAST_USED if rate > VAST else USED)


def late_ms(rates: Iterable[float]) -> float:
    """How late a slot of these rates (messages/s) may be used."""
    return VAST_LATE_MS if min(rates) > VAST else LATE_MS
