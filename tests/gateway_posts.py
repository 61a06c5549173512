"""One POST of the vendor client as the worker does it, and a transport that answers from a list."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bulksend.gateway import Failure, RawReply, SendOrder, VendorClient, read_failure
from bulksend.messaging import Answer

#: Turns of the event loop and connections after which a POST must have found its connection.
_TRIES = 20
_ENDED = read_failure(
    Failure("DisconnectedError", bytes_sent=False, reply_began=False, stage="connect"),
)


async def send(client: VendorClient, order: SendOrder, begin: Callable[[], bool] = lambda: True) -> Answer:
    """POST once, over an idle connection or a new one, and wait for the answer; a cancelled one is cancelled.

    A connection that ended before its POST is replaced where it was idle before. Where it was made for this POST, the
    answer is "not sent". ``begin`` must say yes: a POST that may not begin has no answer.
    """
    for _ in range(_TRIES):
        is_made_for_it = not client.idle_connections()
        if is_made_for_it:
            failed = await client.connect()
            if failed is not None:
                return failed
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        posted = client.post(order, begin, answered.set_result)
        if isinstance(posted, Answer):
            return posted
        if posted is not None:
            try:
                return await answered
            finally:
                posted.cancel()
        if not client.idle_connections():
            if is_made_for_it:
                return _ENDED
        else:
            await asyncio.sleep(0)  # bytes of TLS wait in the connection: the loop reads them
    raise AssertionError("no connection took the POST")


@dataclass
class Script:
    """A transport with one idle connection that answers from a list and remembers what it was given."""

    replies: list[RawReply | Failure]
    posts: list[tuple[bytes, Mapping[str, str]]] = field(default_factory=list)
    closed: bool = False
    connects: Failure | None = None
    refuses: Failure | None = None

    async def connect(self) -> Failure | None:
        return self.connects

    def post(
        self,
        body: bytes,
        headers: Mapping[str, str],
        begin: Callable[[], bool],
        done: Callable[[RawReply | Failure], None],
    ) -> asyncio.Future[RawReply] | Failure | None:
        if self.refuses is not None or not begin():
            return self.refuses
        self.posts.append((body, headers))
        loop = asyncio.get_running_loop()
        loop.call_soon(done, self.replies.pop(0))
        return loop.create_future()

    def idle_connections(self) -> int:
        return int(self.connects is None)

    def connections_left(self) -> int:
        return 1 - self.idle_connections()

    async def aclose(self) -> None:
        self.closed = True
