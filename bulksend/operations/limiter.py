"""The limiter's flags: they only make a pause or resume take hold sooner, the ledger decides.

So the limiter is opened after the commit: where Redis is away, opening it takes seconds, and the act must not wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bulksend.messaging.outcome import Scope

if TYPE_CHECKING:
    from bulksend.limits import RedisPermits

#: Returns the limiter, or None where it cannot be used.
OpenLimiter: TypeAlias = "Callable[[], RedisPermits | None]"


def set_flag(open_limiter: OpenLimiter, scope: Scope, id: str, *, paused: bool) -> None:
    """Tell workers that a campaign, sender or account is paused or not."""
    permits = open_limiter()
    if permits is not None:
        (permits.pause if paused else permits.resume)(scope, id)
