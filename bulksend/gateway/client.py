"""The vendor for the worker: an order in, an answer out, no exception for what network and vendor do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Set

from bulksend.gateway.payload import Credentials, SendOrder, build_request, new_nonce
from bulksend.gateway.replies import read_failure, read_reply
from bulksend.gateway.transport import Failure, RawReply, Transport
from bulksend.messaging.outcome import Answer, Evidence, NotSent, Remedy, Retry
from bulksend.messaging.states import Kind


class VendorClient:
    """Builds the request, POSTs it and reads the reply. ``clock`` gives seconds since the epoch, ``nonce`` a new nonce.

    ``vouched``: codes that mean "not sent" by the operator's word; never applied to a one-time code.
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

    async def connect(self) -> Answer | None:
        """Have one more idle connection; the answer to a message that waited for it where that failed."""
        failure = await self._transport.connect()
        return None if failure is None else read_failure(failure)

    def post(
        self, order: SendOrder, begin: Callable[[], bool], done: Callable[[Answer], None]
    ) -> asyncio.Future[RawReply] | Answer | None:
        """See ``Transport.post``; an answer, with nothing done, where this order can never be sent."""
        try:
            body, headers = build_request(
                order, self._credentials, now_seconds=int(self._clock()), nonce=self._nonce()
            )
        except UnicodeEncodeError as error:
            return Answer(
                NotSent(
                    "the content holds half of a character (a lone surrogate)", Remedy(retry=Retry.NEVER)
                ),
                Evidence(error=type(error).__name__),
            )
        posted = self._transport.post(body, headers, begin, lambda result: done(self._read(order, result)))
        return read_failure(posted) if isinstance(posted, Failure) else posted

    def idle_connections(self) -> int:
        """See Transport."""
        return self._transport.idle_connections()

    def connections_left(self) -> int:
        """See Transport."""
        return self._transport.connections_left()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    def _read(self, order: SendOrder, result: RawReply | Failure) -> Answer:
        if not isinstance(result, RawReply):
            return read_failure(result)
        vouched = frozenset() if order.kind is Kind.OTP else self._vouched
        return read_reply(result.status, result.headers, result.body, vouched=vouched)
