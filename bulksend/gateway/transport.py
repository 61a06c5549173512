"""The narrow seam: bytes out, a complete reply or the evidence of a failure back.

Whatever library sits behind it must pass ``tests/contracts/test_vendor_client_contract.py``: all that keeps a
message from being sent twice is that :attr:`Failure.bytes_sent` is never False once a byte has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds. ``read`` and ``write`` are per operation, so a drip never trips them; ``total`` bounds getting a
    connection, and again all from the request's first byte on."""

    connect: float = 5.0
    read: float = 30.0
    write: float = 10.0
    pool: float = 10.0
    total: float = 30.0

    def __post_init__(self) -> None:
        if min(self.connect, self.read, self.write, self.pool, self.total) <= 0:
            raise ValueError("every timeout must be more than 0 seconds")


@dataclass(frozen=True, slots=True, repr=False)
class RawReply:
    """A reply that arrived whole, or its first ``max_body + 1`` bytes. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"RawReply(status={self.status}, body=<{len(self.body)} bytes>)"


@dataclass(frozen=True, slots=True)
class Failure:
    """No complete reply. A value and not an exception: the network failing is what networks do."""

    error: str
    """The class of the error, never its text, which may quote the request."""
    bytes_sent: bool
    """Whether a byte of the request may have been handed to the kernel. When in doubt, True."""
    reply_began: bool
    """Whether the head of a reply was read."""
    stage: str
    """Where: ``pool``, ``connect``, ``tls``, ``start``, ``send``, ``wait`` (for a reply) or ``read`` (the reply)."""
    local: bool = False
    """Whether the fault is ours: such a request can never be sent."""


class Start(Protocol):
    """When a POST may begin. Asked once its connection is up: TCP and TLS take as long as they like, and a POST
    that leaves so much later than its slot makes a later second fuller than the limit."""

    async def wait(self) -> bool:
        """Return when it may begin; False: it may not any more. Asked again where the connection ended meanwhile."""
        ...

    def begin(self) -> None:
        """Called right before the first byte of the request is written."""
        ...


#: What ``post`` comes to when its ``start`` said no.
HELD = Failure("Held", bytes_sent=False, reply_began=False, stage="start")


class Transport(Protocol):
    """POSTs to the one address of the vendor. Belongs to the event loop that it is first used on."""

    async def post(
        self, body: bytes, headers: Mapping[str, str], start: Start | None = None
    ) -> RawReply | Failure:
        """POST once, never again by itself, when ``start`` lets it (at once without). HELD where that says no.

        Raises CancelledError; after that it may have gone out. What ``start`` raises comes through, nothing sent.
        """
        ...

    def post_now(
        self,
        body: bytes,
        headers: Mapping[str, str],
        begin: Callable[[], bool],
        done: Callable[[RawReply | Failure], None],
    ) -> asyncio.Future[RawReply] | None:
        """POST before this returns, where a connection is up and idle: what most POSTs need no task for.

        ``begin`` is called right before the first byte is written, and says whether it still may be; what it raises
        comes through, and nothing has left.
        ``done`` gets what came of it, in a later turn of the loop, unless the future that is returned is cancelled:
        then it may have gone out. None where there is no such connection, ``begin`` said no, or the headers cannot be
        sent: nothing was done.
        """
        ...

    def ready(self) -> int:
        """How many connections are up and idle."""
        ...

    def connected(self) -> int:
        """How many connections are up, in use or not."""
        ...

    async def aclose(self) -> None:
        """Close the connections. Posts under way go on to their end or deadline, later ones are not sent."""
        ...
