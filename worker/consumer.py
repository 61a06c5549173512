"""Celery's consumer, but it is calm and quick about a Redis that is away.

Celery waits 2 s, 4 s, ... 30 s between two tries, ends for good over an answer that is an error (read-only, full),
and writes several lines a try. Here it looks twice a second whatever the reason, for ever, and says so once a minute.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, NoReturn

import redis
import structlog
from celery.exceptions import WorkerShutdown
from celery.utils import threads
from celery.worker import consumer
from celery.worker.state import maybe_shutdown

from bulksend.broker import (
    Eviction,
    Outage,
    RedisUnfit,
    eviction,
    trouble_of,
    try_out,
)
from bulksend.redis_client import address_of, open_redis
from worker.celery_app import BAD_SETUP
from worker.liveness import signs

log = structlog.get_logger(__name__)

#: How often it looks for a Redis that is away.
LOOK_SECONDS = 0.5
#: How long closing a dead connection may take.
_CLOSE_SECONDS = 0.5


class Consumer(consumer.Consumer):
    """Celery's ``worker_consumer``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Neighbours, gossip and heartbeats write to Redis and wait for it: a full Redis would keep a worker from
        # taking jobs. Who is at work stands in the ledger; worker/remote_control.py tells it to Celery's own tools.
        quiet = {"without_mingle": True, "without_gossip": True, "without_heartbeat": True}
        super().__init__(*args, **(kwargs | quiet))
        self._outage = Outage("consumer")
        self._tried_at = float("-inf")
        self._connected_once = False
        self._evicts: Eviction | None = None
        signs.on_answer = self._outage.over

    def ensure_connected(self, conn: Any) -> Any:
        """Until it is connected, or this worker is told to stop."""

        def failed(error: BaseException, _: float) -> None:
            self._note(error)
            if not self._connected_once:
                self._end_where_waiting_is_in_vain(error)

        conn.ensure_connection(
            failed,
            None,
            interval_start=LOOK_SECONDS,
            interval_step=0,
            interval_max=LOOK_SECONDS,
            callback=maybe_shutdown,
        )
        self.first_connection_attempt = False
        return conn

    def connect(self) -> Any:
        """A connection, no sooner than half a second after the one before: it may break at its first job."""
        self._rest()
        self._tried_at = time.monotonic()
        connection = super().connect()
        self._look_at_redis()
        self._connected_once = True
        return connection

    def on_connection_error_before_connected(self, exc: BaseException) -> None:
        """Redis answers, but with an error."""
        self._note(exc)

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """The connection broke, or Redis refuses to give jobs. What this process holds already goes on."""
        self._note(exc)
        broken: Any = self.connection
        self.connection = None
        # Unknown to the published stubs; without it closing waits for an answer that may never come.
        threads.bound_open_broker_sockets(broken, _CLOSE_SECONDS)  # type: ignore[attr-defined]
        for close in (lambda: broken.collect(socket_timeout=_CLOSE_SECONDS), broken.close):
            _quietly(close)

    def _note(self, error: BaseException) -> None:
        signs.tries += 1
        self._outage.goes_on(error)

    def _look_at_redis(self) -> None:
        """Raises WorkerShutdown where it cannot be used as it is: at the start; later that is only said."""
        try:
            with open_redis(self.app.conf.broker_url) as client:
                address = address_of(client)
                if not self._connected_once:
                    try_out(client, address)
                found = eviction(client)
        except RedisUnfit as unfit:
            self._end(unfit)
        except redis.RedisError:
            return
        if found is not None and found != self._evicts:
            log.critical("redis_evicts", why=found.text(address))
        self._evicts = found

    def _end_where_waiting_is_in_vain(self, error: BaseException) -> None:
        trouble = trouble_of(error)
        if trouble.lasts:
            with open_redis(self.app.conf.broker_url) as client:
                self._end(RedisUnfit(trouble, address_of(client)))

    def _end(self, unfit: RedisUnfit) -> NoReturn:
        log.critical("redis_unfit", why=str(unfit))
        raise WorkerShutdown(BAD_SETUP)

    def _rest(self) -> None:
        while time.monotonic() - self._tried_at < LOOK_SECONDS:
            maybe_shutdown()
            time.sleep(0.05)


def _quietly(work: Callable[[], object]) -> None:
    with contextlib.suppress(Exception):
        work()
