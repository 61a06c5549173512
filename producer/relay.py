"""The relay publishes messages that are due, a bounded window of each blast, and again what Redis lost.

One relay leads by a lock in Redis; the others wait. The leader remembers only in memory what it published. A new leader
publishes the window again, and the claim in the ledger ignores the duplicates.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import cache

import redis
import structlog

from bulksend import bootstrap
from bulksend.broker import (
    Outage,
    batches,
    check_redis_works,
    delete_invalid_lanes,
    eviction_problem,
    is_wrong_type,
    job_published_ms,
)
from bulksend.clock import RemoteClock
from bulksend.errors import InvalidInput
from bulksend.failpoints import reach
from bulksend.ledger import campaigns, due, pauses, senders
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.driver_errors import log_text
from bulksend.messaging.canary import CanaryRules
from bulksend.messaging.failure_share import FailureLimit
from bulksend.messaging.retention import Retention
from bulksend.messaging.states import LANES, Kind
from bulksend.metrics import LedgerGauges, ReceiptMetrics, RedisMetrics, listen, process_registry
from bulksend.operations.callbacks import CallbackRules
from bulksend.operations.gauges import read_state
from bulksend.operations.media import UPLOAD_S
from bulksend.operations.media_files import MediaFiles
from bulksend.redis_client import address_of
from bulksend.settings import Settings
from producer.leader_lock import LeaderLock
from producer.maintenance import Maintenance
from producer.media_renewal import MediaRenewal
from producer.publish_window import PublishWindow, job_key
from producer.publisher import Publisher, RedisPublisher
from producer.receipt_effects import OpenPermits
from producer.receipt_reader import ReceiptReader
from producer.vendor_sync import VendorSync

log = structlog.get_logger(__name__)

#: The producer publishes what is due at intake; the relay publishes it again only after this long.
GRACE_MS = 2_000
#: How often a relay that does not lead tries to take the lock, and how often it tries a Redis that is away.
WAITING_S = 1.0
AWAY_S = 0.5
#: A stop waits this long for a maintenance task that runs; its transaction is rolled back then.
STOP_S = 10.0
MAX_WINDOW, MIN_WINDOW = 20_000, 20
#: A window has at least this many seconds of the rate, however small the campaign's part of it is.
LEAST_SECONDS = 1.0
#: The longest call that reads from the vendor.
MOST_CALL_S = 5.0


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """How much is published and how often: at most ``window_seconds`` of a sender's rate is in Redis and claimed."""

    window_seconds: float = 10.0
    republish_seconds: float = 10.0
    interval_seconds: float = 0.5
    batch_size: int = 500
    resend_wait_ms: int = 600_000
    receipts_keep_ms: int = 30 * 86_400_000
    undelivered_ms: int = 60_000
    events_keep_ms: int = 7 * 86_400_000
    reads_keep_ms: int = 90 * 86_400_000
    retention: Retention | None = None
    account: str = "default"
    failure_limit: FailureLimit = field(default_factory=FailureLimit)
    canary_rules: CanaryRules = field(default_factory=CanaryRules)


class Relay:
    """Runs until it is stopped, also while Redis or the ledger is away."""

    def __init__(
        self,
        database: Database,
        client: redis.Redis,
        publisher: Publisher,
        settings: RelaySettings,
        *,
        clock: RemoteClock | None = None,
        reader: ReceiptReader | None = None,
        permits: OpenPermits | None = None,
        vendor_sync: VendorSync | None = None,
        media_renewal: MediaRenewal | None = None,
    ) -> None:
        self.reader = reader
        self._vendor_sync = vendor_sync
        self._media_renewal = media_renewal
        self._database = database
        self._client = client
        self._publisher = publisher
        self._settings = settings
        self._clock = clock or RemoteClock()
        self._lock = LeaderLock(client)
        self._windows: dict[str, PublishWindow] = {}
        self.maintenance = Maintenance(
            database,
            resend_wait_ms=settings.resend_wait_ms,
            receipts_keep_ms=settings.receipts_keep_ms,
            undelivered_ms=settings.undelivered_ms,
            events_keep_ms=settings.events_keep_ms,
            reads_keep_ms=settings.reads_keep_ms,
            retention=settings.retention,
            account=settings.account,
            permits=permits,
            failure_limit=settings.failure_limit,
            canary_rules=settings.canary_rules,
        )
        self._does_maintenance = False
        """True while this relay leads, and while no Redis says which one does."""
        self._outage = Outage("relay")
        self._redis_checked = False
        self._was_leading = False

    @classmethod
    def from_settings(cls, of: Settings) -> Relay:
        """The relay of these settings. Raises RedisUnreachable when REDIS_URL is not set."""
        clock = RemoteClock()
        client = bootstrap.redis_client(of)
        database = bootstrap.database(of, by_key=True)
        return cls(
            database,
            client,
            RedisPublisher(of.redis_url_text(), batch_size=of.batch_size, timeout_s=2.0, wall_ms=clock),
            RelaySettings(
                window_seconds=of.window_seconds,
                republish_seconds=of.republish_seconds,
                interval_seconds=of.relay_interval_seconds,
                batch_size=of.batch_size,
                resend_wait_ms=int(of.resend_wait_seconds * 1000),
                receipts_keep_ms=int(of.receipts_keep_days * 86_400_000),
                undelivered_ms=int(of.otp_undelivered_seconds * 1000),
                events_keep_ms=int(of.events_keep_days * 86_400_000),
                reads_keep_ms=int(of.reads_keep_days * 86_400_000),
                retention=of.retention(),
                account=of.account(),
                failure_limit=FailureLimit(of.max_failed, of.max_failed_window),
                canary_rules=CanaryRules(
                    of.max_failed, of.canary_delivered, int(of.canary_wait_seconds * 1000)
                ),
            ),
            clock=clock,
            reader=ReceiptReader(database, CallbackRules.from_settings(of, bootstrap.cipher(of))),
            permits=cache(lambda: bootstrap.limiter(of, database)),
            vendor_sync=_vendor_sync(of, database),
            media_renewal=_media_renewal(of, database),
        )

    @property
    def leads(self) -> bool:
        """Whether this relay publishes; one that waits does not."""
        return self._lock.is_held

    @property
    def reaches_redis(self) -> bool:
        """Whether Redis answered the last round."""
        return self._outage.seconds == 0

    def run(self, stop: threading.Event) -> None:
        """Run rounds until ``stop`` is set. Raises RedisUnfit when this Redis cannot be used as it is set up."""
        over = threading.Event()
        threads = [
            threading.Thread(target=each.run, args=(over, lambda: self._does_maintenance), daemon=True)
            for each in (self.maintenance, self.reader, self._vendor_sync, self._media_renewal)
            if each is not None
        ]
        for thread in threads:
            thread.start()
        try:
            while not stop.is_set():
                stop.wait(self._safe_round())
        finally:
            over.set()
            for thread in threads:
                thread.join(STOP_S)
        self._lock.release()

    def _safe_round(self) -> float:
        """One round; returns the seconds until the next. Raises RedisUnfit, see ``run``."""
        try:
            return self._round()
        except InvalidInput:
            raise
        except Exception as error:  # noqa: BLE001 - the ledger may be away for long, and the relay goes on
            log.warning("relay_round_failed", error=log_text(error))
            return 1.0

    def _round(self) -> float:
        """Publish, if this relay leads; returns the seconds until the next round."""
        try:
            self._check_redis()
            leading = self._does_maintenance = self._lock.acquire()
            self._log_leading(leading)
            wait_s = self.publish_due() if leading else WAITING_S
        except redis.RedisError as error:
            self._lock.is_held = False
            self._outage.failed(error)
            if is_wrong_type(error):
                delete_invalid_lanes(self._client)
            # Messages expire without Redis as well.
            self._does_maintenance = True
            return AWAY_S
        self._outage.succeeded()
        return wait_s

    def _log_leading(self, leading: bool) -> None:
        if leading != self._was_leading:
            log.info("relay_leads" if leading else "relay_waits")
            self._was_leading = leading

    def _check_redis(self) -> None:
        """Check its setup at the first contact and after each outage. Raises RedisUnfit, redis.RedisError."""
        if self._redis_checked and not self._outage.seconds:
            return
        address = address_of(self._client)
        if not self._redis_checked:
            check_redis_works(self._client, address)
        found = eviction_problem(self._client)
        if found is not None:
            log.critical("redis_evicts", why=found.text(f"Redis at {address}"))
        self._redis_checked = True

    def publish_due(self) -> float:
        """Fill the window of each active campaign; returns the seconds to the next round. Raises redis.RedisError."""
        if self._lock.lost_track:
            self._windows.clear()
        oldest = {lane: self._oldest_in(lane) for lane in LANES}
        with self._database.read() as tx:
            active = campaigns.active(tx)
            paused = pauses.current(tx)
            rates = {sender.phone: sender.rate for sender in senders.all_senders(tx)}
            self._clock.observe(read_clock(tx))
        ids = {campaign.id for campaign in active}
        self._windows = {id: window for id, window in self._windows.items() if id in ids}
        wait_s = self._settings.interval_seconds
        running = [campaign for campaign in active if campaign.sender not in paused.senders]
        parts = _parts(running, int(self._clock()))
        for lane in LANES:
            fills = []
            for campaign in (each for each in running if each.kind is lane):
                rate = campaign.rate or rates.get(campaign.sender, senders.DEFAULT_RATE)
                fills.append(self._fill(campaign, rate, parts[campaign.id], oldest[lane]))
            wait_s = min([wait_s, *_in_turn(fills)])
        return wait_s

    def _oldest_in(self, lane: Kind) -> int | None:
        """When the oldest job of a lane was published (ms); None where the lane is empty."""
        raw = self._client.lindex(lane.value, -1)
        return None if raw is None else job_published_ms(raw) or 0

    def _fill(
        self, campaign: Campaign, rate: float, part: float, oldest: int | None
    ) -> Generator[None, None, float]:
        """Publish the messages of the window that neither Redis nor a worker has, a job a step.

        ``part`` of the sender's rate is this campaign's. Returns the seconds until more are due.
        """
        # Not less than what may go out until the next rounds: others may leave it their part.
        seconds = max(self._settings.window_seconds * part, min(LEAST_SECONDS, self._settings.window_seconds))
        size = int(min(MAX_WINDOW, max(MIN_WINDOW, rate * seconds)))
        window = self._windows.setdefault(campaign.id, PublishWindow())
        now = int(self._clock())
        with self._database.read() as tx:
            # No code waits for another that a worker holds, and perhaps holds for long.
            claimed = campaign.kind is not Kind.OTP
            scan = window.scan(tx, campaign.id, size, now, held_after=campaign.held_after, claimed=claimed)
            upcoming = due.next_due_at(tx, campaign.id) if scan.reached_end else None
            now_ms = read_clock(tx)
        wanted = [
            row.id
            for row in scan.rows
            if self._is_missing(row, window.published.get(job_key(row)), oldest, now)
        ]
        window.record(scan, (yield from self._publish(campaign.kind, wanted, rate)))
        if upcoming is None or upcoming <= now_ms:
            return self._settings.interval_seconds
        return max(0.001, (upcoming - now_ms) / 1000)

    def _publish(self, lane: Kind, ids: list[str], rate: float) -> Generator[None, None, dict[str, int]]:
        """Publish in jobs, one a step; returns the ids that Redis took and when (ms).

        That is not before the time that their job has. A job has about a second of the rate, so that workers share a
        blast evenly.
        """
        size = int(min(self._settings.batch_size, max(MIN_WINDOW, rate)))
        taken: dict[str, int] = {}
        for batch in batches(ids, size):
            reach("publishing")
            count = self._publisher.publish(lane, batch)
            reach("published")
            taken.update(dict.fromkeys(batch[:count], int(self._clock())))
            if count < len(batch):
                break
            yield
        return taken

    def _is_missing(
        self, row: due.DueMessage, published_ms: int | None, oldest: int | None, now: int
    ) -> bool:
        """Whether Redis does not have its job, or may have lost it."""
        if row.is_claimed:
            return False
        if published_ms is None:
            return not (row.was_due_at_intake and row.age_ms < GRACE_MS)
        if now - published_ms < self._settings.republish_seconds * 1000:
            return False
        # Jobs leave a lane in the order in which they came: when the oldest is younger than ours, ours is gone.
        return oldest is None or oldest > published_ms


def _parts(running: Sequence[Campaign], now_ms: int) -> dict[str, float]:
    """By campaign: its part of its sender's rate, by the weights of those in its lane that have begun."""
    heavy: dict[tuple[str, Kind], int] = {}
    begun = [campaign for campaign in running if campaign.sender and campaign.due_at <= now_ms]
    for campaign in begun:
        key = campaign.sender, campaign.kind
        heavy[key] = heavy.get(key, 0) + (campaign.weight or 1)
    parts = {each.id: (each.weight or 1) / heavy[each.sender, each.kind] for each in begun}
    return {campaign.id: parts.get(campaign.id, 1.0) for campaign in running}


def _in_turn(fills: Sequence[Generator[None, None, float]]) -> list[float]:
    """Have campaigns of a lane publish a job each in turn, so that none stands behind the whole window of another.

    Returns the seconds that each may wait.
    """
    waits: list[float] = []
    left = list(fills)
    while left:
        for fill in list(left):
            try:
                next(fill)
            except StopIteration as over:
                waits.append(over.value)
                left.remove(fill)
    return waits


def _vendor_sync(of: Settings, database: Database) -> VendorSync | None:
    """None where it is switched off, or where there are no credentials."""
    if not of.template_sync_seconds or of.missing_credentials():
        return None
    calls = bootstrap.vendor_calls(of, seconds=min(of.request_timeout, MOST_CALL_S))
    return VendorSync(database, calls, every_s=of.template_sync_seconds)


def _media_renewal(of: Settings, database: Database) -> MediaRenewal | None:
    """None where there are no credentials."""
    if of.missing_credentials():
        return None
    calls = bootstrap.vendor_calls(of, seconds=UPLOAD_S)
    return MediaRenewal(database, calls, MediaFiles.from_settings(of))


def serve_metrics(relay: Relay, of: Settings) -> None:
    """Answer scrapes on the metrics' port, if one is set: the gauges about the ledger while ``relay`` leads.

    Raises OSError when the port is taken, LedgerUnreachable.
    """
    if of.metrics_port is None:
        return
    database = bootstrap.database(of, by_key=True)
    limiter = bootstrap.limiter(of, database)
    registry = process_registry()
    gauges = LedgerGauges(lambda: read_state(database, limiter, of.account()) if relay.leads else None)
    gauges.register(registry)
    RedisMetrics(registry, lambda: relay.reaches_redis)
    if relay.reader is not None:
        relay.reader.metrics = ReceiptMetrics(registry)
    listen(registry, of.metrics_port, of.metrics_host)
