"""How often an address may fail to sign in. The ledger counts the failures of each user; this is of each address.

In this process alone: a guess costs an attacker a failure at the user in any case, and what this saves is work.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network

from bulksend.errors import TooManyRequests

#: This number of failures is free; after each further one the address waits, for twice as long as before.
FREE, FIRST_S, LONGEST_S = 10, 2.0, 900.0
#: An address without failures for this long is forgotten. Many of one IPv6 network count as one.
FORGOTTEN_S = 3_600.0
_MOST = 10_000


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last_at: float = 0.0
    open_at: float = 0.0


class SignInRate:
    """Belongs to one event loop."""

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._of: dict[str, _Failures] = {}

    def check(self, ip: str | None) -> None:
        """Count an attempt as a failure, until ``forgive``. Raises TooManyRequests."""
        now, key = self._steady(), _network(ip)
        found = self._of.get(key)
        if found is None or found.last_at <= now - FORGOTTEN_S:
            if len(self._of) >= _MOST:
                self._forget(now)
            found = self._of[key] = _Failures()
        if now < found.open_at:
            raise TooManyRequests(
                f"too many failed sign-ins from this address; wait {found.open_at - now:.0f} s"
            )
        found.count += 1
        found.last_at = now
        if found.count > FREE:
            found.open_at = now + min(FIRST_S * 2.0 ** min(found.count - FREE - 1, 20), LONGEST_S)

    def forgive(self, ip: str | None) -> None:
        """It was right."""
        self._of.pop(_network(ip), None)

    def _forget(self, now: float) -> None:
        """Drop those that may try again."""
        self._of = {key: of for key, of in self._of.items() if of.open_at > now}
        if len(self._of) >= _MOST:
            self._of.clear()


def _network(ip: str | None) -> str:
    """A user of IPv6 has a whole network of addresses."""
    if ip is None or ":" not in ip:
        return ip or ""
    return str(ip_network((ip.partition("%")[0], 64), strict=False))
