"""The limiter: permits to POST, by rates, pair rate, 24 h quota, pauses and circuit breaker, for any number of workers.

Its calls block: make them on a thread. How slices keep the limits: docs/decisions/0002.
"""

from bulksend.limits.keyed_hashes import KeyedHashes
from bulksend.limits.redis_permits import RedisPermits
from bulksend.limits.rules import MAX_LEAD_MS, SLICE_MS, LimitRules
from bulksend.limits.types import (
    Ask,
    Gate,
    Grant,
    Permit,
    Permits,
    Reported,
    SenderLimits,
    Slowed,
    Wait,
)

__all__ = [
    "MAX_LEAD_MS",
    "SLICE_MS",
    "Ask",
    "Gate",
    "Grant",
    "KeyedHashes",
    "LimitRules",
    "Permit",
    "Permits",
    "RedisPermits",
    "Reported",
    "SenderLimits",
    "Slowed",
    "Wait",
]
