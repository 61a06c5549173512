"""The limiter's rules, each on the Lua scripts in a real Valkey and on their counterpart in memory.

The tests set the clock of both.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import redis
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulksend.limits import (
    Ask,
    Gate,
    Grant,
    KeyedHashes,
    LimitRules,
    Permit,
    RedisPermits,
    SenderLimits,
    Slowed,
    Wait,
)
from bulksend.limits.rules import BLACKOUT_MS, SLICE_MS, SLICES_PER_SECOND, WINDOW
from bulksend.messaging.outcome import Scope
from bulksend.messaging.states import Kind
from tests.limiter.local_permits import LocalPermits
from worker.permits.sender_queue import PermitRequest, SenderQueue

START_MS = 1_900_000_000_000.0
DAY_MS = 86_400_000.0
#: A second touches one slice less than these, by exact clocks and equal ways.
SPAN_MS = WINDOW * SLICE_MS
KEY = b"a key of the contract suite ....."
SENDER, OTHER_SENDER = "447700900001", "447700900002"


@dataclass
class World:
    """A limiter whose clock stands still until it is moved."""

    permits: LocalPermits | RedisPermits
    _set: Callable[[float], None]
    wipe: Callable[[], None]
    now: float = START_MS
    recipients: int = 0

    def advance(self, ms: float) -> None:
        self.now = round(self.now + ms, 3)
        self._set(self.now)

    def warm(self) -> None:
        """Restored, the blackout over, and every pair's burst grown back."""
        self.permits.ask([], lead_ms=0)
        self.permits.restore(pauses=[], recent=[])
        self.advance(BLACKOUT_MS + 44 * 6000)

    def ask(
        self, *asks: Ask, lead_ms: float = 0.0, per_slice: int | None = None
    ) -> tuple[Permit | Wait, ...]:
        return self.permits.ask(asks, lead_ms=lead_ms, per_slice=per_slice).answers

    def someone(self) -> str:
        self.recipients += 1
        return f"1202555{self.recipients:07}"

    def message(
        self,
        kind: Kind = Kind.MARKETING,
        *,
        to: str | None = None,
        rate: float = 80.0,
        quota: int | None = None,
        campaign: str = "spring",
        campaign_rate: float | None = None,
        sender: str = SENDER,
        counted: bool = False,
    ) -> Ask:
        recipient = self.someone() if to is None else to
        return Ask(kind, sender, campaign, recipient, SenderLimits(rate, quota), campaign_rate, counted)


Make = Callable[[LimitRules], World]


def local_world(rules: LimitRules) -> World:
    clock = [START_MS]
    permits = LocalPermits(lambda: clock[0], hashes=KeyedHashes(KEY, "1"), rules=rules)
    return World(permits, lambda ms: clock.__setitem__(0, ms), permits.forget)


def redis_world(valkey: redis.Redis, rules: LimitRules) -> World:
    account = uuid.uuid4().hex
    key = f"clock:{account}"
    valkey.set(key, START_MS)
    tags = KeyedHashes(KEY, account)
    clock = f"local function clock() return tonumber(redis.call('GET', '{key}')) end"
    permits = RedisPermits(valkey, hash_key=KEY, account=account, rules=rules, clock=clock)

    def set_clock(ms: float) -> None:
        valkey.set(key, repr(ms))

    def wipe() -> None:
        for found in valkey.scan_iter(f"bs:{{{tags.account_tag}}}*", count=1000):
            valkey.delete(found)

    return World(permits, set_clock, wipe)


@pytest.fixture(params=["memory", "valkey"])
def make(request: pytest.FixtureRequest, valkey: redis.Redis) -> Make:
    if request.param == "memory":
        return local_world
    return lambda rules: redis_world(valkey, rules)


@pytest.fixture
def cold(make: Make) -> World:
    return make(LimitRules())


@pytest.fixture
def world(cold: World) -> World:
    cold.warm()
    return cold


def begins_of(answers: Sequence[Permit | Wait]) -> list[float]:
    return [answer.begin_ms for answer in answers if isinstance(answer, Permit)]


def gates_of(answers: Sequence[Permit | Wait]) -> list[Gate]:
    return [answer.gate for answer in answers if isinstance(answer, Wait)]


def fullest(begins: Sequence[float]) -> int:
    """The most messages in any WINDOW slices in a row."""
    ordered = sorted(begins)
    most = first = 0
    for last, begin in enumerate(ordered):
        while begin - ordered[first] >= SPAN_MS:
            first += 1
        most = max(most, last - first + 1)
    return most


def saturate(
    world: World, seconds: float, messages: Callable[[], list[Ask]], every_ms: float = 30.0
) -> dict[str, list[float]]:
    """Ask for more than there is, again and again; the begins of the slices by campaign."""
    begins: dict[str, list[float]] = {}
    for _ in range(int(seconds * 1000 / every_ms)):
        asks = messages()
        for ask, answer in zip(asks, world.ask(*asks, lead_ms=5.0), strict=True):
            if isinstance(answer, Permit):
                begins.setdefault(ask.campaign_id, []).append(answer.begin_ms)
        world.advance(every_ms)
    return begins


# -- rates ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1.0, 7.0, 80.0, 500.0, 2500.0])
def test_a_saturated_sender_uses_97_percent_and_no_second_is_fuller_than_its_limit(
    world: World, rate: float
) -> None:
    seconds = 12.0 if rate < 100 else 4.0
    many = int(rate * 0.15) + 2
    messages = lambda: [world.message(rate=rate) for _ in range(many)]  # noqa: E731
    # As often as a worker asks that waits for a rate.
    begins = saturate(world, seconds, messages, every_ms=25)["spring"]
    assert fullest(begins) <= rate
    assert len(begins) >= 0.97 * rate * (max(begins) - min(begins)) / 1000


@settings(max_examples=25, deadline=None)
@given(
    rate=st.floats(0.5, 300),
    calls=st.lists(
        st.tuples(st.floats(0, 400), st.sampled_from(list(Kind)), st.integers(1, 30), st.floats(0, 60)),
        min_size=1,
        max_size=25,
    ),
)
def test_no_second_is_ever_fuller_than_the_senders_limit(
    make: Make, rate: float, calls: list[tuple[float, Kind, int, float]]
) -> None:
    world = make(LimitRules())
    world.warm()
    begins = []
    for pause_ms, kind, many, lead_ms in calls:
        world.advance(pause_ms)
        given_now = begins_of(
            world.ask(*(world.message(kind, rate=rate, campaign=kind) for _ in range(many)), lead_ms=lead_ms)
        )
        assert all(begin + SLICE_MS / 2 >= world.now + lead_ms - 0.001 for begin in given_now)
        begins += given_now
    assert fullest(begins) <= -(-rate // 1)


def test_a_permit_is_good_for_its_slice(world: World) -> None:
    (permit,) = world.ask(world.message())
    assert isinstance(permit, Permit)
    assert permit.begin_ms % SLICE_MS == 0
    assert not permit.is_over(permit.begin_ms + SLICE_MS - 0.001)
    assert permit.is_over(permit.begin_ms + SLICE_MS)


def test_slices_are_given_no_farther_ahead_than_the_kinds_horizon(world: World) -> None:
    for kind, horizon, sender in (
        (Kind.MARKETING, 100, "447700900011"),
        (Kind.UTILITY, 250, "447700900012"),
        (Kind.OTP, 1000, "447700900013"),
    ):
        asks = [world.message(kind, sender=sender) for _ in range(120)]
        away = [begin - world.now - 20 for begin in begins_of(world.ask(*asks, lead_ms=20))]
        assert -SLICE_MS / 2 <= min(away) <= SLICE_MS
        # What is kept for other lanes may be at the end.
        assert horizon - 3 * SLICE_MS <= max(away) <= horizon


def test_a_wait_for_the_rate_says_from_when_asking_helps(world: World) -> None:
    wait = world.ask(*(world.message() for _ in range(30)))[-1]
    assert isinstance(wait, Wait)
    assert wait.gate is Gate.SENDER_RATE
    assert wait.until_ms is not None
    world.advance(wait.until_ms - world.now - 1)
    assert gates_of(world.ask(world.message())) == [Gate.SENDER_RATE]
    world.advance(1.1)
    assert len(begins_of(world.ask(world.message()))) == 1


def test_answers_come_in_the_order_of_the_asks_and_codes_get_the_first_slices(world: World) -> None:
    blast = [world.message() for _ in range(3)]
    codes = [world.message(Kind.OTP, campaign="codes") for _ in range(2)]
    answers = world.ask(blast[0], codes[0], blast[1], codes[1], blast[2])
    begins = begins_of(answers)
    assert len(begins) == 5
    assert begins[1] < begins[3] < begins[0] < begins[2] < begins[4]


@pytest.mark.parametrize(("rate", "most_ms"), [(80.0, 110), (500.0, 32), (2500.0, 32)])
def test_a_code_finds_its_slice_within_moments_while_a_blast_takes_all_it_can(
    world: World, rate: float, most_ms: float
) -> None:
    """Some tokens are kept for codes until the blast could begin them within 25 ms; a lead comes on top."""
    waited = []
    for _ in range(40):
        world.ask(*(world.message(rate=rate) for _ in range(int(rate * 0.15))), lead_ms=5)
        world.advance(20)
        begin = begins_of(world.ask(world.message(Kind.OTP, campaign="codes", rate=rate), lead_ms=5))[0]
        waited.append(begin - world.now)
    assert max(waited) <= 5 + most_ms


def test_a_flood_of_codes_leaves_bulk_its_twentieth_and_wastes_nothing(world: World) -> None:
    def both() -> list[Ask]:
        blast = [world.message(campaign="blast") for _ in range(10)]
        return blast + [world.message(Kind.OTP, campaign="codes") for _ in range(100)]

    begins = saturate(world, 8, both)
    first = world.now - 6000
    codes, blast = ([at for at in begins[name] if first <= at < world.now] for name in ("codes", "blast"))
    assert len(blast) >= 0.05 * (len(codes) + len(blast)) * 0.95
    assert len(blast) <= 0.1 * len(codes)
    assert fullest(codes + blast) <= 80


def test_a_flood_of_codes_alone_takes_back_what_was_left_for_bulk(world: World) -> None:
    begins = saturate(
        world, 6, lambda: [world.message(Kind.OTP, campaign="codes") for _ in range(100)], every_ms=10
    )["codes"]
    in_the_past = [begin for begin in begins if world.now - 4000 <= begin < world.now]
    assert len(in_the_past) >= 0.97 * 80 * 4


class Unanswered:
    """A message that waits for its permit."""

    def done(self) -> bool:
        return False

    def set_result(self, answer: object) -> None:
        raise AssertionError("the test keeps the answers itself")


@pytest.mark.parametrize("weight", [3, 1])
@pytest.mark.parametrize("every_ms", [10.0, 35.0, 150.0])
def test_campaigns_share_a_sender_by_their_weights_as_its_queue_orders_them(
    world: World, weight: int, every_ms: float
) -> None:
    weights = {"heavy": weight, "light": 1}
    queue = SenderQueue(0.1, weights.__getitem__)
    for name in [*weights] * 400:
        queue.add(PermitRequest(world.message(campaign=name), Unanswered()))
    given = dict.fromkeys(weights, 0)
    while sum(given.values()) < 400:
        requests = queue.take(250, world.now)
        waiting = []
        for request, answer in zip(
            requests, world.ask(*(request.ask for request in requests), lead_ms=5.0), strict=True
        ):
            if isinstance(answer, Permit):
                given[request.ask.campaign_id] += 1
                queue.count_permit(request.ask.campaign_id)
            else:
                waiting.append(request)
        for request in reversed(waiting):
            queue.put_back(request)
        world.advance(every_ms)
    assert given["heavy"] == pytest.approx(weight * given["light"], rel=0.03)


# -- campaign and account ------------------------------------------------------------------------------


@pytest.mark.parametrize("campaign_rate", [2.0, 10.0, 30.0, 33.0, 40.0, 79.0])
def test_a_campaign_alone_uses_its_own_rate_and_never_more(world: World, campaign_rate: float) -> None:
    begins = saturate(
        world, 10, lambda: [world.message(campaign_rate=campaign_rate) for _ in range(12)], every_ms=25
    )["spring"]
    assert fullest(begins) <= campaign_rate
    # Counted once the first second, in which they come a little closer together, is past.
    later = [begin for begin in begins if begin >= min(begins) + 1100]
    assert len(later) - 1 >= 0.96 * campaign_rate * (max(later) - min(later)) / 1000


@pytest.mark.parametrize("campaign_rate", [10.0, 30.0, 40.0])
def test_a_campaign_with_a_rate_of_its_own_does_not_hold_its_senders_other_campaigns_back(
    world: World, campaign_rate: float
) -> None:
    def both() -> list[Ask]:
        slow = [world.message(campaign="slow", campaign_rate=campaign_rate) for _ in range(6)]
        return slow + [world.message(campaign="fast") for _ in range(12)]

    begins = saturate(world, 8, both)
    everything = begins["slow"] + begins["fast"]
    assert fullest(everything) <= 80
    assert fullest(begins["slow"]) <= campaign_rate
    assert len(everything) >= 0.97 * 80 * (max(everything) - min(everything)) / 1000
    assert len(begins["slow"]) >= 0.9 * campaign_rate * 8


def test_a_campaigns_own_rate_is_named_as_the_gate(world: World) -> None:
    answers = world.ask(*(world.message(campaign_rate=1.0) for _ in range(3)))
    assert [type(answer) for answer in answers] == [Permit, Wait, Wait]
    assert gates_of(answers) == [Gate.CAMPAIGN_RATE] * 2


def test_the_accounts_rate_holds_over_all_senders_and_is_used(make: Make) -> None:
    world = make(LimitRules(account_rate=100.0))
    world.warm()
    senders = [f"4477009001{i:02}" for i in range(5)]

    def everybody() -> list[Ask]:
        return [world.message(sender=s, campaign=s, rate=40) for s in senders for _ in range(6)]

    begins = saturate(world, 6, everybody, every_ms=15)
    everything = [begin for of_one in begins.values() for begin in of_one]
    assert fullest(everything) <= 100
    assert len(everything) >= 0.92 * 100 * (max(everything) - min(everything)) / 1000
    assert min(map(len, begins.values())) >= 0.85 * max(map(len, begins.values()))
    assert gates_of(world.ask(*everybody())).count(Gate.ACCOUNT_RATE) > 0


def test_codes_of_one_sender_do_not_block_the_account_for_another(make: Make) -> None:
    world = make(LimitRules(account_rate=500.0))
    world.warm()
    world.ask(*(world.message(Kind.OTP, campaign="codes") for _ in range(100)))
    answers = world.ask(*(world.message(sender=OTHER_SENDER, campaign="blast") for _ in range(5)))
    assert len(begins_of(answers)) == 5


# -- pairs ---------------------------------------------------------------------------------------------


def test_no_more_messages_of_a_call_begin_in_a_slice_than_its_caller_can_begin(world: World) -> None:
    begins = begins_of(world.ask(*(world.message(rate=1000.0) for _ in range(6)), lead_ms=10.0, per_slice=2))
    assert [begin - begins[0] for begin in begins] == [0, 0, SLICE_MS, SLICE_MS, 2 * SLICE_MS, 2 * SLICE_MS]


def test_what_one_caller_leaves_of_a_slice_is_anothers(world: World) -> None:
    first = begins_of(world.ask(*(world.message(rate=1000.0) for _ in range(3)), per_slice=1))
    others = begins_of(world.ask(*(world.message(rate=1000.0) for _ in range(15))))
    assert others.count(first[0]) >= 10
    assert fullest(first + others) == 18


def test_a_caller_that_begins_few_at_a_time_gets_all_of_a_rate_all_the_same(world: World) -> None:
    given = 0
    for _ in range(80):
        asks = [world.message(rate=1000.0) for _ in range(20)]
        given += len(begins_of(world.ask(*asks, lead_ms=5.0, per_slice=13)))
        world.advance(SLICE_MS)
    assert given >= 970


def test_one_recipient_gets_a_burst_of_45_and_then_one_message_per_6_seconds(world: World) -> None:
    answers = world.ask(*(world.message(Kind.OTP, to="447700900100", rate=1000) for _ in range(50)))
    assert [type(a) for a in answers] == [Permit] * 45 + [Wait] * 5
    wait = answers[45]
    assert isinstance(wait, Wait)
    assert wait.gate is Gate.PAIR_RATE
    assert wait.until_ms == pytest.approx(world.now + 6000, abs=100)
    world.advance(6100)
    again = world.ask(*(world.message(to="447700900100", rate=1000) for _ in range(2)))
    assert [type(a) for a in again] == [Permit, Wait]


def test_a_pair_that_waits_does_not_hold_others_back(world: World) -> None:
    world.ask(*(world.message(Kind.OTP, to="447700900100", rate=1000) for _ in range(45)))
    world.advance(200)
    answers = world.ask(
        world.message(to="447700900100"), world.message(to="447700900101"), world.message(to="447700900100")
    )
    assert [type(a) for a in answers] == [Wait, Permit, Wait]


def test_the_pair_rate_is_that_of_one_sender(world: World) -> None:
    world.ask(*(world.message(Kind.OTP, to="447700900100", rate=1000) for _ in range(45)))
    assert len(begins_of(world.ask(world.message(to="447700900100", sender=OTHER_SENDER)))) == 1


def test_interval_and_burst_of_pairs_can_be_set(make: Make) -> None:
    world = make(LimitRules(pair_interval_ms=1000, pair_burst=2))
    world.warm()
    answers = world.ask(*(world.message(Kind.OTP, to="447700900100") for _ in range(3)))
    assert [type(a) for a in answers] == [Permit, Permit, Wait]


def test_a_message_that_missed_its_slice_asks_again_without_paying_pair_rate_and_quota_again(
    make: Make,
) -> None:
    world = make(LimitRules(pair_burst=1))
    world.warm()
    assert len(begins_of(world.ask(world.message(to="447700900100", quota=1)))) == 1
    world.advance(200)
    again = world.message(to="447700900100", quota=1, counted=True)
    assert len(begins_of(world.ask(again))) == 1
    assert len(begins_of(world.ask(again))) == 1
    world.advance(6100)
    assert len(begins_of(world.ask(world.message(to="447700900100", quota=1)))) == 1


# -- quota ---------------------------------------------------------------------------------------------


def test_a_quota_counts_each_recipient_once_in_24_hours(world: World) -> None:
    def to(*recipients: str) -> list[Ask]:
        return [world.message(Kind.UTILITY, to=r, quota=2) for r in recipients]

    first = world.now
    assert gates_of(world.ask(*to("447700900100", "447700900101", "447700900102"))) == [Gate.QUOTA]
    world.advance(3_600_000)
    assert gates_of(world.ask(*to("447700900101", "447700900100"))) == []
    wait = world.ask(*to("447700900102"))[0]
    assert isinstance(wait, Wait)
    assert wait.until_ms == pytest.approx(world.now + DAY_MS, abs=50)
    world.advance(first + DAY_MS - world.now + 100)
    assert gates_of(world.ask(*to("447700900102"))) == [Gate.QUOTA]
    world.advance(3_600_000)
    assert gates_of(world.ask(*to("447700900102"))) == []


def test_a_full_quota_names_the_instant_at_which_the_oldest_recipient_leaves(world: World) -> None:
    oldest = begins_of(world.ask(world.message(quota=2)))[0]
    world.advance(1000)
    world.ask(world.message(quota=2))
    wait = world.ask(world.message(quota=2))[0]
    assert wait == Wait(Gate.QUOTA, oldest + DAY_MS)


def test_a_quota_of_nothing_waits_without_an_end(world: World) -> None:
    assert world.ask(world.message(quota=0)) == (Wait(Gate.QUOTA, None),)


def test_a_quota_is_that_of_all_senders_and_counts_a_person_once(world: World) -> None:
    def to(sender: str, *recipients: str) -> list[Ask]:
        return [world.message(Kind.UTILITY, sender=sender, to=r, quota=3) for r in recipients]

    one, two, three, four = (f"44770090010{n}" for n in range(4))
    # In one call: the second sender's first message is to a person that the first has just got a permit for.
    assert gates_of(world.ask(*to(SENDER, one, two), *to(OTHER_SENDER, one))) == []
    world.advance(1000)
    assert gates_of(world.ask(*to(OTHER_SENDER, two, three))) == []
    world.advance(1000)
    assert gates_of(world.ask(*to(SENDER, four), *to(OTHER_SENDER, four))) == [Gate.QUOTA, Gate.QUOTA]
    assert gates_of(world.ask(*to(SENDER, three), *to(OTHER_SENDER, one))) == []


def test_the_pair_rate_is_each_senders_own_although_they_share_a_quota(make: Make) -> None:
    world = make(LimitRules(pair_burst=1))
    world.warm()
    both = [world.message(Kind.OTP, sender=s, to="447700900100", quota=1) for s in (SENDER, OTHER_SENDER)]
    assert len(begins_of(world.ask(*both))) == 2
    assert gates_of(world.ask(*both)) == [Gate.PAIR_RATE, Gate.PAIR_RATE]


def test_marketing_of_all_senders_leaves_the_codes_of_each_the_reserve_of_a_quota(world: World) -> None:
    blast = world.ask(*(world.message(quota=40, rate=10_000) for _ in range(45)))
    assert len(begins_of(blast)) == 38
    more = world.ask(world.message(sender=OTHER_SENDER, quota=40))
    assert gates_of(more) == [Gate.QUOTA]
    codes = world.ask(
        *(world.message(Kind.OTP, sender=OTHER_SENDER, quota=40, rate=10_000) for _ in range(5))
    )
    assert [type(a) for a in codes] == [Permit, Permit, Wait, Wait, Wait]


def test_a_quota_that_is_new_waits_until_the_ledger_has_told_whom_the_account_wrote_to(world: World) -> None:
    new = "447700900077"
    world.ask(world.message(sender=new, to="447700900100"))
    grant = world.permits.ask([world.message(quota=1)], lead_ms=0)
    assert gates_of(grant.answers) == [Gate.COLD]
    assert grant.needs_restore
    world.permits.restore(pauses=[], recent=[("447700900100", world.now)])
    world.advance(300)
    assert gates_of(world.ask(world.message(quota=1))) == [Gate.QUOTA]
    assert gates_of(world.ask(world.message(sender=new, quota=1, to="447700900100"))) == []


# -- pauses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "id", "gate"),
    [
        (Scope.CAMPAIGN, "spring", Gate.CAMPAIGN_PAUSED),
        (Scope.SENDER, SENDER, Gate.SENDER_PAUSED),
    ],
)
def test_a_pause_holds_at_once_until_it_is_resumed(world: World, scope: Scope, id: str, gate: Gate) -> None:
    world.permits.pause(scope, id)
    assert world.ask(world.message()) == (Wait(gate, None),)
    assert len(begins_of(world.ask(world.message(sender=OTHER_SENDER, campaign="other")))) == 1
    [(paused, _)] = world.permits.paused()
    assert paused is scope
    world.permits.resume(scope, id)
    assert world.permits.paused() == ()
    assert len(begins_of(world.ask(world.message()))) == 1


def test_a_pause_of_the_account_holds_every_sender(world: World) -> None:
    account = account_of(world)
    world.permits.pause(Scope.ACCOUNT, account)
    answers = world.ask(world.message(), world.message(Kind.OTP, sender=OTHER_SENDER, campaign="codes"))
    assert gates_of(answers) == [Gate.ACCOUNT_PAUSED] * 2
    assert world.permits.paused() == ((Scope.ACCOUNT, account),)


def account_of(world: World) -> str:
    return world.permits.hashes.account


def test_a_pair_can_be_neither_paused_nor_slowed(world: World) -> None:
    with pytest.raises(ValueError, match="pair"):
        world.permits.pause(Scope.PAIR, "447700900100")
    with pytest.raises(ValueError, match="pair"):
        world.permits.report(slow=[(Scope.PAIR, "447700900100")])


# -- slower, and the breaker ---------------------------------------------------------------------------


def rate_now(world: World, sender: str = SENDER) -> float:
    """Messages a second, by what codes get of the next whole second. Its pace is that of its begin."""
    world.advance(-world.now % 1000)
    began, given = world.now, 0
    for _ in range(SLICES_PER_SECOND):
        asks = [world.message(Kind.OTP, sender=sender, campaign="codes") for _ in range(9)]
        given += sum(begin < began + 1000 for begin in begins_of(world.ask(*asks)))
        world.advance(SLICE_MS)
    world.advance(2000)
    return given * WINDOW / SLICES_PER_SECOND


def test_a_sender_asked_to_go_slower_halves_its_rate_and_climbs_back_within_twenty_seconds(
    world: World,
) -> None:
    world.permits.report(slow=[(Scope.SENDER, SENDER)])
    begun = world.now
    assert rate_now(world) == pytest.approx(40, abs=2)
    world.advance(begun + 10_000 - world.now)
    assert rate_now(world) == pytest.approx(60, abs=2)
    world.advance(begun + 20_000 - world.now)
    assert rate_now(world) == pytest.approx(80, abs=1)


def test_a_blast_uses_what_it_may_while_a_slower_sender_climbs_back(world: World) -> None:
    """From 40/s to 80/s within twenty seconds are 1,200 messages, with a rate that is another in each second."""
    world.permits.report(slow=[(Scope.SENDER, SENDER)])
    begins = saturate(world, 20, lambda: [world.message() for _ in range(14)], every_ms=25)["spring"]
    assert len(begins) >= 0.95 * 1200
    assert fullest(begins) <= 80


def test_a_storm_of_throttling_halves_once_a_second_and_never_below_a_twentieth(world: World) -> None:
    world.ask(world.message())
    for _ in range(20):
        world.permits.report(slow=[(Scope.SENDER, SENDER)])
        world.advance(10)
    assert rate_now(world) == pytest.approx(40, abs=3)
    for _ in range(10):
        world.permits.report(slow=[(Scope.SENDER, SENDER)])
        world.advance(1000)
    world.permits.report(slow=[(Scope.SENDER, SENDER)])
    assert rate_now(world) == pytest.approx(4, abs=1.5)


def test_a_report_says_who_became_slower_and_by_how_much(world: World) -> None:
    asked = [(Scope.SENDER, SENDER), (Scope.ACCOUNT, account_of(world))]
    slowed = world.permits.report(slow=asked).slowed
    assert slowed == (
        Slowed(Scope.SENDER, SENDER, 1.0, 0.5),
        Slowed(Scope.ACCOUNT, account_of(world), 1.0, 0.5),
    )
    # Within a second it is the same storm.
    assert world.permits.report(slow=asked).slowed == ()
    world.advance(1000)
    (again,) = world.permits.report(slow=asked[:1]).slowed
    assert (again.before, again.after) == pytest.approx((0.525, 0.2625), rel=0.001)


def test_a_slower_account_slows_every_sender(world: World) -> None:
    world.permits.report(slow=[(Scope.ACCOUNT, account_of(world))])
    assert rate_now(world, OTHER_SENDER) == pytest.approx(40, abs=2)


def test_the_second_outage_in_a_row_opens_the_breaker_for_two_seconds(world: World) -> None:
    assert world.permits.report(outages=1).opened_ms is None
    assert len(begins_of(world.ask(world.message()))) == 1
    opened_ms = world.permits.report(outages=1).opened_ms
    assert opened_ms == pytest.approx(world.now, abs=0.001)
    assert world.ask(world.message()) == (Wait(Gate.OUTAGE, world.now + 2000),)


def test_an_answer_says_when_the_breaker_opened_so_that_older_permits_are_not_used(world: World) -> None:
    assert world.permits.ask([world.message()], lead_ms=0).opened_ms is None
    world.permits.report(outages=2)
    opened = world.now
    world.advance(700)
    assert world.permits.ask([], lead_ms=0).opened_ms == pytest.approx(opened, abs=0.001)
    world.permits.report(successes=1)
    assert world.permits.ask([], lead_ms=0).opened_ms is None


def test_a_success_in_between_restarts_the_count(world: World) -> None:
    world.permits.report(outages=1)
    world.permits.report(successes=1)
    world.permits.report(outages=1)
    assert len(begins_of(world.ask(world.message()))) == 1


def test_successes_of_one_report_came_before_its_outages(world: World) -> None:
    world.permits.report(outages=1)
    assert world.permits.report(successes=20, outages=1).opened_ms is None
    assert world.permits.report(outages=1).opened_ms is not None


def test_a_breaker_half_open_has_one_probe_under_way_however_long_its_answer_takes(world: World) -> None:
    world.permits.report(outages=2)
    world.advance(2001)
    answers = world.ask(world.message(), world.message())
    assert [type(a) for a in answers] == [Permit, Wait]
    assert isinstance(answers[0], Permit)
    assert answers[0].probe
    assert answers[1] == Wait(Gate.OUTAGE, world.now + 500)
    for _ in range(60):  # longer than a POST's whole deadline, but for the way to it
        world.advance(500)
        assert gates_of(world.ask(world.message(), world.message())) == [Gate.OUTAGE] * 2
    # An outage of a POST that began before is no answer to the probe.
    world.permits.report(outages=1)
    world.advance(4001)
    assert gates_of(world.ask(world.message())) == [Gate.OUTAGE]
    world.permits.report(successes=1, probe_over=True)
    answers = world.ask(world.message(), world.message())
    assert [isinstance(a, Permit) and not a.probe for a in answers] == [True, True]


def test_a_probe_that_is_not_sent_after_all_makes_room_for_another(world: World) -> None:
    world.permits.report(outages=2)
    world.advance(2001)
    assert len(begins_of(world.ask(world.message(), world.message()))) == 1
    world.permits.report(probe_over=True)
    assert len(begins_of(world.ask(world.message(), world.message()))) == 1


def test_a_probe_of_which_nothing_is_heard_is_replaced(world: World) -> None:
    world.permits.report(outages=2)
    world.advance(2001)
    assert len(begins_of(world.ask(world.message()))) == 1
    world.advance(LimitRules().probe_ms + 1)
    assert len(begins_of(world.ask(world.message(), world.message()))) == 1


def test_a_probe_may_be_late_as_nothing_else_is_sent(world: World) -> None:
    world.permits.report(outages=2)
    world.advance(2001)
    (permit,) = world.ask(world.message())
    assert isinstance(permit, Permit)
    assert not permit.is_over(permit.begin_ms + 1000)


def test_each_failed_probe_doubles_the_outage_up_to_a_minute(world: World) -> None:
    lengths = []
    world.permits.report(outages=2)
    for _ in range(7):
        wait = world.ask(world.message())[0]
        assert isinstance(wait, Wait)
        assert wait.until_ms is not None
        lengths.append(wait.until_ms - world.now)
        world.advance(wait.until_ms - world.now + 1)
        assert len(begins_of(world.ask(world.message()))) == 1
        world.permits.report(outages=1, probe_over=True)
    assert lengths == pytest.approx([2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000], abs=0.01)


# -- memory lost ---------------------------------------------------------------------------------------


def test_a_limiter_without_memory_gives_nothing_until_old_slices_have_run_out_and_it_was_restored(
    cold: World,
) -> None:
    grant = cold.permits.ask([cold.message(Kind.OTP)], lead_ms=0)
    assert grant.answers == (Wait(Gate.COLD, START_MS + BLACKOUT_MS),)
    assert grant.needs_restore
    cold.advance(BLACKOUT_MS + 1)
    assert gates_of(cold.ask(cold.message())) == [Gate.COLD]
    cold.permits.restore(pauses=[], recent=None)
    grant = cold.permits.ask([cold.message()], lead_ms=0)
    assert len(begins_of(grant.answers)) == 1
    assert not grant.needs_restore


@settings(max_examples=10, deadline=None)
@given(before=st.floats(0, 3000), kind=st.sampled_from(list(Kind)), lead_ms=st.floats(0, 400))
def test_no_second_holds_permits_from_before_and_after_a_wipe(
    make: Make, before: float, kind: Kind, lead_ms: float
) -> None:
    world = make(LimitRules())
    world.warm()
    world.advance(before)
    old = begins_of(world.ask(*(world.message(kind) for _ in range(120)), lead_ms=lead_ms))
    world.wipe()
    world.permits.ask([], lead_ms=0)
    world.permits.restore(pauses=[], recent=None)
    new: list[float] = []
    while not new:
        world.advance(50)
        new = begins_of(world.ask(*(world.message(kind) for _ in range(120)), lead_ms=lead_ms))
    assert min(new) - max(old) >= 1012
    assert world.now - old[0] < 5000


def test_after_a_loss_of_memory_every_pairs_burst_counts_as_spent_and_grows_back(cold: World) -> None:
    cold.permits.ask([], lead_ms=0)
    cold.permits.restore(pauses=[], recent=None)
    cold.advance(BLACKOUT_MS + 1)
    pair = [cold.message(Kind.OTP, to="447700900100") for _ in range(3)]
    answers = cold.ask(*pair)
    assert [type(a) for a in answers] == [Permit, Wait, Wait]
    wait = answers[1]
    assert isinstance(wait, Wait)
    assert wait.gate is Gate.PAIR_RATE
    assert wait.until_ms == START_MS + 6000
    cold.advance(START_MS + 60_000 - cold.now)
    assert len(begins_of(cold.ask(*(cold.message(Kind.OTP, to="447700900100") for _ in range(30))))) == 10


def test_restoring_brings_back_pauses_and_recipients_any_number_of_times(world: World) -> None:
    world.wipe()
    assert world.permits.ask([world.message(quota=2)], lead_ms=0).needs_restore
    for _ in range(2):
        world.permits.restore(
            pauses=[(Scope.CAMPAIGN, "paused"), (Scope.SENDER, OTHER_SENDER)],
            recent=((r, world.now - 5000) for r in ("447700900100", "447700900101")),
        )
    world.advance(BLACKOUT_MS + 1)
    assert gates_of(world.ask(world.message(campaign="paused"))) == [Gate.CAMPAIGN_PAUSED]
    assert gates_of(world.ask(world.message(sender=OTHER_SENDER))) == [Gate.SENDER_PAUSED]
    assert gates_of(world.ask(world.message(quota=2))) == [Gate.QUOTA]
    assert gates_of(world.ask(world.message(quota=2, to="447700900100"))) == []
    assert gates_of(world.ask(world.message(sender="447700900077", quota=2))) == [Gate.QUOTA]


def test_a_quota_that_was_not_restored_stays_cold_and_needs_a_restore_with_recipients(world: World) -> None:
    world.wipe()
    world.permits.restore(pauses=[], recent=None)
    world.advance(BLACKOUT_MS + 1)
    grant = world.permits.ask([world.message(quota=5)], lead_ms=0)
    assert (gates_of(grant.answers), grant.needs_restore) == ([Gate.COLD], True)
    assert gates_of(world.ask(world.message())) == []
    world.permits.restore(pauses=[], recent=[])
    assert gates_of(world.ask(world.message(quota=5))) == []


def test_a_resume_is_not_undone_by_a_restore_that_read_the_ledger_before_it(world: World) -> None:
    world.wipe()
    world.permits.ask([], lead_ms=0)
    world.permits.resume(Scope.CAMPAIGN, "spring")
    world.permits.restore(pauses=[(Scope.CAMPAIGN, "spring")], recent=None)
    assert world.permits.paused() == ()
    world.permits.restore(pauses=[(Scope.CAMPAIGN, "spring")], recent=None)
    assert world.permits.paused() == ()


def test_a_pause_given_while_cold_holds_after_the_restore(world: World) -> None:
    world.wipe()
    world.permits.pause(Scope.CAMPAIGN, "spring")
    world.permits.restore(pauses=[], recent=None)
    world.advance(BLACKOUT_MS + 1)
    assert gates_of(world.ask(world.message())) == [Gate.CAMPAIGN_PAUSED]


def test_a_clock_that_goes_back_starts_over_instead_of_waiting_for_it(world: World) -> None:
    world.ask(*(world.message() for _ in range(20)))
    world.advance(-3_600_000)
    grant = world.permits.ask([world.message()], lead_ms=0)
    assert grant.answers == (Wait(Gate.COLD, world.now + BLACKOUT_MS),)
    assert grant.needs_restore
    world.permits.restore(pauses=[], recent=None)
    world.advance(BLACKOUT_MS + 1)
    assert len(begins_of(world.ask(world.message()))) == 1


# -- looking -------------------------------------------------------------------------------------------


def test_peek_names_every_gate_that_holds_and_changes_nothing(world: World) -> None:
    held = world.message(Kind.MARKETING, to="447700900100", quota=1, campaign_rate=1.0)
    assert world.permits.peek(held) == ()
    world.ask(world.message(quota=1, campaign_rate=1.0))
    world.ask(*(world.message(Kind.OTP, campaign="codes", quota=10_000) for _ in range(90)))
    world.permits.report(outages=5)
    world.permits.pause(Scope.SENDER, SENDER)
    world.permits.pause(Scope.CAMPAIGN, "spring")
    waits = world.permits.peek(held)
    assert {wait.gate for wait in waits} == {
        Gate.SENDER_PAUSED,
        Gate.CAMPAIGN_PAUSED,
        Gate.OUTAGE,
        Gate.SENDER_RATE,
        Gate.CAMPAIGN_RATE,
        Gate.QUOTA,
    }
    assert world.permits.peek(held) == waits


def test_peek_sees_the_pair_rate_and_the_accounts_rate(make: Make) -> None:
    world = make(LimitRules(account_rate=10, pair_burst=1))
    world.warm()
    world.ask(*(world.message(Kind.OTP, to=f"447700900{i:03}") for i in range(100, 115)))
    gates = {wait.gate for wait in world.permits.peek(world.message(to="447700900100"))}
    assert gates == {Gate.ACCOUNT_RATE, Gate.SENDER_RATE, Gate.PAIR_RATE} - (
        set() if Gate.SENDER_RATE in gates else {Gate.SENDER_RATE}
    )


# -- both counterparts ----------------------------------------------------------------------------------

SENDERS = [
    (SENDER, 6, 25.0),
    (SENDER, 6, 40.0),
    (OTHER_SENDER, 6, 25.0),
    (OTHER_SENDER, None, 25.0),
    ("447700900003", 9, 25.0),
    ("447700900004", 40, 400.0),
    ("447700900004", 40, 9000.0),
]
CAMPAIGNS = [("a", None), ("b", 10.0), ("b", 5.0), ("c", 3.5), ("d", 40.0)]

asks = st.tuples(
    st.sampled_from(list(Kind)),
    st.sampled_from(SENDERS),
    st.sampled_from(CAMPAIGNS),
    st.integers(100, 112),
    st.integers(1, 8),
    st.booleans(),
)
acts = st.one_of(
    st.tuples(
        st.just("ask"),
        st.lists(asks, min_size=1, max_size=5),
        st.sampled_from([0.0, 5.0, 33.3]),
        st.sampled_from([None, 1, 3]),
    ),
    st.tuples(st.just("advance"), st.sampled_from([0.1, 3.7, 12.69, 30.0, 101.3, 950.0, 7000.0, DAY_MS / 3])),
    st.tuples(st.just("pause"), st.sampled_from([(Scope.CAMPAIGN, "b"), (Scope.SENDER, SENDER)])),
    st.tuples(st.just("resume"), st.sampled_from([(Scope.CAMPAIGN, "b"), (Scope.SENDER, SENDER)])),
    st.tuples(st.just("slow"), st.sampled_from([(Scope.SENDER, SENDER), (Scope.ACCOUNT, "")])),
    st.tuples(st.just("report"), st.integers(0, 3), st.integers(0, 2), st.booleans()),
    st.tuples(st.just("wipe")),
    st.tuples(st.just("restore")),
    st.tuples(st.just("peek"), asks),
)


def play(world: World, story: Sequence[tuple[object, ...]]) -> list[object]:
    """What a limiter answers in a story."""
    seen: list[object] = []
    permits = world.permits
    for name, *with_ in story:
        match name, with_:
            case "ask", [list(groups), float(lead_ms), per_slice]:
                messages = [ask for group in groups for ask in messages_of(world, *group)]
                grant: Grant = permits.ask(messages, lead_ms=lead_ms, per_slice=per_slice)
                seen.append((grant.answers, grant.now_ms, grant.needs_restore, grant.opened_ms))
            case "advance", [float(ms)]:
                world.advance(ms)
            case "pause", [(scope, id)]:
                permits.pause(scope, id)
            case "resume", [(scope, id)]:
                permits.resume(scope, id)
            case "slow", [(scope, id)]:
                slowed = permits.report(slow=[(scope, id or account_of(world))]).slowed
                # The two have different accounts.
                seen.append([(each.scope, each.before, each.after) for each in slowed])
            case "report", [int(outages), int(successes), bool(over)]:
                seen.append(permits.report(outages=outages, successes=successes, probe_over=over))
            case "wipe", []:
                world.wipe()
                permits.ask([], lead_ms=0)
            case "restore", []:
                permits.restore(pauses=[(Scope.CAMPAIGN, "c")], recent=[])
                seen.append(len(permits.paused()))
            case "peek", [group]:
                seen.append(sorted((w.gate, w.until_ms) for w in permits.peek(messages_of(world, *group)[0])))
    return seen


def messages_of(
    world: World,
    kind: Kind,
    sender: tuple[str, int | None, float],
    campaign: tuple[str, float | None],
    to: int,
    many: int,
    counted: bool,
) -> list[Ask]:
    return [
        world.message(
            kind,
            sender=sender[0],
            quota=sender[1],
            campaign=campaign[0],
            campaign_rate=campaign[1],
            to=f"447700900{to + i % 3:03}",
            rate=sender[2],
            counted=counted,
        )
        for i in range(many)
    ]


_OTP_OF_A = (Kind.OTP, SENDERS[0], CAMPAIGNS[0])


@settings(max_examples=60, deadline=None)
@given(story=st.lists(acts, min_size=1, max_size=40), account_rate=st.sampled_from([None, 40.0]))
@example(
    story=[("wipe",), ("restore",), ("slow", (Scope.SENDER, SENDER)), ("report", 2, 0, False)],
    account_rate=40.0,
)
@example(
    # A new memory is told of the six recipients that had permits right before the loss.
    story=[
        ("ask", [(*_OTP_OF_A, 101, 3, False), (*_OTP_OF_A, 104, 3, False)], 0.0, None),
        ("wipe",),
        ("peek", (*_OTP_OF_A, 107, 1, False)),
    ],
    account_rate=None,
)
def test_the_scripts_and_their_twin_in_memory_answer_alike(
    valkey: redis.Redis, story: list[tuple[object, ...]], account_rate: float | None
) -> None:
    rules = LimitRules(account_rate=account_rate, pair_burst=3)
    worlds = [local_world(rules), redis_world(valkey, rules)]
    for world in worlds:
        world.warm()
    one, other = (play(world, story) for world in worlds)
    assert one == other
