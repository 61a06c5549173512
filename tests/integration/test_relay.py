"""The relay with a real Valkey and a real ledger: it publishes what is due, and again what Redis lost."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import redis
from sqlalchemy import select, update

from bulksend.broker import LEADER_KEY, job_ids
from bulksend.ledger import campaign_creation, campaigns, due, intake, leases, pauses, senders
from bulksend.ledger.campaign_creation import NewCampaign
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.claim import Claimed, claim
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.ids import new_id
from bulksend.ledger.message_rows import NewMessage
from bulksend.ledger.release import Release, release
from bulksend.ledger.schema import campaign_counts, messages
from bulksend.ledger.write_ahead import Opening, open_attempts
from bulksend.messaging import Kind, OnUnknown
from bulksend.redis_client import open_redis
from ops.local.valkey import EmbeddedValkey
from producer.leader_lock import LeaderLock
from producer.publish_window import SMALL, WHOLE_MS, PublishWindow
from producer.publisher import RedisPublisher
from producer.relay import Relay, RelaySettings
from tests.waiting import until

SENDER = "8615000579987"


def a_campaign(
    ledger: Database,
    count: int,
    *,
    kind: Kind = Kind.MARKETING,
    due_in_ms: int = 0,
    key: str = "k",
    rate: float = 80.0,
    sender: str = SENDER,
    weight: int | None = None,
    canary: str | None = None,
) -> Campaign:
    with ledger.write() as tx:
        now = read_clock(tx)
        senders.register(tx, sender, rate=rate)
        new = NewCampaign(
            key,
            "test",
            kind,
            sender,
            "text",
            '{"body":"x"}',
            "h",
            "f",
            now + due_in_ms,
            None,
            None,
            OnUnknown.HOLD,
            "t",
            weight=weight,
            canary=canary,
        )
        campaign, _ = campaign_creation.create_or_find(tx, new)
        planned = [
            NewMessage(
                n,
                f"4477009{n:05d}",
                False,
                f"4477009{n:05d}",
                sender,
                "text",
                {"v": {}},
                "",
                now + due_in_ms,
                None,
            )
            for n in range(1, count + 1)
        ]
        intake.store_chunk(
            tx,
            campaign,
            after_row=0,
            planned=planned,
            refused=[],
            cipher=Cipher([bytes(32)]),
        )
        campaigns.finish_intake(tx, campaign.id)
        # The relay leaves what is due at intake to its producer for a moment. For these messages it is over.
        tx.execute(update(messages).values(queued_at=messages.c.queued_at - 10_000))
        return campaigns.get(tx, campaign.id)


def a_relay(ledger: Database, url: str, **settings: float) -> Relay:
    relay = Relay(
        ledger,
        redis.Redis.from_url(url),
        RedisPublisher(url, timeout_s=2.0),
        RelaySettings(**({"republish_seconds": 0.2, "window_seconds": 10.0} | settings)),  # type: ignore[arg-type]
    )
    return relay


def ids_waiting(valkey: redis.Redis, lane: str = "marketing") -> list[str]:
    return [id for raw in valkey.lrange(lane, 0, -1) for id in job_ids(raw)]


class Worker:
    """Claims every job that it can get, and opens the attempts of what has waited longest."""

    def __init__(self, ledger: Database) -> None:
        self._ledger = ledger
        self.waiting: list[Claimed] = []
        """Claimed, without a permit."""
        self.sent = 0
        with ledger.write() as tx:
            self._lease, _ = leases.take(tx, "t", 60_000)

    def claim(self, ids: Sequence[str]) -> int:
        with self._ledger.write() as tx:
            claimed = claim(tx, ids, lease=self._lease, account="default")
        self.waiting += claimed
        return len(claimed)

    def send(self, most: int) -> int:
        """As many as the limiter lets out."""
        openings = [Opening(message, new_id()) for message in self.waiting[:most]]
        del self.waiting[:most]
        with self._ledger.write() as tx:
            opened = len(open_attempts(tx, openings, lease=self._lease, account="default").attempts)
        self.sent += opened
        return opened

    def give_back(self, most: int) -> None:
        releases = [Release(message.id, 0, None, None) for message in self.waiting[:most]]
        del self.waiting[:most]
        with self._ledger.write() as tx:
            release(tx, releases, lease=self._lease)


def take_jobs(valkey: redis.Redis, workers: list[Worker]) -> None:
    """The workers take all jobs. Redis serves the one that has waited longest, which stands last then."""
    for raw in reversed(valkey.lrange("marketing", 0, -1)):
        workers[0].claim(job_ids(raw))
        workers.append(workers.pop(0))
    valkey.delete("marketing")


def test_a_blast_is_published_as_a_window_of_its_rate(
    ledger: Database, valkey_url: str, valkey: redis.Redis
) -> None:
    a_campaign(ledger, 2000, due_in_ms=-5000)
    relay = a_relay(ledger, valkey_url)
    relay.publish_due()
    waiting = ids_waiting(valkey)
    assert len(waiting) == len(set(waiting)) == 800  # ten seconds at 80/s
    relay.publish_due()
    assert len(ids_waiting(valkey)) == 800
    worker = Worker(ledger)
    assert worker.claim(waiting[:300]) == 300
    relay.publish_due()
    assert len(ids_waiting(valkey)) == 800, "what a worker holds is of the window"
    assert worker.send(200) == 200
    relay.publish_due()
    assert len(set(ids_waiting(valkey))) == 1000


def test_workers_hold_a_window_together_and_one_that_starts_later_gets_its_part(
    ledger: Database, valkey_url: str, valkey: redis.Redis
) -> None:
    """One of two workers claimed 3,500 messages of a sender of 80/s, 44 seconds of it."""
    a_campaign(ledger, 4000, due_in_ms=-5000)
    relay, workers = a_relay(ledger, valkey_url), [Worker(ledger), Worker(ledger)]

    def pass_seconds(count: int) -> None:
        for _ in range(2 * count):
            relay.publish_due()
            take_jobs(valkey, workers)
            left = 40
            # The limiter serves all who ask: those with little get it, the others share the rest.
            for n, worker in enumerate(sorted(workers, key=lambda each: len(each.waiting))):
                left -= worker.send(left // (len(workers) - n))

    pass_seconds(10)
    held = [len(worker.waiting) for worker in workers]
    assert sum(held) <= 800
    assert held == pytest.approx([400, 400], abs=80)
    third = Worker(ledger)
    workers.append(third)
    pass_seconds(20)
    assert sum(len(worker.waiting) for worker in workers) <= 800
    assert third.sent == pytest.approx(20 * 80 / 3, rel=0.2)


def test_a_campaign_that_stands_still_is_held_up_to_its_window_and_another_flows_beside_it(
    ledger: Database, valkey_url: str, valkey: redis.Redis
) -> None:
    slow = a_campaign(ledger, 1000, due_in_ms=-5000, rate=1.0, key="slow")
    fast = a_campaign(ledger, 1000, due_in_ms=-5000, rate=80.0, key="fast", sender="8615000579988")
    relay, worker = a_relay(ledger, valkey_url), Worker(ledger)
    for _ in range(5):
        relay.publish_due()
        take_jobs(valkey, [worker])
        held = Counter(message.campaign_id for message in worker.waiting)
        assert held == {slow.id: 20, fast.id: 800}
        worker.waiting.sort(key=lambda message: message.campaign_id != fast.id)
        worker.send(40)


def test_a_message_that_a_worker_gives_back_is_published_at_once(
    ledger: Database, valkey_url: str, valkey: redis.Redis
) -> None:
    a_campaign(ledger, 30, due_in_ms=-5000)
    relay, worker = a_relay(ledger, valkey_url, republish_seconds=600.0), Worker(ledger)
    relay.publish_due()
    take_jobs(valkey, [worker])
    relay.publish_due()
    assert ids_waiting(valkey) == []
    given_back = {message.id for message in worker.waiting[:10]}
    worker.give_back(10)
    relay.publish_due()
    assert set(ids_waiting(valkey)) == given_back


def test_claimed_codes_leave_the_window(ledger: Database, valkey_url: str, valkey: redis.Redis) -> None:
    a_campaign(ledger, 60, kind=Kind.OTP, due_in_ms=-5000, rate=1.0)
    relay, worker = a_relay(ledger, valkey_url), Worker(ledger)
    relay.publish_due()
    assert worker.claim(ids_waiting(valkey, "otp")) == 20
    relay.publish_due()
    assert len(ids_waiting(valkey, "otp")) == 40


def test_campaigns_of_a_sender_share_its_window_by_their_weights_a_job_each_in_turn(
    ledger: Database, valkey_url: str, valkey: redis.Redis
) -> None:
    heavy = a_campaign(ledger, 1000, due_in_ms=-5000, key="heavy", weight=3)
    light = a_campaign(ledger, 1000, due_in_ms=-5000, key="light")
    a_campaign(ledger, 1000, due_in_ms=3_600_000, key="tomorrow", weight=100)
    a_relay(ledger, valkey_url).publish_due()
    with ledger.read() as tx:
        found = select(messages.c.id, messages.c.campaign_id)
        campaign_of = {str(id): str(campaign) for id, campaign in tx.execute(found)}
    waiting = [campaign_of[id] for id in ids_waiting(valkey)]
    assert (waiting.count(heavy.id), waiting.count(light.id)) == (600, 200)
    # A lane is taken from its end: of the first two jobs one is of each campaign.
    jobs = [{campaign_of[id] for id in job_ids(raw)} for raw in valkey.lrange("marketing", 0, -1)]
    assert jobs[-2:] in ([{heavy.id}, {light.id}], [{light.id}, {heavy.id}])


def test_what_a_canary_holds_is_not_published(ledger: Database, valkey_url: str, valkey: redis.Redis) -> None:
    campaign = a_campaign(ledger, 300, due_in_ms=-5000, canary="1%")
    relay = a_relay(ledger, valkey_url)
    relay.publish_due()
    assert ids_waiting(valkey) == []
    relay.maintenance.run_due()
    relay.publish_due()
    with ledger.read() as tx:
        found = select(messages.c.id).where(messages.c.campaign_id == campaign.id).order_by(messages.c.id)
        first = [str(id) for id in tx.execute(found.limit(50)).scalars()]
    assert sorted(ids_waiting(valkey)) == first


def test_of_a_large_window_only_the_rows_after_its_end_are_read_between_two_whole_scans(
    ledger: Database,
) -> None:
    count = SMALL + 1500
    campaign = a_campaign(ledger, count)
    window, now_ms = PublishWindow(), 1_000_000
    with ledger.read() as tx:
        scan = window.scan(tx, campaign.id, SMALL + 500, now_ms)
        assert scan.is_whole
        window.record(scan, dict.fromkeys((row.id for row in scan.rows), now_ms))
        ids = [row.id for row in scan.rows]
        assert [row.id for row in due.due_messages(tx, campaign.id, count)][: SMALL + 500] == ids
    worker = Worker(ledger)
    worker.claim(ids[:900])
    with ledger.read() as tx:
        assert window.scan(tx, campaign.id, SMALL + 500, now_ms + 400).rows == []
    worker.send(300)
    with ledger.read() as tx:
        # As many rows as have left the window.
        scan = window.scan(tx, campaign.id, SMALL + 500, now_ms + 500)
        assert len(scan.rows) == 300
        assert not scan.is_whole
        window.record(scan, dict.fromkeys((row.id for row in scan.rows), now_ms + 500))
        assert len(window.scan(tx, campaign.id, SMALL + 500, now_ms + 600).rows) == 0
        assert len(window.published) == SMALL + 800
        # A whole scan forgets the rows that left the window, and finds those that a worker gave back.
        scan = window.scan(tx, campaign.id, SMALL + 500, now_ms + WHOLE_MS)
        assert scan.is_whole
        assert len(scan.rows) == SMALL + 500
        assert len(window.published) == SMALL + 500 - len(worker.waiting)


def test_rows_of_a_large_window_that_redis_refused_are_read_again_at_once(ledger: Database) -> None:
    campaign = a_campaign(ledger, SMALL + 500)
    window = PublishWindow()
    with ledger.read() as tx:
        scan = window.scan(tx, campaign.id, SMALL + 400, 1_000)
        taken = [row.id for row in scan.rows][:700]
        window.record(scan, dict.fromkeys(taken, 1_000))
        again = window.scan(tx, campaign.id, SMALL + 400, 1_001)
    assert {row.id for row in again.rows} >= {row.id for row in scan.rows} - set(taken)


def test_a_job_has_one_second_of_a_slow_blast(ledger: Database, valkey_url: str, valkey: redis.Redis) -> None:
    a_campaign(ledger, 400, due_in_ms=-5000, rate=40.0)
    a_relay(ledger, valkey_url).publish_due()
    assert {len(job_ids(raw)) for raw in valkey.lrange("marketing", 0, -1)} == {40}


def test_a_retry_that_is_due_again_before_the_next_scan_is_published_at_once(
    ledger: Database, valkey_url: str, valkey: redis.Redis
) -> None:
    a_campaign(ledger, 1, due_in_ms=-5000)
    relay = a_relay(ledger, valkey_url, republish_seconds=600.0)
    relay.publish_due()
    (id,) = ids_waiting(valkey)
    valkey.delete("marketing")  # a worker takes it, tries it, and it is due again
    with ledger.write() as tx:
        tx.execute(update(messages).values(due_at=messages.c.due_at + 300, status="retry", attempts=1))
    relay.publish_due()
    assert ids_waiting(valkey) == [id]
    relay.publish_due()
    assert ids_waiting(valkey) == [id]


def test_only_jobs_that_redis_lost_are_published_again(
    ledger: Database, valkey_url: str, valkey: redis.Redis
) -> None:
    a_campaign(ledger, 100, due_in_ms=-5000)
    relay = a_relay(ledger, valkey_url)
    relay.publish_due()
    time.sleep(0.25)
    relay.publish_due()
    assert len(ids_waiting(valkey)) == 100
    valkey.delete("marketing")
    relay.publish_due()
    assert len(ids_waiting(valkey)) == 100


def test_a_lost_job_is_published_again_while_younger_jobs_are_in_its_lane(
    ledger: Database, valkey_url: str, valkey: redis.Redis
) -> None:
    a_campaign(ledger, 40, due_in_ms=-5000, rate=20.0)
    relay = a_relay(ledger, valkey_url)
    relay.publish_due()
    lost = set(job_ids(valkey.rpop("marketing")))
    time.sleep(0.25)
    a_campaign(ledger, 20, due_in_ms=-5000, key="younger")
    kept = valkey.rpop("marketing")
    relay.publish_due()
    assert kept is not None
    assert lost <= set(ids_waiting(valkey))


def test_a_message_is_published_when_it_is_due_and_not_before(
    ledger: Database, valkey_url: str, valkey: redis.Redis
) -> None:
    campaign = a_campaign(ledger, 10, kind=Kind.OTP, due_in_ms=700)
    relay, stop = a_relay(ledger, valkey_url), threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not valkey.llen("otp") and time.monotonic() < deadline:
            time.sleep(0.005)
        with ledger.read() as tx:
            assert read_clock(tx) >= campaign.due_at
        assert len(ids_waiting(valkey, "otp")) == 10
    finally:
        stop.set()
        thread.join(60)


def test_messages_of_a_paused_sender_or_campaign_are_not_published(
    ledger: Database, valkey_url: str, valkey: redis.Redis
) -> None:
    campaign = a_campaign(ledger, 10, due_in_ms=-5000)
    relay = a_relay(ledger, valkey_url)
    with ledger.write() as tx:
        pauses.pause_sender(tx, SENDER, actor="a", why="w")
    relay.publish_due()
    assert ids_waiting(valkey) == []
    with ledger.write() as tx:
        pauses.resume_sender(tx, SENDER, actor="a", why="w")
        pauses.pause_campaign(tx, campaign.id, actor="a", why="w")
    relay.publish_due()
    assert ids_waiting(valkey) == []
    with ledger.write() as tx:
        pauses.resume_campaign(tx, campaign.id, actor="a", why="w")
    relay.publish_due()
    assert len(ids_waiting(valkey)) == 10


def test_another_relay_leads_when_the_leader_releases_its_lock(valkey_url: str, valkey: redis.Redis) -> None:
    first, second = LeaderLock(valkey), LeaderLock(redis.Redis.from_url(valkey_url))
    assert first.acquire()
    assert not second.acquire()
    assert first.acquire()
    first.release()
    assert second.acquire()
    assert not first.acquire()


def test_another_relay_leads_when_the_lock_of_a_dead_leader_expires(
    valkey_url: str, valkey: redis.Redis
) -> None:
    first, second = LeaderLock(valkey), LeaderLock(redis.Redis.from_url(valkey_url))
    assert first.acquire()
    valkey.pexpire(LEADER_KEY, 50)
    deadline = time.monotonic() + 60
    while not second.acquire() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert second.is_held
    assert second.lost_track


def test_a_leader_publishes_everything_again_after_redis_was_wiped(valkey: redis.Redis) -> None:
    leader = LeaderLock(valkey)
    leader.acquire()
    assert leader.acquire()
    assert not leader.lost_track
    valkey.flushall()
    assert leader.acquire()
    assert leader.lost_track


def test_a_campaign_is_finished_when_its_last_messages_expire(
    ledger: Database, valkey_url: str, valkey: redis.Redis
) -> None:
    campaign = a_campaign(ledger, 5, due_in_ms=-5000)
    with ledger.write() as tx:
        tx.execute(update(messages).values(expires_at=1))
    a_relay(ledger, valkey_url).maintenance.run_due()
    with ledger.read() as tx:
        assert campaigns.status_counts(tx, campaign.id) == {"expired": 5}
        assert campaigns.get(tx, campaign.id).status.value == "finished"
    assert ids_waiting(valkey) == []


def test_maintenance_merges_the_counts_of_all_connections(ledger: Database, valkey_url: str) -> None:
    campaign = a_campaign(ledger, 5, due_in_ms=60_000)
    with ledger.write() as one, ledger.engine.connect() as other:
        one.execute(update(messages).where(messages.c.row == 1).values(status="failed", ended_at=1))
        if not ledger.is_sqlite:
            with other.begin():
                other.execute(update(messages).where(messages.c.row == 2).values(status="failed", ended_at=1))
    a_relay(ledger, valkey_url).maintenance.run_due()
    with ledger.read() as tx:
        rows = tx.execute(select(campaign_counts.c.status, campaign_counts.c.part)).all()
        counted = campaigns.status_counts(tx, campaign.id)
    assert sorted(map(tuple, rows)) == [("failed", 0), ("queued", 0)]
    assert sum(counted.values()) == 5


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A Valkey with an append-only file, which a test may kill and start again."""
    made = EmbeddedValkey(tmp_path / "valkey", durable=True)
    with redis.Redis.from_url(made.start()) as client:
        client.config_set("appendfsync", "always")
    yield made
    made.stop()


def test_a_leader_whose_lock_survives_a_restart_of_redis_leads_at_once_and_publishes_everything_again(
    server: EmbeddedValkey,
) -> None:
    lock = LeaderLock(open_redis(server.url))
    assert lock.acquire()
    assert lock.lost_track
    assert lock.acquire()
    assert not lock.lost_track
    server.kill()
    with pytest.raises(redis.RedisError):
        lock.acquire()
    assert not lock.is_held
    server.start()
    assert lock.acquire()
    assert lock.lost_track


def test_after_a_lost_connection_to_the_same_redis_nothing_is_published_again(valkey_url: str) -> None:
    lock = LeaderLock(open_redis(valkey_url))
    lock.acquire()
    with redis.Redis.from_url(valkey_url) as other:
        assert other.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert lock.acquire()
    assert not lock.lost_track


def test_jobs_that_a_restarted_redis_lost_are_published_again_in_the_next_round(
    ledger: Database, server: EmbeddedValkey
) -> None:
    a_campaign(ledger, 100, due_in_ms=-5000)
    with redis.Redis.from_url(server.url) as client:
        relay = a_relay(ledger, server.url, republish_seconds=600.0)
        stop = threading.Event()
        running = threading.Thread(target=relay.run, args=(stop,))
        running.start()
        try:
            until(lambda: len(ids_waiting(client)) == 100)
            # Between two rounds of the relay, so that it does not notice the outage.
            client.delete("marketing")
            server.kill()
            server.start()
            until(lambda: len(ids_waiting(client)) == 100)
        finally:
            stop.set()
            running.join(60)


def test_a_lane_that_is_not_a_list_is_replaced_by_jobs(
    ledger: Database, valkey_url: str, valkey: redis.Redis
) -> None:
    a_campaign(ledger, 30, due_in_ms=-5000)
    valkey.set("marketing", "who put this here?")
    relay = a_relay(ledger, valkey_url)
    stop = threading.Event()
    running = threading.Thread(target=relay.run, args=(stop,))
    running.start()
    try:
        until(lambda: valkey.type("marketing") == b"list")
        until(lambda: len(ids_waiting(valkey)) == 30)
    finally:
        stop.set()
        running.join(60)


def test_messages_expire_while_redis_is_away(ledger: Database) -> None:
    campaign = a_campaign(ledger, 3, kind=Kind.OTP, due_in_ms=-5000)
    with ledger.write() as tx:
        tx.execute(update(messages).values(expires_at=read_clock(tx) - 1000))
    relay = a_relay(ledger, "redis://127.0.0.1:1/0")
    stop = threading.Event()
    running = threading.Thread(target=relay.run, args=(stop,))
    running.start()

    def expired() -> bool:
        with ledger.read() as tx:
            return campaigns.status_counts(tx, campaign.id).get("expired") == 3

    try:
        until(expired)
    finally:
        stop.set()
        running.join(60)


@pytest.mark.parametrize(
    ("refuse", "allow"),
    [
        (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]),
        (["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"]),
        (["CONFIG", "SET", "min-replicas-to-write", "1"], ["CONFIG", "SET", "min-replicas-to-write", "0"]),
    ],
)
def test_ids_that_redis_refuses_are_not_counted_as_published(
    server: EmbeddedValkey, refuse: list[str], allow: list[str]
) -> None:
    publisher = RedisPublisher(server.url, timeout_s=1.0)
    with redis.Redis.from_url(server.url) as client:
        assert publisher.publish(Kind.OTP, ["one"]) == 1
        client.execute_command(*refuse)
        assert publisher.publish(Kind.OTP, ["two"]) == 0
        client.execute_command(*allow)
        assert publisher.publish(Kind.OTP, ["two"]) == 1
        assert client.llen("otp") == 2
