"""What the limiter tells a forecast of codes, by a clock of the test's own."""

from __future__ import annotations

import time

import pytest
import redis

from bulksend.limits import Ask, Permit, RedisPermits, SenderLimits
from bulksend.limits.rules import BLACKOUT_MS, CLIMB_MS, COLD_AGAIN_MS, DAY_MS, OPEN_MS
from bulksend.messaging.code_delay import LimiterState, Pace
from bulksend.messaging.outcome import Scope
from bulksend.messaging.states import Kind

KEY, SENDER, CLOCK = b"k" * 32, "8615000579987", "the clock"
HOUR_MS = 3_600_000.0


class Limiter(RedisPermits):
    """A limiter whose scripts read ``CLOCK``."""

    def __init__(self, valkey: redis.Redis) -> None:
        self.valkey = valkey
        self.began = time.time()
        clock = f"local function clock() return tonumber(redis.call('GET', '{CLOCK}')) end"
        super().__init__(valkey, hash_key=KEY, account="1", clock=clock)

    def set_clock(self, seconds: float) -> None:
        """``seconds`` from the begin of the test on."""
        self.valkey.set(CLOCK, (self.began + seconds) * 1000)

    def state(self, quota: int | None = None) -> LimiterState:
        """What a code of SENDER can expect."""
        return self.outlook([SENDER], quota)

    def post(self, n: int = 0) -> bool:
        """Ask for a permit to write to the nth person; whether there was one."""
        limits = SenderLimits(80.0, None)
        asked = Ask(Kind.OTP, SENDER, "codes", f"447700900{n:03}", limits, None)
        return isinstance(self.ask([asked], lead_ms=0).answers[0], Permit)


@pytest.fixture
def limiter(valkey: redis.Redis) -> Limiter:
    made = Limiter(valkey)
    made.set_clock(-100)
    return made


def test_a_limiter_without_memory_is_cold_until_it_is_restored(limiter: Limiter) -> None:
    unknown = LimiterState(cold_ms=BLACKOUT_MS, open_ms=0, free_in_ms={SENDER: 0})
    assert limiter.state() == unknown, "no worker has asked yet"
    limiter.ask([], lead_ms=0)
    assert limiter.state() == unknown
    limiter.set_clock(-99)
    assert limiter.state().cold_ms == pytest.approx(BLACKOUT_MS - 1_000, abs=1)
    limiter.set_clock(-90)
    assert limiter.state().cold_ms == COLD_AGAIN_MS
    limiter.restore(pauses=[], recent=None)
    assert limiter.state().cold_ms == 0
    assert limiter.state().open_ms == pytest.approx(10_000 - BLACKOUT_MS, abs=1)
    assert limiter.state(quota=10).cold_ms == COLD_AGAIN_MS, "whom the quota counts is not known"
    limiter.valkey.hset(limiter.hashes.prefix + "state", "server", "of a file that another process wrote")
    assert limiter.state() == unknown


def test_a_breaker_is_closed_for_its_time_and_then_known_to_have_been(limiter: Limiter) -> None:
    limiter.ask([], lead_ms=0)
    limiter.restore(pauses=[], recent=None)
    limiter.set_clock(-90)
    assert limiter.post()
    limiter.report(outages=2)
    assert limiter.state().outage_ms == pytest.approx(OPEN_MS, abs=1)
    assert limiter.state().open_ms == 0
    limiter.set_clock(-90 + OPEN_MS / 1000 + 1)
    assert (limiter.state().outage_ms, limiter.state().open_ms) == (0, 0), "the next POST is a probe"
    limiter.report(successes=1, probe_over=True)
    limiter.set_clock(-90 + OPEN_MS / 1000 + 3)
    assert limiter.state().open_ms == pytest.approx(2_000, abs=1)


def test_a_slowed_sender_has_its_pace_and_the_accounts(limiter: Limiter) -> None:
    limiter.ask([], lead_ms=0)
    limiter.restore(pauses=[], recent=None)
    assert limiter.state().paces == {}
    limiter.report(slow=[(Scope.SENDER, SENDER)])
    assert limiter.state().paces == {SENDER: Pace(0.5, CLIMB_MS)}
    limiter.set_clock(-90)
    limiter.report(slow=[(Scope.ACCOUNT, "1")])
    pace = limiter.state().paces[SENDER]
    assert pace.part == pytest.approx(0.375, abs=0.01)
    assert pace.climb_ms == pytest.approx(CLIMB_MS, abs=1)


def test_the_first_free_slice_is_behind_all_permits(limiter: Limiter) -> None:
    limiter.ask([], lead_ms=0)
    limiter.restore(pauses=[], recent=None)
    limiter.set_clock(-90)
    assert limiter.state().free_in_ms == {SENDER: 0}
    assert all(limiter.post(n) for n in range(40))
    # 40 slices, about two that are empty or kept for marketing, and the rest of the one in which it was asked.
    assert limiter.state().free_in_ms[SENDER] == pytest.approx(537, abs=25)


def test_places_of_the_quota_get_free_24_hours_after_each_person(limiter: Limiter) -> None:
    now = time.time() * 1000
    recent = [(f"44770090090{n}", now - DAY_MS + n * HOUR_MS) for n in (1, 2, 3)]
    limiter.ask([], lead_ms=0)
    limiter.restore(pauses=[], recent=[*recent, ("447700900999", now - DAY_MS - HOUR_MS)])
    limiter.set_clock(0)
    assert limiter.state(quota=4).quota_used == 3
    assert limiter.counted(["447700900901", "447700900999", "447700900100"]) == {"447700900901"}
    assert limiter.counted([]) == frozenset()
    some = limiter.places(5, ahead=1)
    assert (some.free, some.wait_ms(0)) == (1, 0)
    assert some.wait_ms(2) == pytest.approx(2 * HOUR_MS, abs=5_000)
    none = limiter.places(3, ahead=1)
    assert none.free == 0
    assert none.wait_ms(0) == pytest.approx(2 * HOUR_MS, abs=5_000)
    assert limiter.places(0, ahead=0).wait_ms(0) is None
