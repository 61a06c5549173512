"""Permits: who may POST when, over any number of workers. Rates, pair rate, 24 h quota, pauses, the breaker.

Blocking, like everything in this room: call it on a thread. How slots keep the limits: docs/decisions/0002.
"""

from bulksend.limits.keyed_hashes import KeyedHashes
from bulksend.limits.redis_permits import RedisPermits
from bulksend.limits.rules import MAX_LEAD_MS, LimitRules
from bulksend.limits.types import (
    Ask,
    Gate,
    Grant,
    Paused,
    Permit,
    Permits,
    SenderLimits,
    Spacing,
    Wait,
    needs_restore,
)

__all__ = [
    "MAX_LEAD_MS",
    "Ask",
    "Gate",
    "Grant",
    "KeyedHashes",
    "LimitRules",
    "Paused",
    "Permit",
    "Permits",
    "RedisPermits",
    "SenderLimits",
    "Spacing",
    "Wait",
    "needs_restore",
]
