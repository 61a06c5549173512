"""One POST of the vendor client as the worker does it: a connection first, then the POST over it, then its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bulksend.gateway import Failure, SendOrder, VendorClient, read_failure
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
