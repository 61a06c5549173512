"""The names of all Prometheus metrics, once; each kind of process counts in a class of its own.

No label is a recipient, campaign or message: labels are kinds, senders (business numbers), statuses, codes and gates.
Gauges about the ledger come from one process only, the relay that leads: two processes would be summed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.context_managers import Timer
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from bulksend import __version__

#: Seconds. POSTs take 50 ms to 30 s, commits 1 ms to 1 s, waits up to hours.
_POSTS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_COMMITS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
_WAITS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200)
_REQUESTS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


def process_registry() -> CollectorRegistry:
    """A registry with the version of this program in it."""
    registry = CollectorRegistry()
    info = Gauge("bulksend_info", "1; the label is the program's version", ["version"], registry=registry)
    info.labels(__version__).set(1)
    return registry


def listen(registry: CollectorRegistry, port: int, address: str = "127.0.0.1") -> WSGIServer:
    """Answer scrapes on a port, on a thread of its own. Raises OSError when the port is taken."""
    server, _ = start_http_server(port, address, registry)
    return server


def _counter(
    registry: CollectorRegistry, name: str, meaning: str, labels: Sequence[str]
) -> Callable[..., Counter]:
    """A counter, by its labels. ``labels`` costs more than a count: it looks at each combination once."""
    return cache(Counter(name, meaning, labels, registry=registry).labels)


def _histogram(
    registry: CollectorRegistry, name: str, meaning: str, labels: Sequence[str], *, buckets: Sequence[float]
) -> Callable[..., Histogram]:
    """The same for a histogram."""
    return cache(Histogram(name, meaning, labels, registry=registry, buckets=buckets).labels)


class WorkerMetrics:
    """What a worker counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(_counter, registry)
        histogram = partial(_histogram, registry)
        self._messages = counter(
            "bulksend_messages_total", "Messages by what an attempt made of them", ["kind", "status"]
        )
        self._attempts = counter(
            "bulksend_attempts_total",
            "POSTs by outcome and by the vendor's code, WhatsApp's if it gave one",
            ["sender", "outcome", "code"],
        )
        self._duration = histogram(
            "bulksend_attempt_duration_seconds",
            "From the first byte of a POST to its answer",
            ["sender"],
            buckets=_POSTS,
        )
        self._queue_wait = histogram(
            "bulksend_queue_wait_seconds",
            "From the due time of a message to its first POST",
            ["kind"],
            buckets=_WAITS,
        )
        self._waits = counter(
            "bulksend_limiter_waits_total", "Messages given back since a gate held them", ["gate"]
        )
        self._jobs = counter("bulksend_jobs_total", "Celery jobs taken", ["kind"])
        self._commits = histogram(
            "bulksend_commit_seconds", "Transactions of a worker", ["step"], buckets=_COMMITS
        )
        self._in_flight = Gauge("bulksend_in_flight", "POSTs under way", registry=registry)

    def watch_in_flight(self, count: Callable[[], int]) -> None:
        """Read the number of POSTs under way at each scrape."""
        self._in_flight.set_function(count)

    def count_settled(self, kind: str, status: str) -> None:
        """A message got the status that an attempt's outcome gives it."""
        self._messages(kind, status).inc()

    def count_attempt(self, sender: str, outcome: str, code: int | None, seconds: float) -> None:
        """A POST was answered, or failed on its connection."""
        self._attempts(sender, outcome, "" if code is None else str(code)).inc()
        self._duration(sender).observe(seconds)

    def note_queue_wait(self, kind: str, seconds: float) -> None:
        """A message's first POST started this long after its due time."""
        self._queue_wait(kind).observe(max(0.0, seconds))

    def count_wait(self, gate: str) -> None:
        """A message goes back to the ledger since a gate holds it."""
        self._waits(gate).inc()

    def count_job(self, kind: str) -> None:
        """A Celery job was taken."""
        self._jobs(kind).inc()

    def commit(self, step: str) -> Timer:
        """A context manager around a transaction. Steps: claim, open, settle."""
        return self._commits(step).time()


class HostMetrics:
    """What a process sees of its host: free disk, and files that wait for the ledger."""

    def __init__(self, registry: CollectorRegistry, spool: Path) -> None:
        """``spool`` is the folder of such files, on the disk that is watched; it may not exist yet."""
        free = Gauge("bulksend_disk_free_bytes", "Free space where spool and uploads lie", registry=registry)
        free.set_function(lambda: free_bytes(spool))
        spooled = Gauge(
            "bulksend_spooled_files",
            "Files with results or receipts that wait for the ledger",
            registry=registry,
        )
        spooled.set_function(lambda: count_spooled(spool))


#: Results of a worker, and receipts.
_SPOOLED = ("results-*.jsonl", "*.receipts")


def count_spooled(spool: Path) -> int:
    """How many files with results or receipts wait in this folder for the ledger."""
    return sum(1 for pattern in _SPOOLED for _ in spool.glob(pattern))


def free_bytes(folder: Path) -> float:
    """The free space of the disk on which the folder is, or would be made."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return float(shutil.disk_usage(folder).free)


class RedisMetrics:
    """Whether a process reaches Redis."""

    def __init__(self, registry: CollectorRegistry, reaches: Callable[[], bool]) -> None:
        up = Gauge("bulksend_redis_up", "1 while Redis answers", registry=registry)
        up.set_function(lambda: float(reaches()))


class LedgerGauges:
    """Gauges that the leading relay reads from the ledger. ``read`` returns None while it does not lead."""

    def __init__(self, read: Callable[[], LedgerState | None]) -> None:
        self._read = read

    def register(self, registry: CollectorRegistry) -> None:
        """Have the registry ask at each scrape."""
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Nothing: a registry would otherwise read the ledger when it is made."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The gauges, one family each."""
        state = self._read()
        yield _gauge(
            "bulksend_relay_leader", "1 in the relay that leads", (), [((), float(state is not None))]
        )
        if state is not None:
            yield from state.families()


@dataclass(frozen=True, slots=True)
class SenderState:
    """One sender: its rate and what it uses of it. None: not known."""

    phone: str
    rate_limit: float
    """Messages per second."""
    rate_used: float
    paused: bool
    is_red: bool | None
    """Whether WhatsApp rates its quality RED."""


@dataclass(frozen=True, slots=True)
class LedgerState:
    """One reading of the ledger."""

    messages: Mapping[tuple[str, str], int]
    """By kind and status."""
    oldest_age_s: Mapping[str, float]
    """By kind; 0 where nothing is due."""
    senders: Sequence[SenderState]
    account_paused: bool
    quota_used: float | None
    """Part of the account's quota, 0 to 1. None: not limited, or not known."""
    templates_not_approved: int
    """Templates of running campaigns."""
    endpoints_disabled: int
    """Endpoints of webhooks."""
    workers_alive: int
    clock_skew_s: float

    def families(self) -> Iterable[Metric]:
        """Every gauge of the ledger."""
        yield _gauge(
            "bulksend_ledger_messages", "Messages in the ledger", ("kind", "status"), self.messages.items()
        )
        yield _gauge(
            "bulksend_queue_oldest_age_seconds",
            "How long the oldest due message that nothing pauses has waited",
            ("kind",),
            [((kind,), age) for kind, age in self.oldest_age_s.items()],
        )
        for name, meaning, value in _SENDER_GAUGES:
            rows = [((s.phone,), found) for s in self.senders if (found := value(s)) is not None]
            yield _gauge(f"bulksend_sender_{name}", meaning, ("sender",), rows)
        yield _gauge(
            "bulksend_account_quota_used",
            "Part of the account's 24 h quota that is used, 0 to 1",
            (),
            [] if self.quota_used is None else [((), self.quota_used)],
        )
        for name, meaning, number in (
            ("bulksend_account_paused", "1 while the account is paused", float(self.account_paused)),
            (
                "bulksend_templates_not_approved",
                "Templates of running campaigns that the vendor says are not approved",
                float(self.templates_not_approved),
            ),
            (
                "bulksend_webhook_endpoints_disabled",
                "Endpoints of webhooks that get nothing any more",
                float(self.endpoints_disabled),
            ),
            ("bulksend_workers_alive", "Workers that hold a lease", float(self.workers_alive)),
            (
                "bulksend_clock_skew_seconds",
                "How far the relay's clock is ahead of the ledger's",
                self.clock_skew_s,
            ),
        ):
            yield _gauge(name, meaning, (), [((), number)])


_SENDER_GAUGES: Sequence[tuple[str, str, Callable[[SenderState], float | None]]] = (
    ("rate_limit", "Messages per second that the sender may send", lambda s: s.rate_limit),
    ("rate_used", "POSTs per second over the last ten seconds", lambda s: s.rate_used),
    ("paused", "1 while the sender is paused", lambda s: float(s.paused)),
    ("quality_red", "1 while WhatsApp rates it RED", lambda s: None if s.is_red is None else float(s.is_red)),
)


class ReceiptMetrics:
    """What is counted of receipts, by the process that takes them in and by the one that applies them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.receipts = Counter(
            "bulksend_receipts_total", "Receipts applied, by status", ["status"], registry=registry
        )
        self.unreadable = Counter(
            "bulksend_receipts_unreadable_total", "Callbacks that could not be read", registry=registry
        )
        self.lag = Histogram(
            "bulksend_receipt_lag_seconds",
            "From the arrival of a callback to its effect in the ledger",
            registry=registry,
            buckets=_WAITS,
        )
        self.delivery_delay = Histogram(
            "bulksend_delivery_delay_seconds",
            "From the POST of a message to its delivery, by its receipt",
            ["kind"],
            registry=registry,
            buckets=_WAITS,
        )


class HttpMetrics:
    """What the HTTP API counts. ``route`` is the template of the path, never the path."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "bulksend_http_requests_total", "Requests", ["route", "method", "status"], registry=registry
        )
        self._duration = Histogram(
            "bulksend_http_request_duration_seconds",
            "From the request to the last byte of its answer",
            ["route", "method"],
            registry=registry,
            buckets=_REQUESTS,
        )
        self._of: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered."""
        labels = route, method, status
        if labels not in self._of:
            self._of[labels] = (
                self._requests.labels(route, method, str(status)),
                self._duration.labels(route, method),
            )
        requests, duration = self._of[labels]
        requests.inc()
        duration.observe(seconds)


class WebhookMetrics:
    """What the notifier counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._deliveries = Counter(
            "bulksend_webhook_deliveries_total", "Tries by outcome", ["outcome"], registry=registry
        )
        self._lag = Histogram(
            "bulksend_webhook_lag_seconds",
            "From an event to the first try of its delivery",
            registry=registry,
            buckets=_WAITS,
        )

    def count(self, outcome: str) -> None:
        """A try has ended: delivered, failed, or dead where it was the last one."""
        self._deliveries.labels(outcome).inc()

    def note_lag(self, seconds: float) -> None:
        """An event's first try began this long after it."""
        self._lag.observe(max(0.0, seconds))


def _gauge(
    name: str, meaning: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family
