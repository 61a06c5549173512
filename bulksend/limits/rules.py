"""The numbers that the limiter goes by, each with its reason. The Lua scripts get them from here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bulksend.messaging.states import Kind

#: Of each limit this part is used, so that POSTs up to 8 ms late, and 7 ms of jitter on their way,
#: cannot make a second fuller than the limit: N slots take 1000 / 0.985 = 1015.2 ms, more than 1000 + 8 + 7
#: (docs/decisions/0002).
USED, LATE_MS = 0.985, 8.0
#: A rate above VAST is one that nobody fills, and what holds its messages up is the time it takes to begin them: less
#: of it is used, and a slot is good for longer: N slots take 1000 / 0.945 = 1058.2 ms. Nothing is made up for.
VAST, VAST_USED, VAST_LATE_MS = 4000.0, 0.945, 50.0
#: Of slots that were missed, or that nobody came for, so many a second are made up for: one for every so many that the
#: rate allows (voids in timeline.py). A rate below this many a second has none.
VOID_EVERY = 10
#: A part of them, one in so many, is remembered beyond those that count: for what was left out and is yet to come.
VOIDS_MORE = 4

#: How far ahead of its earliest use a slot is given, ms. This is the priority: who may reach farther finds
#: the next slot first, since bulk never takes one that is more than 100 ms away.
HORIZON_MS: Mapping[Kind, float] = MappingProxyType(
    {Kind.OTP: 1000.0, Kind.UTILITY: 250.0, Kind.MARKETING: 100.0}
)
#: A caller's lead is taken as at most this.
MAX_LEAD_MS = 250.0
#: The farthest slot that can be out there.
FARTHEST_MS = MAX_LEAD_MS + max(HORIZON_MS.values())

#: After a loss of memory nothing is given for so long: the last old slot, a whole second after it, and a
#: margin.
BLACKOUT_MS = FARTHEST_MS + 1100.0
#: A sender whose memory is cold is worth asking for again so soon.
COLD_AGAIN_MS = 250.0
#: Cold starts that follow each other within this are one: several workers notice the same restart.
SAME_START_MS = 2000.0
#: Redis's clock went back by more than this: slots in the future mean nothing any more, begin anew.
CLOCK_BACK_MS = 1000.0

#: Of slots beyond bulk's reach (a flood of codes), each so-manyeth is left free for marketing: 1 in 19 is 5.3
#: %.
KEEP_EVERY = 18
#: ... and taken back for codes if marketing has not claimed it when it is this close: both have had the time to ask.
RECLAIM_MS = 50.0
#: Of slots that others than codes take, each so-manyeth is left free for codes, and two are no farther apart than this
#: (at 80/s every fourth): a code among a blast that uses a sender's whole rate finds one within moments.
CODES_EVERY, CODES_MS = 8, 40.0
#: ... and given to others when it is so many steps close, at least and at most so many ms: whoever waits for a rate
#: asks every 20 ms and is late now and then. Of a fast rate what nobody came for is made up for (voids), and a code
#: waits less.
CODES_CLOSE_STEPS, CODES_CLOSE_LEAST_MS, CODES_CLOSE_MOST_MS = 3, 20.0, 30.0
#: Of a rate one message in so many is never given: a POST that is kept from the processor between its last look at
#: the clock and its first byte, for longer than all tolerances, must not be the one too many. Where each missed slot is
#: made up for, nothing else is left for it: in one of some twenty runs four workers of 1,000/s made 1,001.
SPARE_EVERY = 500
#: Free gaps before a frontier that are remembered; beyond that the oldest is forgotten, which only wastes it.
MOST_GAPS = 256
#: Instants nearer than this are the same (rounding to 0.1 us adds up along a row of slots).
SAME_MS = 0.002

#: Parts of a millisecond that an instant of this century can tell apart. Steps are whole parts: so many of them are
#: just as long as that many times one.
FINEST = 4096

DAY_MS = 86_400_000.0

#: Slowing down: half the rate, at most once in SLOW_EVERY_MS, never below SLOWEST, full again after CLIMB_MS. One
#: stray throttle costs 5 s of sending (a quarter of 20 s); a vendor that means it throttles again and holds it down.
SLOW_EVERY_MS, SLOWEST, CLIMB_MS = 1000.0, 0.05, 20_000.0

#: The breaker: this many outages in a row open it for OPEN_MS, doubled by each failed probe up to OPEN_MOST_MS. Two, as
#: each POST into an outage may leave a message in doubt.
OUTAGES, OPEN_MS, OPEN_MOST_MS = 2, 2000.0, 60_000.0
#: Then one probe is under way in the whole fleet. A worker that waits for its answer asks again after this time.
PROBE_LOOK_MS = 500.0
#: A probe's slot is good for so long: nothing else is sent meanwhile, so it makes no second fuller than the limit.
PROBE_LATE_MS = 2000.0


@dataclass(frozen=True, slots=True)
class LimitRules:
    """What an installation may set. ``account_rate`` in messages/s over all senders, None for none.

    WhatsApp: one message per 6 s to one recipient, burst 45; excess is error 131056 (Meta, messaging limits).
    ``otp_reserve`` is the part of a quota that marketing leaves free. ``answer_ms`` is how long a POST may take: a
    probe of which nothing was heard for longer, as its worker died, is replaced.
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
        """How long after its permit a probe may be under way."""
        return FARTHEST_MS + PROBE_LATE_MS + self.answer_ms

    @property
    def pair_tolerance_ms(self) -> float:
        """How far a pair may run ahead of its interval."""
        return (self.pair_burst - 1) * self.pair_interval_ms


@dataclass(frozen=True, slots=True)
class Pace:
    """How slots of a rate lie: ``step`` ms from one to the next, and of those in ``window`` ms ``voids`` go unused."""

    step: float
    window: float
    voids: int = 0


def window_ms(rate: float) -> float:
    """The time in which no more may be sent than ``rate`` allows in a second: longer, as POSTs are late."""
    return 1000.0 / (VAST_USED if rate > VAST else USED)


def late_ms(rates: Iterable[float]) -> float:
    """How late a slot may be used that all these rates allowed, messages/s."""
    return VAST_LATE_MS if min(rates) > VAST else LATE_MS


def pace(rate: float, factor: float = 1.0) -> Pace:
    """Of ``rate`` messages/s, slowed to ``factor`` of it."""
    voids = 0 if rate > VAST else math.floor(rate * factor / VOID_EVERY)
    slots = rate * factor - math.floor(rate * factor / SPARE_EVERY) + voids
    step = math.ceil(window_ms(rate) / slots * FINEST) / FINEST
    return Pace(step, step * slots, voids)
