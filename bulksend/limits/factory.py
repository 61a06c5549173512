"""The limiter of a process, by its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulksend.clock import RemoteClock
from bulksend.limits.fallback import FallbackPermits, Peers
from bulksend.limits.local_permits import LocalPermits
from bulksend.limits.redis_permits import RedisPermits
from bulksend.limits.rules import LimitRules
from bulksend.redis_client import open_redis

if TYPE_CHECKING:
    from bulksend.settings import Settings

#: Redis answers a call in about a millisecond; waiting longer than this for it is worse than the worker's
#: share.
TIMEOUT_SECONDS = 0.5


def make_permits(
    settings: Settings, *, hash_key: bytes, worker_id: str, peers: Peers | None = None
) -> FallbackPermits:
    """What a worker asks: Redis, and its own share of the limits while Redis is away.

    ``hash_key`` keys the hashes of people in Redis: the same in every process of an installation
    (``ledger.installation.limiter_key``), known to nobody else.
    """
    primary = redis_permits(settings, hash_key=hash_key, worker_id=worker_id)
    clock = RemoteClock()
    local = LocalPermits(clock, tags=primary.tags, rules=_rules(settings, pair_burst=1), knows_quotas=False)
    return FallbackPermits(primary, local, clock, peers=peers)


def redis_permits(settings: Settings, *, hash_key: bytes, worker_id: str) -> RedisPermits:
    """The limiter in Redis alone. An empty ``worker_id`` looks and acts, but does not share."""
    # One reconnect for a connection that was closed while idle.
    client = open_redis(settings.redis_url_text(), timeout_s=TIMEOUT_SECONDS, reconnects=1)
    return RedisPermits(
        client,
        hash_key=hash_key,
        account=settings.account(),
        worker_id=worker_id,
        rules=_rules(settings),
    )


def _rules(settings: Settings, *, pair_burst: int | None = None) -> LimitRules:
    return LimitRules(
        account_rate=settings.account_rate,
        pair_interval_ms=settings.pair_interval_seconds * 1000,
        pair_burst=settings.pair_burst if pair_burst is None else pair_burst,
        otp_reserve=settings.otp_reserve,
        answer_ms=(settings.connect_timeout + settings.request_timeout) * 1000,
    )
