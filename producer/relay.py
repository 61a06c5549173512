"""The relay: publishes what is due, a bounded window of each blast, and puts back what Redis lost.

One leader by a lock in Redis; a second relay waits. The leader remembers what it published in memory only: a new
leader publishes the window again, and the claim in the ledger makes that harmless.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from dataclasses import dataclass

import redis
import structlog

from bulksend import bootstrap
from bulksend.broker import (
    LEADER_KEY,
    Outage,
    batches,
    eviction,
    mend_lanes,
    published_ms_of,
    says_no_list,
    try_out,
)
from bulksend.clock import RemoteClock
from bulksend.errors import InvalidInput
from bulksend.failpoints import reach
from bulksend.ledger import campaigns, due, pauses, senders
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.database import Database, instant
from bulksend.ledger.driver_errors import log_text
from bulksend.messaging.states import LANES, Kind
from bulksend.redis_client import address_of
from bulksend.settings import Settings
from producer.maintenance import Duties
from producer.publisher import Publisher, RedisPublisher
from producer.window import Window, job

log = structlog.get_logger(__name__)

LEADER_MS = 6_000
#: What came in due was published by its own producer; only after this long is it taken for lost.
GRACE_MS = 2_000
#: How often a relay that does not lead asks for the lock, and how often a Redis that is away is looked for.
WAITING_S = 1.0
AWAY_S = 0.5
#: So long a stop waits for a duty that is at work; what it does not finish is rolled back.
STOP_S = 10.0
MAX_WINDOW = 20_000
SMALLEST_WINDOW = 20

_KEEP = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) else return 0 end
"""
_LEAVE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end"


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """How far ahead and how often. ``window_seconds`` of a sender's rate lie in Redis at most."""

    window_seconds: float = 10.0
    republish_seconds: float = 10.0
    interval_seconds: float = 0.5
    batch_size: int = 500
    resend_wait_ms: int = 600_000


class Leadership:
    """One leader among relays, by a lock in Redis that lapses by itself."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._token = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._keep = client.register_script(_KEEP)
        self._leave = client.register_script(_LEAVE)
        self._server = ""
        self.leads = False
        self.began_anew = False
        """Whether nothing is known of what Redis holds: the newest ``hold`` took the lock anew, or met another server
        process than the one before it."""

    def hold(self) -> bool:
        """Take or prolong the lock; whether this relay leads now. Raises redis.RedisError."""
        led, self.leads = self.leads, False
        # After an outage the lock may still be there, and ours: a Redis with a file keeps it.
        kept = bool(self._keep(keys=[LEADER_KEY], args=[self._token, LEADER_MS]))
        leads = kept or bool(self._client.set(LEADER_KEY, self._token, nx=True, px=LEADER_MS))
        server = self._process()
        same = server == self._server if server else led
        self.began_anew = leads and not (kept and same)
        self._server, self.leads = server, leads
        return leads

    def _process(self) -> str:
        """Which server process answers: another one may have lost what the last one held. Empty where it hides that."""
        try:
            return str(self._client.info("server").get("run_id", ""))
        except redis.ResponseError:
            return ""

    def leave(self) -> None:
        """Let another lead at once."""
        if self.leads:
            self.leads = False
            with contextlib.suppress(redis.RedisError):
                self._leave(keys=[LEADER_KEY], args=[self._token])


class Relay:
    """Runs until told to stop; outlives Redis and the ledger being away."""

    def __init__(
        self,
        database: Database,
        client: redis.Redis,
        publisher: Publisher,
        settings: RelaySettings,
        *,
        clock: RemoteClock | None = None,
    ) -> None:
        self._database = database
        self._client = client
        self._publisher = publisher
        self._settings = settings
        self._clock = clock or RemoteClock()
        self._leadership = Leadership(client)
        self._windows: dict[str, Window] = {}
        self.duties = Duties(database, resend_wait_ms=settings.resend_wait_ms)
        self._keeps_time = False
        """Whether this relay does the duties: while it leads, and while no Redis says who does."""
        self._outage = Outage("relay")
        self._looked = False
        self._was_leading = False

    @classmethod
    def from_settings(cls, of: Settings) -> Relay:
        """A relay between this ledger and this Redis. Raises RedisUnreachable where REDIS_URL is not set."""
        clock = RemoteClock()
        client = bootstrap.redis_client(of)
        return cls(
            bootstrap.database(of, by_key=True),
            client,
            RedisPublisher(of.redis_url_text(), batch_size=of.batch_size, timeout_s=2.0, wall_ms=clock),
            RelaySettings(
                window_seconds=of.window_seconds,
                republish_seconds=of.republish_seconds,
                interval_seconds=of.relay_interval_seconds,
                batch_size=of.batch_size,
                resend_wait_ms=int(of.resend_wait_seconds * 1000),
            ),
            clock=clock,
        )

    def run(self, stop: threading.Event) -> None:
        """Round after round until ``stop`` is set. Raises RedisUnfit where this Redis cannot be used as it is."""
        over = threading.Event()
        keeping_time = threading.Thread(
            target=self.duties.run, args=(over, lambda: self._keeps_time), name="duties", daemon=True
        )
        keeping_time.start()
        try:
            while not stop.is_set():
                stop.wait(self._round_surely())
        finally:
            over.set()
            keeping_time.join(STOP_S)
        self._leadership.leave()

    def _round_surely(self) -> float:
        """A round, and the seconds until the next. Raises RedisUnfit, see ``run``."""
        try:
            return self._round()
        except InvalidInput:
            raise
        except Exception as error:  # noqa: BLE001 - the ledger may be away for long; the relay outlives that
            log.warning("relay_tick_failed", error=log_text(error))
            return 1.0

    def _round(self) -> float:
        """Lead if it is ours to lead; the seconds until the next round."""
        try:
            self._look_at_redis()
            leading = self._keeps_time = self._leadership.hold()
            self._say_leading(leading)
            wait_s = self.tick() if leading else WAITING_S
        except redis.RedisError as error:
            self._leadership.leads = False
            self._outage.goes_on(error)
            if says_no_list(error):
                mend_lanes(self._client)
            # Time passes without Redis as well.
            self._keeps_time = True
            return AWAY_S
        self._outage.over()
        return wait_s

    def _say_leading(self, leading: bool) -> None:
        if leading != self._was_leading:
            log.info("relay_leads" if leading else "relay_waits")
            self._was_leading = leading

    def _look_at_redis(self) -> None:
        """Once at the first contact, and at the first after each outage. Raises RedisUnfit, redis.RedisError."""
        if self._looked and not self._outage.seconds:
            return
        address = address_of(self._client)
        if not self._looked:
            try_out(self._client, address)
        found = eviction(self._client)
        if found is not None:
            log.critical("redis_evicts", why=found.text(address))
        self._looked = True

    def tick(self) -> float:
        """One round: every live campaign's window. Returns the seconds until the next is due."""
        if self._leadership.began_anew:
            self._windows.clear()
        oldest = {lane: self._oldest_in(lane) for lane in LANES}
        with self._database.read() as tx:
            live = campaigns.active(tx)
            paused = pauses.current(tx)
            rates = {sender.phone: sender.rate for sender in senders.all_senders(tx)}
            self._clock.observe(instant(tx))
        known = {campaign.id for campaign in live}
        self._windows = {id: window for id, window in self._windows.items() if id in known}
        wait_s = self._settings.interval_seconds
        for campaign in sorted(live, key=lambda c: LANES.index(c.kind)):
            if campaign.sender in paused.senders:
                continue
            rate = campaign.rate or rates.get(campaign.sender, senders.DEFAULT_RATE)
            wait_s = min(wait_s, self._fill(campaign, rate, oldest[campaign.kind]))
        return wait_s

    def _oldest_in(self, lane: Kind) -> int | None:
        """When the job that will be taken next from a lane was published; None where the lane is empty."""
        raw = self._client.lindex(lane.value, -1)
        if raw is None:
            return None
        published = published_ms_of(raw)
        return published if published is not None else 0

    def _fill(self, campaign: Campaign, rate: float, oldest: int | None) -> float:
        """Publish what of the window is not in Redis; the seconds until more is due."""
        size = int(min(MAX_WINDOW, max(SMALLEST_WINDOW, rate * self._settings.window_seconds)))
        window = self._windows.setdefault(campaign.id, Window())
        now = int(self._clock())
        with self._database.read() as tx:
            look = window.look(tx, campaign.id, size, now)
            upcoming = due.next_due_at(tx, campaign.id) if look.is_short else None
            now_ms = instant(tx)
        wanted = [
            row.id for row in look.rows if self._is_missing(row, window.published.get(job(row)), oldest, now)
        ]
        window.took(look, self._publish(campaign.kind, wanted, rate) if wanted else {})
        if upcoming is None or upcoming <= now_ms:
            return self._settings.interval_seconds
        return max(0.001, (upcoming - now_ms) / 1000)

    def _publish(self, lane: Kind, ids: list[str], rate: float) -> dict[str, int]:
        """Those that Redis took, and when: not before the time that their own job bears.

        A job is about a second's worth, so that workers share a paced blast evenly.
        """
        size = int(min(self._settings.batch_size, max(SMALLEST_WINDOW, rate)))
        taken: dict[str, int] = {}
        for batch in batches(ids, size):
            reach("publishing")
            count = self._publisher.publish(lane, batch)
            reach("published")
            taken.update(dict.fromkeys(batch[:count], int(self._clock())))
            if count < len(batch):
                break
        return taken

    def _is_missing(
        self, row: due.DueMessage, published_ms: int | None, oldest: int | None, now: int
    ) -> bool:
        """Whether Redis surely does not have it, or may have lost it."""
        if published_ms is None:
            return not (row.was_due_at_intake and row.age_ms < GRACE_MS)
        if now - published_ms < self._settings.republish_seconds * 1000:
            return False
        # Jobs leave a lane in the order they came: one younger than ours at its end means ours is gone.
        return oldest is None or oldest > published_ms
