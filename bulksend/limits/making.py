"""The limiter of a process, by its settings."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

import redis

from bulksend.limits.fallback import FallbackPermits
from bulksend.limits.in_redis import RedisPermits
from bulksend.limits.memory import MemoryPermits

if TYPE_CHECKING:
    from bulksend.settings import Settings


def redis_permits(settings: Settings, *, worker_id: str) -> RedisPermits:
    """The limiter in Redis. An empty ``worker_id`` only looks and does not share."""
    client = redis.Redis.from_url(
        settings.redis_url_text(), socket_timeout=0.5, socket_connect_timeout=0.5, socket_keepalive=True
    )
    return RedisPermits(client, hash_key=hash_key(settings), worker_id=worker_id, **_rules(settings), account=settings.account())


def make_permits(settings: Settings, *, worker_id: str) -> FallbackPermits:
    """What a worker asks: Redis, and its share of the limits in memory while Redis is away."""

    def clock_ms() -> float:
        return time.time() * 1000

    memory = MemoryPermits(clock_ms, **_rules(settings) | {"pair_burst": 1})
    return FallbackPermits(redis_permits(settings, worker_id=worker_id), memory, clock_ms)


def hash_key(settings: Settings) -> bytes:
    """The key of the hashes in Redis: the same in every process of an installation, known to nobody without it."""
    secret = settings.uspeedo_accesskey_secret
    text = secret.get_secret_value() if secret is not None else settings.database_url_text()
    return hashlib.sha256(b"bulksend limiter" + text.encode()).digest()


def _rules(settings: Settings) -> dict[str, Any]:
    return {
        "account_rate": settings.account_rate,
        "otp_reserve": settings.otp_reserve,
        "pair_interval_ms": settings.pair_interval_seconds * 1000,
        "pair_burst": settings.pair_burst,
    }
