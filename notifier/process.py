"""``bulksend notifier``: the process. Any number may run; each delivery has one sender at a time."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from contextlib import suppress

import structlog

from bulksend import bootstrap
from bulksend.gateway.address import tls_context
from bulksend.ledger.database import Database
from bulksend.ledger.driver_errors import log_text
from bulksend.ledger.encryption import Cipher
from bulksend.metrics import WebhookMetrics, listen, process_registry
from bulksend.operations.health import NOTIFIER, SIGN_S, leave_sign
from bulksend.settings import Settings
from notifier.address import Resolve, SystemResolver
from notifier.deliveries import Deliveries, SendingRules
from notifier.fan_out import FanOut
from notifier.posting import skip_a_failing_import

log = structlog.get_logger(__name__)

#: How often new events are looked for, s: a query by the key of the newest, and the most that it delays a code's event.
POLL_S = 0.1
#: What a round that failed waits, s.
AGAIN_S = 1.0
#: A stop waits this long for requests under way.
STOP_S = 16.0


class Notifier:
    """Runs until it is stopped, also while the ledger is away."""

    def __init__(
        self,
        database: Database,
        cipher: Cipher,
        rules: SendingRules,
        *,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
        metrics: WebhookMetrics | None = None,
        poll_s: float = POLL_S,
        stop_s: float = STOP_S,
    ) -> None:
        self._database = database
        self._cipher = cipher
        self._rules = rules
        self._resolve = resolve
        self._tls = tls or tls_context(True)
        self._metrics = metrics or WebhookMetrics(process_registry())
        self._poll_s = poll_s
        self._stop_s = stop_s
        self._fan_out = FanOut(database, lease_ms=rules.lease_ms)

    @classmethod
    def from_settings(cls, of: Settings) -> Notifier:
        """The notifier of these settings; it answers scrapes on the metrics' port, if one is set.

        Raises InvalidInput for a malformed key, OSError when the port is taken.
        """
        registry = process_registry()
        if of.metrics_port is not None:
            listen(registry, of.metrics_port, of.metrics_host)
        return cls(
            bootstrap.database(of, by_key=True),
            bootstrap.cipher(of),
            SendingRules(allowed=of.webhook_networks(), concurrency=of.webhooks_concurrency),
            metrics=WebhookMetrics(registry),
        )

    def run(self, stop: threading.Event) -> None:
        """Fan out and send until ``stop`` is set."""
        skip_a_failing_import()
        asyncio.run(self._run(stop))

    async def _run(self, stop: threading.Event) -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wait() -> None:
            stop.wait()
            loop.call_soon_threadsafe(stopping.set)

        threading.Thread(target=wait, name="stop", daemon=True).start()
        own = SystemResolver()
        deliveries = Deliveries(
            self._database,
            self._cipher,
            self._rules,
            resolve=self._resolve or own,
            tls=self._tls,
            metrics=self._metrics,
        )
        fanned_out = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(deliveries.run(fanned_out, self._stop_s))
            await self._fan_out_until(stopping, deliveries)
            # Only now: what the last round claimed is given back.
            fanned_out.set()
        own.close()

    async def _fan_out_until(self, stopping: asyncio.Event, deliveries: Deliveries) -> None:
        sign_at = 0.0
        while not stopping.is_set():
            wait_s = self._poll_s
            try:
                started = time.monotonic()
                done = await asyncio.to_thread(self._fan_out.round, deliveries.rooms())
                deliveries.take(done.claimed, started)
                if done.made:
                    deliveries.due.set()
                if done.more:
                    wait_s = 0.0
                if started >= sign_at:
                    # For health checks and `doctor`.
                    await asyncio.to_thread(leave_sign, self._database, NOTIFIER)
                    sign_at = started + SIGN_S
            except Exception as error:  # noqa: BLE001 - the ledger may be away for long, and the notifier goes on
                log.warning("webhook_fan_out_failed", error=log_text(error))
                wait_s = AGAIN_S
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await stopping.wait()
