"""A fleet whose Redis goes and comes back, by one clock that we set: the real scripts, with a line that can be cut."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
import redis

from bulksend.clock import RemoteClock
from bulksend.limits import (
    Ask,
    FallbackPermits,
    Gate,
    Grant,
    LimiterUnreachable,
    LimitRules,
    LocalPermits,
    Paused,
    Permit,
    RedisPermits,
    SenderLimits,
    Spacing,
    Wait,
    needs_restore,
)
from bulksend.limits.rules import BLACKOUT_MS, RETURN_BLACKOUT_MS, pace
from bulksend.limits.scripts import Scripts
from bulksend.messaging.outcome import Scope
from bulksend.messaging.states import Kind

START_MS = 1_900_000_000_000.0
KEY = b"a key of the fallback tests ....."
SENDER = "447700900001"


@dataclass
class Line:
    """The way of one worker to Redis. Cut, every call fails as redis-py's do."""

    permits: RedisPermits
    cut: bool = False
    cut_for_pauses: bool = False

    def _end(self) -> RedisPermits:
        if self.cut:
            raise redis.ConnectionError("the line is cut")
        return self.permits

    def ask(
        self, asks: Sequence[Ask], *, lead_ms: float, spread: Spacing | None = None, returned: bool = False
    ) -> Grant:
        return self._end().ask(asks, lead_ms=lead_ms, spread=spread, returned=returned)

    def peek(self, ask: Ask) -> tuple[Wait, ...]:
        return self._end().peek(ask)

    def report(
        self,
        *,
        slow: Iterable[tuple[Scope, str]] = (),
        outages: int = 0,
        successes: int = 0,
        probe_over: bool = False,
    ) -> float | None:
        return self._end().report(slow=slow, outages=outages, successes=successes, probe_over=probe_over)

    def pause(self, scope: Scope, id: str, why_code: str = "") -> None:
        self.cut = self.cut or self.cut_for_pauses
        self._end().pause(scope, id, why_code)

    def resume(self, scope: Scope, id: str) -> None:
        self._end().resume(scope, id)

    def paused(self) -> tuple[Paused, ...]:
        return self._end().paused()

    def restore(
        self, *, pauses: Iterable[tuple[Scope, str]], recent: Mapping[str, Iterable[tuple[str, float]]]
    ) -> None:
        self._end().restore(pauses=pauses, recent=recent)

    def close(self) -> None:
        self._end().close()


class Roster:
    """What the workers tell each other, as the ledger's table keeps it."""

    def __init__(self) -> None:
        self.away: dict[str, bool] = {}
        self.lost = False

    def peer(self, name: str) -> Peer:
        self.away[name] = False
        return Peer(self, name)


@dataclass
class Peer:
    """One worker's view of it."""

    roster: Roster
    name: str

    def report_limiter_away(self, away: bool) -> tuple[int, int]:
        if self.roster.lost:
            raise ConnectionError
        self.roster.away[self.name] = away
        return sum(self.roster.away.values()), len(self.roster.away)


@dataclass
class Fleet:
    """Workers on one Valkey. Redis's clock runs an hour ahead of the machines' steady one."""

    valkey: redis.Redis
    size: int
    rate: float = 60.0
    now: float = START_MS
    account: str = field(default_factory=lambda: uuid.uuid4().hex)
    recipients: int = 0
    roster: Roster = field(default_factory=Roster)

    def __post_init__(self) -> None:
        self.workers: list[FallbackPermits] = []
        self.lines: list[Line] = []
        self.slots: list[float] = []
        self.advance(0)
        for number in range(self.size):
            self.add(f"worker {number}")

    def add(self, name: str) -> FallbackPermits:
        key = f"clock:{self.account}"
        primary = RedisPermits(self.valkey, hash_key=KEY, account=self.account, worker_id=name)
        own_clock = f"local function clock() return tonumber(redis.call('GET', '{key}')) end"
        scripts = Scripts.build(primary.tags.account_tag, own_clock)
        line = Line(
            RedisPermits(self.valkey, hash_key=KEY, account=self.account, worker_id=name, scripts=scripts)
        )
        clock = RemoteClock(lambda: self.now / 1000 - 3_600)
        rules = LimitRules(pair_burst=1)
        local = LocalPermits(clock, tags=primary.tags, rules=rules, knows_quotas=False)
        self.lines.append(line)
        self.workers.append(FallbackPermits(line, local, clock, peers=self.roster.peer(name), beats=False))
        return self.workers[-1]

    def advance(self, ms: float) -> None:
        self.now = round(self.now + ms, 3)
        self.valkey.set(f"clock:{self.account}", repr(self.now))

    def message(
        self,
        *,
        to: str | None = None,
        quota: int | None = None,
        campaign: str = "spring",
        kind: Kind = Kind.UTILITY,
    ) -> Ask:
        self.recipients += 1
        recipient = to or f"1202555{self.recipients:07}"
        return Ask(kind, SENDER, campaign, recipient, SenderLimits(self.rate, quota), None)

    def run(self, seconds: float, every_ms: float = 25.0) -> int:
        """All ask for as much as they can get; each beats once a second, at a moment of its own. How many got it."""
        before = len(self.slots)
        for tick in range(int(seconds * 1000 / every_ms)):
            for number, worker in enumerate(self.workers):
                if (tick + 7 * number) % int(1000 / every_ms) == 0:
                    worker.beat()
                grant = worker.ask([self.message() for _ in range(6)], lead_ms=4)
                assert grant.now_ms == pytest.approx(self.now, abs=0.01)
                if needs_restore(grant):
                    worker.restore(pauses=[], recent={})
                self.slots += [a.slot_ms for a in grant.answers if isinstance(a, Permit)]
            self.advance(every_ms)
        return len(self.slots) - before

    def warm(self) -> None:
        self.run((BLACKOUT_MS + 100) / 1000)
        for worker in self.workers:
            worker.beat()

    def cut(self, cut: bool = True) -> None:
        for line in self.lines:
            line.cut = cut

    def fullest_second(self) -> int:
        ordered = sorted(self.slots)
        most = first = 0
        for last, slot in enumerate(ordered):
            while slot - ordered[first] >= 1012:
                first += 1
            most = max(most, last - first + 1)
        return most


@pytest.fixture
def fleet(valkey: redis.Redis) -> Fleet:
    made = Fleet(valkey, size=3)
    made.warm()
    return made


def test_over_going_being_away_and_coming_back_no_second_is_fuller_than_the_limit(fleet: Fleet) -> None:
    assert fleet.run(3) >= 0.97 * 60 * 3
    fleet.cut()
    # A beat of each, in which they learn that all are away; then nothing for a blackout.
    fleet.run(1 + BLACKOUT_MS / 1000)
    # Each by itself: 3 x floor(60 / 3) a second.
    assert fleet.run(5) >= 0.95 * 60 * 5
    fleet.cut(False)
    fleet.run(RETURN_BLACKOUT_MS / 1000 + 1.5)
    assert fleet.run(3) >= 0.97 * 60 * 3
    assert fleet.fullest_second() <= 60


def test_a_redis_that_comes_back_empty_keeps_every_second_within_the_limit(fleet: Fleet) -> None:
    fleet.run(2)
    fleet.cut()
    fleet.run(5)
    for key in fleet.valkey.scan_iter("bs:*"):
        fleet.valkey.delete(key)
    fleet.cut(False)
    fleet.run(8)
    assert fleet.run(2) >= 0.97 * 60 * 2
    assert fleet.fullest_second() <= 60


@pytest.mark.parametrize("size", [1, 2, 7])
def test_the_parts_of_a_fleet_never_add_up_to_more_than_the_whole(valkey: redis.Redis, size: int) -> None:
    fleet = Fleet(valkey, size=size, rate=25.0)
    fleet.warm()
    fleet.slots.clear()
    fleet.cut()
    fleet.run(7)
    assert 0 < fleet.fullest_second() <= 25


def test_a_blip_stops_nobody(fleet: Fleet) -> None:
    fleet.run(1)
    fleet.lines[0].cut = True
    fleet.run(0.3)
    assert fleet.workers[0].away
    fleet.lines[0].cut = False
    fleet.workers[0].beat()
    assert not fleet.workers[0].away
    assert fleet.run(2) >= 0.97 * 60 * 2


def test_while_redis_is_away_a_sender_with_a_quota_waits_and_the_ledger_is_not_asked_for_more(
    fleet: Fleet,
) -> None:
    fleet.cut()
    fleet.run(4)
    worker = fleet.workers[0]
    grant = worker.ask([fleet.message(quota=1000)], lead_ms=0)
    assert [a.gate for a in grant.answers if isinstance(a, Wait)] == [Gate.COLD]
    assert not needs_restore(grant)


def test_while_redis_is_away_a_recipient_gets_one_message_per_pair_interval(fleet: Fleet) -> None:
    fleet.cut()
    fleet.run(4)
    worker = fleet.workers[0]
    fleet.advance(300)
    answers = worker.ask([fleet.message(to="447700900100") for _ in range(2)], lead_ms=0).answers
    assert [type(a) for a in answers] == [Permit, Wait]
    assert isinstance(answers[1], Wait)
    assert answers[1].gate is Gate.PAIR_RATE


def test_pauses_last_known_hold_while_redis_is_away(fleet: Fleet) -> None:
    fleet.workers[0].pause(Scope.CAMPAIGN, "spring", "operator")
    fleet.workers[1].beat()
    fleet.cut()
    fleet.run(1)
    grant = fleet.workers[1].ask([fleet.message()], lead_ms=0)
    assert grant.answers == (Wait(Gate.CAMPAIGN_PAUSED, None),)
    assert [flag.why_code for flag in fleet.workers[1].paused()] == ["operator"]


def test_what_is_paused_and_resumed_while_redis_is_away_reaches_it_when_it_is_back(fleet: Fleet) -> None:
    worker = fleet.workers[0]
    worker.pause(Scope.CAMPAIGN, "old")
    fleet.cut()
    worker.pause(Scope.SENDER, SENDER)
    worker.pause(Scope.CAMPAIGN, "spring")
    worker.resume(Scope.CAMPAIGN, "old")
    assert worker.away
    assert worker.ask([fleet.message()], lead_ms=0).answers == (Wait(Gate.SENDER_PAUSED, None),)
    fleet.cut(False)
    worker.beat()
    flags = {(flag.scope, flag.id) for flag in fleet.workers[2].paused()}
    assert flags == {(Scope.SENDER, fleet.lines[0].permits.tags.sender(SENDER)), (Scope.CAMPAIGN, "spring")}


def test_a_pause_given_while_redis_was_away_is_not_forgotten_when_coming_back_fails_half_way(
    fleet: Fleet,
) -> None:
    worker, line = fleet.workers[0], fleet.lines[0]
    fleet.cut()
    worker.pause(Scope.CAMPAIGN, "spring")
    fleet.cut(False)
    line.cut_for_pauses = True
    worker.beat()
    assert worker.away
    line.cut = line.cut_for_pauses = False
    worker.beat()
    assert [flag.id for flag in fleet.workers[1].paused()] == ["spring"]


def test_a_worker_that_never_reached_redis_gets_nothing_and_says_why(valkey: redis.Redis) -> None:
    fleet = Fleet(valkey, size=1)
    fleet.cut()
    with pytest.raises(LimiterUnreachable, match="no permit is given"):
        fleet.workers[0].ask([fleet.message()], lead_ms=0)
    fleet.cut(False)
    fleet.workers[0].beat()
    assert fleet.run(6) > 0


def test_a_fleet_that_never_had_shares_waits_only_as_long_as_an_empty_redis_does(valkey: redis.Redis) -> None:
    fleet = Fleet(valkey, size=1)
    fleet.cut()
    fleet.workers[0].beat()
    fleet.advance(60_000)
    fleet.cut(False)
    fleet.workers[0].beat()
    began = fleet.now
    fleet.run(6)
    assert BLACKOUT_MS <= min(fleet.slots) - began < RETURN_BLACKOUT_MS - 1000


def test_while_redis_is_away_a_worker_still_learns_to_stop_and_to_go_slower(fleet: Fleet) -> None:
    fleet.cut()
    fleet.run(4)
    worker = fleet.workers[0]
    worker.report(outages=5)
    assert worker.peek(fleet.message())[0].gate is Gate.OUTAGE
    worker.report(successes=1)
    worker.report(slow=[(Scope.SENDER, SENDER)])
    fleet.advance(500)
    asks = [fleet.message(kind=Kind.OTP) for _ in range(2)]
    first, second = (a.slot_ms for a in worker.ask(asks, lead_ms=0).answers if isinstance(a, Permit))
    # Half of its third of 60/s, and 500 of the 20,000 ms of climbing back.
    assert second - first == pytest.approx(pace(20, 0.5 * (1 + 0.5 / 20)).step, rel=0.02)


def test_workers_are_those_heard_of_lately_and_a_good_bye_counts_at_once(fleet: Fleet) -> None:
    assert fleet.workers[0].ask([], lead_ms=0).workers == 3
    fleet.workers[2].close()
    assert fleet.workers[0].ask([], lead_ms=0).workers == 2
    fleet.advance(9_000)
    fleet.workers[0].beat()
    fleet.advance(2_000)
    assert fleet.workers[0].ask([], lead_ms=0).workers == 1


def test_a_worker_that_is_cut_off_alone_gets_nothing_and_the_others_the_whole(fleet: Fleet) -> None:
    fleet.lines[0].cut = True
    fleet.run(BLACKOUT_MS / 1000)
    fleet.slots.clear()
    began = len(fleet.slots)
    assert fleet.run(5) >= 0.97 * 60 * 5
    assert began == 0
    assert all(not isinstance(a, Permit) for a in fleet.workers[0].ask([fleet.message()], lead_ms=4).answers)
    fleet.lines[0].cut = False
    fleet.run(RETURN_BLACKOUT_MS / 1000 + 1.5)
    assert fleet.run(3) >= 0.97 * 60 * 3
    assert fleet.fullest_second() <= 60


def test_when_one_of_all_comes_back_first_no_second_is_fuller_than_the_limit(fleet: Fleet) -> None:
    fleet.run(2)
    fleet.cut()
    fleet.run(6)
    fleet.lines[0].cut = False
    fleet.run(8)
    fleet.cut(False)
    fleet.run(8)
    assert fleet.fullest_second() <= 60


def test_a_newcomer_that_reaches_redis_while_the_others_go_by_their_shares_waits_for_them(
    fleet: Fleet,
) -> None:
    fleet.cut()
    fleet.run(6)
    fleet.add("newcomer")
    fleet.run(8)
    assert fleet.fullest_second() <= 60


def test_without_the_ledger_nobody_goes_by_a_share(fleet: Fleet) -> None:
    fleet.roster.lost = True
    fleet.cut()
    fleet.run(BLACKOUT_MS / 1000 + 1)
    assert fleet.run(3) == 0
