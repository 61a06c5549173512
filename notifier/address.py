"""The addresses of a receiver, resolved and checked for each try.

A name may lead to a public address when the endpoint is added and to a private one later (DNS rebinding), so each try
resolves it, and connects to the very address that was checked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from bulksend.messaging.webhook_targets import Address, Network, Target, why_refused

#: Resolves a name: its addresses as text. Raises OSError.
Resolve = Callable[[str], Awaitable[Sequence[str]]]
#: A resolver that hangs keeps its threads; those of other endpoints are not its own.
_THREADS = 64


class SystemResolver:
    """The system's resolver, on threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, "resolver")

    async def __call__(self, host: str) -> Sequence[str]:
        """The addresses of a name. Raises OSError where it has none."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    def close(self) -> None:
        """Do not wait for a resolver that hangs."""
        self._threads.shutdown(wait=False, cancel_futures=True)


async def addresses_of(
    target: Target, resolve: Resolve, allowed: Sequence[Network]
) -> tuple[list[Address], str | None]:
    """The addresses to connect to, or why there is none. One refused address refuses all."""
    if target.address is not None:
        found = [target.address]
    else:
        try:
            # fe80::1%eth0: the scope is no part of the address.
            texts = await resolve(target.host)
            found = [ipaddress.ip_address(text.partition("%")[0]) for text in texts]
        except (OSError, UnicodeError):
            return [], "the name of the host was not found"
    for address in found:
        why = why_refused(address, scheme=target.scheme, allowed=allowed)
        if why is not None:
            return [], f"the host {why}"
    return found, None if found else "the name of the host has no address"
