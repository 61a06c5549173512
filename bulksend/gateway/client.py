"""The vendor as the rest of the product sees it: an order in, an answer out, nothing raised."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Set

from bulksend.gateway.payload import Credentials, SendOrder, build_request, new_nonce
from bulksend.gateway.replies import read_failure, read_reply
from bulksend.gateway.transport import Failure, RawReply, Start, Transport
from bulksend.messaging.outcome import Answer, Evidence, NotSent, Remedy, Retry
from bulksend.messaging.states import Kind


class VendorClient:
    """Gather, post, read. ``clock`` says seconds since the epoch, ``nonce`` a new nonce a call.

    ``vouched``: codes of which the operator says that nothing was sent; it never applies to a one-time code.
    """

    def __init__(
        self,
        transport: Transport,
        credentials: Credentials,
        *,
        clock: Callable[[], float] = time.time,
        nonce: Callable[[], str] = new_nonce,
        vouched: Set[int] = frozenset(),
    ) -> None:
        self._transport = transport
        self._vouched = vouched
        self._credentials = credentials
        self._clock = clock
        self._nonce = nonce

    async def send(self, order: SendOrder, start: Start | None = None) -> Answer:
        """POST once, when ``start`` lets it. Whatever network and vendor do is in the answer.

        Only CancelledError comes out of here, and a cancelled order may have gone out; and what ``start`` raises, in
        which case nothing has.
        """
        try:
            body, headers = build_request(
                order, self._credentials, now_seconds=int(self._clock()), nonce=self._nonce()
            )
        except UnicodeEncodeError as error:
            return Answer(
                NotSent("the content holds half a character (a lone surrogate)", Remedy(retry=Retry.NEVER)),
                Evidence(error=type(error).__name__),
            )
        return self._read(order, await self._transport.post(body, headers, start))

    def send_now(
        self, order: SendOrder, begin: Callable[[], bool], done: Callable[[Answer], None]
    ) -> asyncio.Future[RawReply] | None:
        """POST before this returns, where a connection is up and ``begin`` says yes; else None, and nothing was done.

        See ``Transport.post_now`` for ``begin``, ``done`` and the future.
        """
        try:
            body, headers = build_request(
                order, self._credentials, now_seconds=int(self._clock()), nonce=self._nonce()
            )
        except UnicodeEncodeError:
            return None
        return self._transport.post_now(
            body, headers, begin, lambda reached: done(self._read(order, reached))
        )

    def ready(self) -> int:
        """How many orders could go out at once, over connections that are up."""
        return self._transport.ready()

    def connected(self) -> int:
        """How many connections are up, in use or not."""
        return self._transport.connected()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    def _read(self, order: SendOrder, reached: RawReply | Failure) -> Answer:
        if not isinstance(reached, RawReply):
            return read_failure(reached)
        vouched = frozenset() if order.kind is Kind.OTP else self._vouched
        return read_reply(reached.status, reached.headers, reached.body, vouched=vouched)
