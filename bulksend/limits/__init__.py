"""Permits: who may POST when, over any number of workers. Rates, pair rate, 24 h quota, pauses, the breaker."""

from bulksend.limits.fallback import FallbackPermits
from bulksend.limits.in_redis import RedisPermits
from bulksend.limits.making import make_permits, redis_permits
from bulksend.limits.memory import MemoryPermits
from bulksend.limits.words import (
    MAX_LATE_MS,
    Ask,
    Gate,
    Grant,
    Permit,
    Permits,
    SenderLimits,
    Wait,
    is_stale,
)

__all__ = [
    "MAX_LATE_MS",
    "Ask",
    "FallbackPermits",
    "Gate",
    "Grant",
    "MemoryPermits",
    "Permit",
    "Permits",
    "RedisPermits",
    "SenderLimits",
    "Wait",
    "is_stale",
    "make_permits",
    "redis_permits",
]
