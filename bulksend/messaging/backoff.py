"""Waits before the next try."""

from __future__ import annotations

#: WhatsApp's rule for 131056 has no limit: wait 4**X seconds, X from 0 (Meta, pair rate limits).
PAIR_CAP_MS = 3_600_000


def backoff_ms(tries: int, *, base_ms: int, cap_ms: int, dice: float) -> int:
    """Exponential with full jitter: uniform between 0 and ``base_ms * 2**tries``, at most ``cap_ms``.

    ``tries`` counts from 0; ``dice`` is uniform in [0, 1).
    """
    ceiling = min(cap_ms, base_ms << min(tries, 40))
    return int(ceiling * dice)


def pair_backoff_ms(waits: int) -> int:
    """4**waits seconds, at most an hour."""
    return min(PAIR_CAP_MS, 1000 << (2 * min(waits, 10)))
