"""Kombu's Redis transport, but whatever lies in a lane must not stop a worker.

Kombu lets an entry that is not JSON, or not a message, raise through its event loop: Celery ends, the entry is
gone, and the next one ends the next worker. Here it is left out with a warning. Nothing is lost by that: jobs only
carry ids, and the relay publishes again what still waits.
"""

from __future__ import annotations

from typing import Any

import structlog
from kombu.transport import redis

log = structlog.get_logger(__name__)

#: What kombu raises for an entry it cannot read; none of them is one of redis-py's connection errors.
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError)


class Channel(redis.Channel):
    """One BRPOP at a time, each giving a job or nothing."""

    def _brpop_read(self, **options: Any) -> bool:
        try:
            return bool(super()._brpop_read(**options))  # type: ignore[misc]
        except _UNREADABLE as error:
            # Its text is left out too: nobody knows what lay there.
            log.warning("not_a_job", error=type(error).__name__)
            return True


class Transport(redis.Transport):
    """Celery's ``broker_transport`` of a worker."""

    Channel = Channel
