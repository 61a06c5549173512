"""How many Python functions a POST calls: a measure that does not depend on the speed of the machine.

CPU time varies on a shared machine; the interpreter counts calls exactly. A new timer, task or parser for each POST
fails this test.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from bulksend.gateway import Credentials, SendOrder, VendorClient
from bulksend.gateway.socket_transport import SocketTransport
from bulksend.messaging import Accepted, Answer, MessageType
from tests.gateway_posts import send
from worker import event_loop

ORDER = SendOrder("8615000579987", "447700900123", MessageType.TEXT, '{"body":"hello"}')
BODY = b'{"RetCode":0,"Data":{"MessageId":"m-1"},"Message":"","RequestId":"r-1"}'
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)
POSTS = 200
#: Measured: 59.
MOST_CALLS = 66


class _Vendor(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert isinstance(self._transport, asyncio.Transport)
        self._transport.write(REPLY)


@pytest.fixture
def vendor_port() -> Iterator[int]:
    """A vendor on its own thread, whose calls are not counted."""
    ready, ports = threading.Event(), list[int]()
    loop = asyncio.new_event_loop()

    def serve() -> None:
        server = loop.run_until_complete(loop.create_server(_Vendor, "127.0.0.1", 0))
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        loop.run_forever()
        server.close()
        loop.run_until_complete(server.wait_closed())
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(60)
    yield ports[0]
    loop.call_soon_threadsafe(loop.stop)
    thread.join(60)


async def post_one_after_the_other(client: VendorClient) -> None:
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    left = iter(range(POSTS))

    def go_on(answer: Answer | None = None) -> None:
        if next(left, None) is None:
            over.set_result(None)
        else:
            assert isinstance(client.post(ORDER, lambda: True, go_on), asyncio.Future)

    go_on()
    await over


def test_a_post_calls_no_more_functions_than_when_it_was_measured(vendor_port: int) -> None:
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    async def main() -> None:
        transport = SocketTransport(f"http://127.0.0.1:{vendor_port}/api", connections=4)
        client = VendorClient(transport, Credentials("key", "secret", 8899))
        # The first has a connection made.
        assert isinstance((await send(client, ORDER)).outcome, Accepted)
        sys.setprofile(count)
        try:
            await post_one_after_the_other(client)
        finally:
            sys.setprofile(None)
        await client.aclose()

    event_loop.run(main())
    assert calls / POSTS <= MOST_CALLS, f"{calls / POSTS:.1f} calls a POST"
    assert calls / POSTS > MOST_CALLS / 2, "less than half: write down what it is now"
