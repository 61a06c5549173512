"""Celery's consumer, which waits for a Redis that is away: it tries twice a second, for ever, and logs once a minute.

Celery's own waits 2 s, 4 s, ... 30 s between two tries, logs several lines a try, and ends when a reply is an error
(read-only, full).
"""

from __future__ import annotations

import contextlib
import time
from typing import Any, NoReturn

import redis
import structlog
from celery.exceptions import WorkerShutdown
from celery.utils import threads
from celery.worker import consumer
from celery.worker.state import maybe_shutdown

from bulksend.broker import (
    Outage,
    RedisUnfit,
    check_redis_works,
    eviction_problem,
    problem_of,
)
from bulksend.errors import ServerProblem
from bulksend.redis_client import address_of, open_redis
from worker.celery_app import BAD_SETUP
from worker.liveness import liveness

log = structlog.get_logger(__name__)

RETRY_SECONDS = 0.5
#: How long closing a dead connection may take.
_CLOSE_SECONDS = 0.5


class Consumer(consumer.Consumer):
    """Celery's ``worker_consumer``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Mingle, gossip and heartbeats write to Redis and wait for it: a full Redis would keep a worker from taking
        # jobs. The ledger knows which workers run; worker/remote_control.py answers Celery's own tools.
        quiet = {"without_mingle": True, "without_gossip": True, "without_heartbeat": True}
        super().__init__(*args, **(kwargs | quiet))
        self._outage = Outage("consumer")
        self._tried_at = float("-inf")
        self._connected_once = False
        self._eviction: ServerProblem | None = None
        liveness.on_reply = self._outage.succeeded

    def ensure_connected(self, conn: Any) -> Any:
        """Try until the connection is up. Raises WorkerShutdown when this worker is told to stop."""

        def failed(error: BaseException, _: float) -> None:
            self._record_failure(error)
            if not self._connected_once:
                self._shut_down_if_permanent(error)

        conn.ensure_connection(
            failed,
            None,
            interval_start=RETRY_SECONDS,
            interval_step=0,
            interval_max=RETRY_SECONDS,
            callback=maybe_shutdown,
        )
        self.first_connection_attempt = False
        return conn

    def connect(self) -> Any:
        """A connection, at least half a second after the last one, which may have broken at its first job."""
        self._wait_to_retry()
        self._tried_at = time.monotonic()
        connection = super().connect()
        self._check_redis()
        self._connected_once = True
        return connection

    def on_connection_error_before_connected(self, exc: BaseException) -> None:
        """Redis replies with an error."""
        self._record_failure(exc)

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """The connection broke, or Redis refuses to give jobs. Messages that this process already has are sent."""
        self._record_failure(exc)
        broken: Any = self.connection
        self.connection = None
        # Without a bound, closing waits for a reply that may never come. The published stubs lack this function.
        threads.bound_open_broker_sockets(broken, _CLOSE_SECONDS)  # type: ignore[attr-defined]
        for close in (lambda: broken.collect(socket_timeout=_CLOSE_SECONDS), broken.close):
            with contextlib.suppress(Exception):
                close()

    def _record_failure(self, error: BaseException) -> None:
        liveness.connection_failures += 1
        self._outage.failed(error)

    def _check_redis(self) -> None:
        """Raises WorkerShutdown when Redis cannot be used at the first connection. Later, only eviction is logged."""
        try:
            with open_redis(self.app.conf.broker_url) as client:
                address = address_of(client)
                if not self._connected_once:
                    check_redis_works(client, address)
                found = eviction_problem(client)
        except RedisUnfit as unfit:
            self._shut_down(unfit)
        except redis.RedisError:
            return
        if found is not None and found != self._eviction:
            log.critical("redis_evicts", why=found.text(f"Redis at {address}"))
        self._eviction = found

    def _shut_down_if_permanent(self, error: BaseException) -> None:
        """Raises WorkerShutdown for an error that only a person can repair."""
        problem = problem_of(error)
        if problem.fatal:
            with open_redis(self.app.conf.broker_url) as client:
                self._shut_down(RedisUnfit(problem, address_of(client)))

    def _shut_down(self, unfit: RedisUnfit) -> NoReturn:
        log.critical("redis_unfit", why=str(unfit))
        raise WorkerShutdown(BAD_SETUP)

    def _wait_to_retry(self) -> None:
        while time.monotonic() - self._tried_at < RETRY_SECONDS:
            maybe_shutdown()
            time.sleep(0.05)
