"""Kombu's Redis transport, made robust: no entry of a lane and no error of Redis stops the worker.

Kombu lets an entry that is not JSON, or not a message, raise through its event loop: Celery ends, the entry is gone,
and the next such entry ends the next worker. Here the entry is dropped with a warning. Nothing is lost: jobs carry only
ids, and the relay publishes again what still waits.

Every error of Redis counts as a lost connection (read-only, full, loading, no password): Celery connects again instead
of ending. A channel whose connection is lost closes its other sockets, too.
"""

from __future__ import annotations

import contextlib
from typing import Any

import redis as redis_py
import structlog
from kombu.transport import redis
from kombu.transport.virtual import Empty

from worker.liveness import liveness

log = structlog.get_logger(__name__)

#: How long one BRPOP waits while some lane is full, in seconds. A full lane has room again within milliseconds; kombu's
#: own wait of a second would leave a busy worker idle.
FULL_LANE_WAIT_S = 0.05


class Channel(redis.Channel):
    """Holds no socket once it is closed."""

    def close(self) -> None:
        """Kombu's own ends at the first error of Redis, and leaves sockets to the garbage collection."""
        try:
            with contextlib.suppress(OSError, redis_py.RedisError):
                super().close()
        finally:
            self._disconnect_pools()  # type: ignore[attr-defined]
            self._close_clients()  # type: ignore[attr-defined]


class Transport(redis.Transport):
    """Any error of Redis is that of a lost connection."""

    Channel = Channel
    connection_errors = (*redis.Transport.connection_errors, redis_py.RedisError)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        #: Until a hub brings its own.
        self._own_poller: Any = self.cycle.poller  # type: ignore[union-attr]

    def close_connection(self, connection: Any) -> None:
        """Kombu's own leaves its poller to the garbage collection."""
        try:
            super().close_connection(connection)
        finally:
            self._own_poller.close()


class LaneChannel(Channel):
    """One BRPOP at a time, each gives a job or nothing."""

    def _brpop_start(self, timeout: float | None = None) -> None:
        if timeout is None and self._queue_cycle.has_full_lane():  # type: ignore[attr-defined]
            timeout = FULL_LANE_WAIT_S
        super()._brpop_start(timeout)  # type: ignore[misc]

    def _brpop_read(self, **options: Any) -> bool:
        try:
            taken = bool(super()._brpop_read(**options))  # type: ignore[misc]
        except Empty:
            liveness.on_reply()
            raise
        except (OSError, redis_py.RedisError):
            raise
        except Exception as error:  # noqa: BLE001 - the entry may hold anything, and reading it may raise anything
            # Without the error's text, which may quote the entry.
            log.warning("not_a_job", error=type(error).__name__)
            taken = True
        liveness.job_taken()
        return taken


class LaneTransport(Transport):
    """Celery's ``broker_transport`` of a worker."""

    Channel = LaneChannel
