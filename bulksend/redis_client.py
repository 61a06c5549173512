"""The one place that opens Redis. A client never waits long: the caller decides when to try again."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry


def open_redis(url: str, *, timeout_s: float = 2.0, reconnects: int = 0) -> redis.Redis:
    """A client; it connects at its first call. Each call raises redis.RedisError within about ``timeout_s``.

    ``reconnects``: how often a call whose connection is lost is made again at once, on a new one.
    """
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), reconnects, supported_errors=(RedisConnectionError,)),
    )


def address_of(client: redis.Redis) -> str:
    """Where it connects to, without user and password."""
    where = client.connection_pool.connection_kwargs
    return str(where.get("path") or f"{where.get('host')}:{where.get('port')}")
