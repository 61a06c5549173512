"""The seam between the vendor client and the network: bytes out; a complete reply or the evidence of a failure back.

A transport must pass ``tests/contracts/test_vendor_client_contract.py``: a message is sent twice if
:attr:`Failure.bytes_sent` is False although a byte was sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds. Raises ValueError for one that is not more than 0.

    ``read`` and ``write`` bound one operation, so a reply that comes byte by byte never reaches them. ``total`` bounds
    a connect, and again everything from the first byte of the request on.
    """

    connect: float = 5.0
    read: float = 30.0
    write: float = 10.0
    total: float = 30.0

    def __post_init__(self) -> None:
        if min(self.connect, self.read, self.write, self.total) <= 0:
            raise ValueError("every timeout must be more than 0 seconds")


@dataclass(frozen=True, slots=True, repr=False)
class RawReply:
    """A complete reply, or its first ``max_body + 1`` bytes. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"RawReply(status={self.status}, body=<{len(self.body)} bytes>)"


@dataclass(frozen=True, slots=True)
class Failure:
    """No complete reply. A value and not an exception, because failures of the network are expected."""

    error: str
    """The class of the error, never its text, which may quote the request."""
    bytes_sent: bool
    """Whether a byte of the request may have been handed to the kernel. True when that is not known."""
    reply_began: bool
    """Whether the head of a reply was read."""
    stage: str
    """Where: ``closed``, ``connect``, ``tls``, ``send``, ``wait`` (for a reply) or ``read`` (the reply)."""
    local: bool = False
    """Whether the request itself is at fault and can never be sent."""


class Transport(Protocol):
    """POSTs to the one address of the vendor, over connections that it has first. Belongs to one event loop."""

    async def connect(self) -> Failure | None:
        """Open one more connection, to be idle; why that failed, or None. Does nothing where none is left."""
        ...

    def post(
        self,
        body: bytes,
        headers: Mapping[str, str],
        begin: Callable[[], bool],
        done: Callable[[RawReply | Failure], None],
    ) -> asyncio.Future[RawReply] | Failure | None:
        """POST once, before this returns, over an idle connection: no POST begins later than it was allowed to.

        ``begin`` is called right before the first byte is written and says whether it may still be written. Raises
        what ``begin`` raises: nothing was sent. ``done`` gets the result in a later turn of the loop. If the returned
        future is cancelled, ``done`` is not called and the message may have been sent. A failure, with nothing done,
        where this can never be sent; None where no connection is ready or ``begin`` said no.
        """
        ...

    def idle_connections(self) -> int:
        """How many connections are open and idle."""
        ...

    def connections_left(self) -> int:
        """How many more connections may be opened."""
        ...

    async def aclose(self) -> None:
        """Close the connections. POSTs under way go on to their end or deadline; later ones are not sent."""
        ...
