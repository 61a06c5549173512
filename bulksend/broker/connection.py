"""A redis-py client that never waits long: one try a call, so that whoever calls decides when to try again."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


def open_redis(url: str, *, timeout_s: float = 2.0) -> redis.Redis:
    """Opens nothing yet. Every call raises redis.RedisError within about ``timeout_s`` where Redis is away."""
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
    )


def address_of(client: redis.Redis) -> str:
    """Where it connects to, without user and password."""
    where = client.connection_pool.connection_kwargs
    return str(where.get("path") or f"{where.get('host')}:{where.get('port')}")
