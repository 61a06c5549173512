"""Kombu's Redis transport, but neither what lies in a lane nor what Redis answers may stop a worker.

Kombu lets an entry that is not JSON, or not a message, raise through its event loop: Celery ends, the entry is
gone, and the next one ends the next worker. Here it is left out with a warning. Nothing is lost by that: jobs only
carry ids, and the relay publishes again what still waits.

Every error of Redis's counts as a lost connection (read-only, full, loading, no password): Celery connects again
instead of ending.
"""

from __future__ import annotations

from typing import Any

import redis as redis_py
import structlog
from kombu.transport import redis
from kombu.transport.virtual import Empty

from worker.lanes import is_lane_closed
from worker.liveness import signs

log = structlog.get_logger(__name__)


#: How long Redis is asked for the open lanes while another has no room, seconds: a busy worker has room again within
#: milliseconds, and the second that kombu waits by default would leave it without work.
CLOSED_S = 0.05


class Channel(redis.Channel):
    """One BRPOP at a time, each giving a job or nothing."""

    def _brpop_start(self, timeout: float | None = None) -> None:
        if timeout is None and is_lane_closed():
            timeout = CLOSED_S
        super()._brpop_start(timeout)  # type: ignore[misc]

    def _brpop_read(self, **options: Any) -> bool:
        try:
            taken = bool(super()._brpop_read(**options))  # type: ignore[misc]
        except Empty:
            signs.on_answer()
            raise
        except (OSError, redis_py.RedisError):
            raise
        except Exception as error:  # noqa: BLE001 - nobody knows what lies there, nor what reading it raises
            # Its text is left out too.
            log.warning("not_a_job", error=type(error).__name__)
            taken = True
        signs.taken()
        return taken


class Transport(redis.Transport):
    """Celery's ``broker_transport`` of a worker."""

    Channel = Channel
    connection_errors = (*redis.Transport.connection_errors, redis_py.RedisError)
