"""One suite for every transport: what a vendor may do to a POST, and the outcome that follows.

The vendor is a raw socket server with a scripted behaviour that records each request it read whole. The rule: NotSent
only where it read nothing at all, accepted or refused only where it said so in a complete reply, Unknown otherwise. A
new transport joins by one line in TRANSPORTS.
"""

from __future__ import annotations

import asyncio
import datetime
import gzip
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Protocol

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bulksend.gateway import (
    Credentials,
    Failure,
    RawReply,
    SendOrder,
    Timeouts,
    Transport,
    VendorClient,
    read_reply,
)
from bulksend.gateway.error_codes import TABLE, Family
from bulksend.gateway.socket_transport import SocketTransport
from bulksend.messaging.outcome import (
    Accepted,
    Answer,
    NotSent,
    Outcome,
    Refused,
    Retry,
    Throttled,
    Unknown,
)
from bulksend.messaging.states import MessageType
from tests.gateway_posts import send
from worker import event_loop

# -- the transports --------------------------------------------------------------------------------------


class MakeTransport(Protocol):
    """What a transport's constructor takes."""

    def __call__(
        self,
        url: str,
        *,
        timeouts: Timeouts,
        connections: int = ...,
        verify: Any = ...,
        keepalive_seconds: float = ...,
        max_age_seconds: float = ...,
    ) -> Transport: ...


TRANSPORTS = [
    pytest.param(SocketTransport, id="socket"),
]


@pytest.fixture(params=TRANSPORTS)
def make(request: pytest.FixtureRequest) -> MakeTransport:
    made: MakeTransport = request.param
    return made


#: For vendors that answer or hang up: long enough for the busiest machine.
PATIENT = Timeouts(connect=20, read=20, write=20, total=20)
#: For vendors that hang: short, and only the one that is meant to end it.
HASTY_READ = Timeouts(connect=20, read=0.2, write=20, total=20)
HASTY_WRITE = Timeouts(connect=20, read=20, write=0.2, total=20)
HASTY_CONNECT = Timeouts(connect=0.2, read=20, write=20, total=20)
HASTY_TOTAL = Timeouts(connect=20, read=20, write=20, total=0.4)

# -- the vendor ------------------------------------------------------------------------------------------


@dataclass
class Talk:
    """One connection, from the vendor's side."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    vendor: Vendor

    async def head(self) -> bytes:
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.vendor.bytes_read += len(head)
        return head

    async def request(self) -> dict[str, Any]:
        """Read a request whole, and remember it."""
        head = await self.head()
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        )
        body = await self.reader.readexactly(length)
        self.vendor.bytes_read += length
        self.vendor.heads.append(head)
        self.vendor.requests.append(json.loads(body))
        self.vendor.has_read.set()
        return self.vendor.requests[-1]

    async def say(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    def reset(self) -> None:
        """Hang up with RST instead of FIN."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def hang(self) -> None:
        """Say no more until the client hangs up or the vendor is closed."""
        await self.vendor.closing.wait()


Behave = Callable[[Talk], Awaitable[None]]


@dataclass
class Vendor:
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    bytes_read: int = 0
    connections: int = 0
    has_read: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a request was read whole."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def vendor_that(
    behave: Behave, *, tls: ssl.SSLContext | None = None, scheme: str | None = None
) -> AsyncIterator[Vendor]:
    """A vendor on 127.0.0.1 that treats every connection so, then hangs up."""
    vendor = Vendor()
    talks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        vendor.connections += 1
        try:
            await behave(Talk(reader, writer, vendor))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client hung up first, which is its right
        finally:
            writer.close()
            talks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    vendor.url = f"{scheme or ('https' if tls else 'http')}://127.0.0.1:{port}/api"
    try:
        yield vendor
    finally:
        server.close()
        vendor.closing.set()
        if talks:
            await asyncio.wait(talks, timeout=10)


# -- what it may say -------------------------------------------------------------------------------------


def http(
    body: bytes | dict[str, Any] = b"", status: str = "200 OK", *headers: str, length: int | None = None
) -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(raw) if length is None else length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + raw


GOOD = {"RetCode": 0, "Message": "", "Data": {"MessageId": "m-1"}, "RequestId": "r-1"}
GOOD_BODY = json.dumps(GOOD).encode()
GOOD_REPLY = http(GOOD)


def says(*parts: bytes) -> Behave:
    """Reads the request whole, then says this and hangs up."""

    async def behave(talk: Talk) -> None:
        await talk.request()
        await talk.say(*parts)

    return behave


async def closes_at_once(talk: Talk) -> None:
    pass


async def resets_at_once(talk: Talk) -> None:
    talk.reset()


async def never_reads(talk: Talk) -> None:
    await talk.hang()


async def reads_some_then_resets(talk: Talk) -> None:
    talk.vendor.bytes_read += len(await talk.reader.readexactly(10))
    talk.reset()


async def reads_the_head_then_closes(talk: Talk) -> None:
    await talk.head()


async def reads_the_head_then_hangs(talk: Talk) -> None:
    await talk.head()
    await talk.hang()


async def reads_all_then_resets(talk: Talk) -> None:
    await talk.request()
    talk.reset()


async def reads_all_then_hangs(talk: Talk) -> None:
    await talk.request()
    await talk.hang()


def says_then_hangs(part: bytes) -> Behave:
    async def behave(talk: Talk) -> None:
        await talk.request()
        await talk.say(part)
        await talk.hang()

    return behave


def says_then_resets(part: bytes) -> Behave:
    async def behave(talk: Talk) -> None:
        await talk.request()
        await talk.say(part)
        await asyncio.sleep(0)
        talk.reset()

    return behave


async def drips(talk: Talk) -> None:
    """A byte every 20 ms: no single read ever takes long."""
    await talk.request()
    for position in range(len(GOOD_REPLY)):
        await talk.say(GOOD_REPLY[position : position + 1])
        await asyncio.sleep(0.02)


async def says_413_before_the_body_is_read(talk: Talk) -> None:
    await talk.head()
    await talk.say(http(b"", "413 Content Too Large", "Connection: close"))


async def never_stops_talking(talk: Talk) -> None:
    await talk.request()
    await talk.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
    while not talk.vendor.closing.is_set():
        await talk.say(b" " * 65536)


BOMB = gzip.compress(GOOD_BODY + b" " * 100_000_000, 9)


@dataclass(frozen=True)
class Case:
    """A behaviour, what it must be read as, and what the vendor has of the request in the end.

    ``outcome`` None: as the race goes, NotSent where the transport saw the end before it wrote, else Unknown.
    """

    name: str
    behave: Behave
    outcome: type[Outcome] | None
    reads: str = "all"
    timeouts: Timeouts = PATIENT


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GZIPPED = gzip.compress(GOOD_BODY)

CASES = [
    # -- a good answer, in every form that HTTP allows
    Case("answers", says(GOOD_REPLY), Accepted),
    Case("answers in pieces", says(*(bytes([one]) for one in GOOD_REPLY)), Accepted),
    Case(
        "answers in chunks",
        says(
            CHUNKED,
            b'1a\r\n{"RetCode":0,"Data":{"Mess\r\n10\r\nageId":"m-1"}}  \r\n0\r\n\r\n',
        ),
        Accepted,
    ),
    Case("answers as HTTP/1.0", says(b"HTTP/1.0 200 OK\r\n\r\n" + GOOD_BODY), Accepted),
    Case("answers after 100 and 103", says(CONTINUE, b"HTTP/1.1 103 Hints\r\n\r\n", GOOD_REPLY), Accepted),
    Case("answers gzipped, unasked", says(http(GZIPPED, "200 OK", "Content-Encoding: gzip")), Accepted),
    # -- hangs up
    Case("closes at once", closes_at_once, None, "nothing"),
    Case("resets at once", resets_at_once, None, "nothing"),
    Case("reads some, then resets", reads_some_then_resets, Unknown, "some"),
    Case("reads the head, then closes", reads_the_head_then_closes, Unknown, "some"),
    Case("reads all, then closes", says(), Unknown),
    Case("reads all, then resets", reads_all_then_resets, Unknown),
    Case("closes within the status line", says(b"HTTP/1.1 20"), Unknown),
    Case("closes within the headers", says(b"HTTP/1.1 200 OK\r\nContent-Le"), Unknown),
    Case("closes before the body", says(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n"), Unknown),
    Case("closes within the body", says(http(GOOD, length=500)), Unknown),
    Case("resets within the body", says_then_resets(http(GOOD, length=500)), Unknown),
    Case("resets within HTTP/1.0", says_then_resets(b"HTTP/1.0 200 OK\r\n\r\n" + GOOD_BODY), Unknown),
    Case("closes within a chunk", says(CHUNKED + b"ff\r\n{"), Unknown),
    Case(
        "closes without the last chunk",
        says(CHUNKED + b'26\r\n{"RetCode":0,"Data":{"MessageId":"m"}}\r\n'),
        Unknown,
    ),
    Case("says 100, then closes", says(CONTINUE), Unknown),
    # -- hangs
    Case("never reads", never_reads, Unknown, "nothing", HASTY_READ),
    Case("reads the head, then hangs", reads_the_head_then_hangs, Unknown, "some", HASTY_READ),
    Case("reads all, then hangs", reads_all_then_hangs, Unknown, "all", HASTY_READ),
    Case("hangs within the headers", says_then_hangs(b"HTTP/1.1 200 OK\r\n"), Unknown, "all", HASTY_READ),
    Case("hangs within the body", says_then_hangs(http(GOOD, length=500)), Unknown, "all", HASTY_READ),
    Case("says 100, then hangs", says_then_hangs(CONTINUE), Unknown, "all", HASTY_READ),
    Case("drips past the deadline", drips, Unknown, "all", HASTY_TOTAL),
    Case("hangs past the deadline", reads_all_then_hangs, Unknown, "all", HASTY_TOTAL),
    # -- says what is no answer
    Case("speaks no HTTP", says(b"220 smtp.example ESMTP\r\n"), Unknown),
    Case("speaks HTTP/0.9", says(GOOD_BODY), Unknown),
    Case("speaks TLS to plain HTTP", says(b"\x15\x03\x01\x00\x02\x02\x46"), Unknown),
    Case(
        "switches protocols", says(http(b"", "101 Switching", "Upgrade: x", "Connection: upgrade")), Unknown
    ),
    Case("gives two lengths", says(http(GOOD, "200 OK", "Content-Length: 5")), Unknown),
    Case("gives a negative length", says(http(GOOD, length=-5)), Unknown),
    Case("gives a header of 200 KB", says(http(GOOD, "200 OK", "X-Long: " + "x" * 200_000)), Unknown),
    Case("never stops talking", never_stops_talking, Unknown),
    Case("gives a gzip bomb", says(http(BOMB, "200 OK", "Content-Encoding: gzip")), Unknown),
    Case("says 204", says(b"HTTP/1.1 204 No Content\r\n\r\n"), Unknown),
    Case("says 200 and nothing", says(http(b"")), Unknown),
    Case("says 200 and HTML", says(http(b"<html>ok</html>", "200 OK", "Content-Type: text/html")), Unknown),
    Case("says 200 and half of the JSON", says(http(GOOD_BODY[:-9])), Unknown),
    Case("says two JSON objects", says(http(GOOD_BODY * 2)), Unknown),
    Case("says a list", says(http(b"[0]")), Unknown),
    Case("says 100 KB of JSON", says(http(GOOD | {"x": "y" * 100_000})), Unknown),
    Case("says RetCode null", says(http(GOOD | {"RetCode": None})), Unknown),
    Case("says RetCode true", says(http(GOOD | {"RetCode": True})), Unknown),
    Case("accepts without a MessageId", says(http({"RetCode": 0})), Unknown),
    Case("gives an id of 10 KB", says(http(GOOD | {"Data": {"MessageId": "m" * 10_240}})), Unknown),
    # -- an HTTP status without an answer
    *(
        Case(f"says {status}", says(http(b"", f"{status} No")), Unknown)
        for status in (400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 422, 500, 502, 503, 504, 599)
    ),
    Case("says 413 before the body is read", says_413_before_the_body_is_read, Unknown, "some"),
    Case("says 429", says(http(b"", "429 Too Many Requests", "Retry-After: 7")), Unknown),
    Case("refuses under HTTP 403", says(http({"RetCode": 171}, "403 No")), Refused),
    Case("throttles by RetCode", says(http({"RetCode": 153})), Throttled),
    Case("refuses by RetCode as a string", says(http({"RetCode": "17110"})), Refused),
    Case("refuses under HTTP 500", says(http({"RetCode": 17125}, "500 No")), Refused),
]


ORDER = SendOrder("8615000579987", "447731688264", MessageType.TEXT, '{"body":"hello"}')
CREDENTIALS = Credentials("key-id", "secret", 8899)


def client_of(transport: Transport) -> VendorClient:
    return VendorClient(transport, CREDENTIALS)


async def post_raw(transport: Transport, body: bytes) -> RawReply | Failure:
    """POST over a new connection."""
    assert await transport.connect() is None
    done: asyncio.Future[RawReply | Failure] = asyncio.get_running_loop().create_future()
    posted = transport.post(body, {"Content-Type": "application/json"}, lambda: True, done.set_result)
    assert isinstance(posted, asyncio.Future)
    return await done


async def send_once(make: MakeTransport, url: str, timeouts: Timeouts, **options: Any) -> Answer:
    client = client_of(make(url, timeouts=timeouts, **options))
    try:
        return await send(client, ORDER)
    finally:
        await client.aclose()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_vendor_that(case: Case, make: MakeTransport) -> None:
    async def run() -> None:
        async with vendor_that(case.behave) as vendor:
            answer = await send_once(make, vendor.url, case.timeouts)
        expected = case.outcome or (Unknown if answer.evidence.bytes_sent else NotSent)
        assert type(answer.outcome) is expected, answer
        assert answer.evidence.bytes_sent or not case.outcome
        assert vendor.connections == 1  # nothing is ever tried again in here
        assert {
            "all": len(vendor.requests) == 1,
            "some": vendor.bytes_read > 0 and not vendor.requests,
            "nothing": vendor.bytes_read == 0,
        }[case.reads]
        if isinstance(answer.outcome, Unknown):
            assert answer.outcome.remedy.retry is Retry.NEVER
        elif isinstance(answer.outcome, Accepted):
            assert answer.outcome.message_id == "m-1"

    event_loop.run(run())


# -- a connection, and the POST over it ------------------------------------------------------------------


class Begin:
    """Counts how often it was asked whether a POST may begin, and says this."""

    def __init__(self, answer: Callable[[], bool] = lambda: True) -> None:
        self.times_asked = 0
        self._answer = answer

    def __call__(self) -> bool:
        self.times_asked += 1
        return self._answer()


def never(answer: Answer) -> None:
    raise AssertionError(answer)


async def until(holds: Callable[[], bool]) -> None:
    """Let the event loop go on until this holds."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - no event says that the loop has seen it
            await asyncio.sleep(0)


async def connected(client: VendorClient, vendor: Vendor) -> None:
    """Open a connection that the vendor has taken too."""
    before = vendor.connections
    assert await client.connect() is None
    await until(lambda: vendor.connections > before)


def test_a_connection_is_up_before_its_post_and_nothing_is_sent_until_then(make: MakeTransport) -> None:
    async def run() -> None:
        async with vendor_that(says(GOOD_REPLY)) as vendor:
            client, begin = client_of(make(vendor.url, timeouts=PATIENT)), Begin()
            await connected(client, vendor)
            await asyncio.sleep(0.05)
            assert (vendor.connections, vendor.bytes_read, client.idle_connections()) == (1, 0, 1)
            assert type((await send(client, ORDER, begin)).outcome) is Accepted
            assert (vendor.connections, begin.times_asked) == (1, 1)
            await client.aclose()

    event_loop.run(run())


#: Hundreds of bytes, and several KB: what fits into the kernel's buffer leaves at once.
SHORT_AND_LONG = pytest.mark.parametrize(
    "order",
    [ORDER, SendOrder("8615000579987", "447731688264", MessageType.TEXT, '{"body":"' + 9_000 * "x" + '"}')],
    ids=["short", "long"],
)


@SHORT_AND_LONG
def test_a_post_is_written_before_it_returns(make: MakeTransport, order: SendOrder) -> None:
    """No POST begins later than it was allowed to."""

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = client_of(make(f"http://127.0.0.1:{listener.getsockname()[1]}/api", timeouts=PATIENT))
            assert await client.connect() is None
            accepted, _ = listener.accept()
            with accepted:
                accepted.setblocking(False)
                answers: list[Answer] = []
                with pytest.raises(BlockingIOError):
                    accepted.recv(1)
                posted = client.post(order, lambda: True, answers.append)
                assert isinstance(posted, asyncio.Future)
                assert accepted.recv(65536).endswith(b"}")
                assert (client.idle_connections(), answers) == (0, [])
                posted.cancel()
            await client.aclose()

    event_loop.run(run())


def test_without_a_connection_nothing_begins(make: MakeTransport) -> None:
    async def run() -> None:
        async with vendor_that(answers_until_closed) as vendor:
            client, begin = client_of(make(vendor.url, timeouts=PATIENT)), Begin()
            assert client.post(ORDER, begin, never) is None
            assert (begin.times_asked, client.idle_connections(), vendor.connections) == (0, 0, 0)
            await client.aclose()

    event_loop.run(run())


def test_the_time_that_a_connection_waits_for_its_post_is_not_the_vendors(make: MakeTransport) -> None:
    async def run() -> None:
        async with vendor_that(answers_until_closed) as vendor:
            client = client_of(make(vendor.url, timeouts=HASTY_TOTAL))
            assert await client.connect() is None
            for _ in range(2):
                await asyncio.sleep(HASTY_TOTAL.total * 1.5)
                assert type((await send(client, ORDER)).outcome) is Accepted
            assert vendor.connections == 1
            await client.aclose()

    event_loop.run(run())


def test_a_post_that_may_not_begin_any_more_leaves_its_connection_to_the_next(make: MakeTransport) -> None:
    async def run() -> None:
        async with vendor_that(answers_until_closed) as vendor:
            client, begin = client_of(make(vendor.url, timeouts=PATIENT, connections=2)), Begin(lambda: False)
            await connected(client, vendor)
            for count in range(3):
                assert client.post(ORDER, begin, never) is None
                assert (client.idle_connections(), client.connections_left()) == (1, 1)
                assert (begin.times_asked, len(vendor.requests)) == (count + 1, count)
                # And the next one goes out as ever.
                assert type((await send(client, ORDER)).outcome) is Accepted
            await client.aclose()
        assert (len(vendor.requests), vendor.connections) == (3, 1)

    event_loop.run(run())


def test_what_hinders_a_post_from_beginning_comes_through_and_nothing_was_sent(make: MakeTransport) -> None:
    async def run() -> None:
        async with vendor_that(answers_until_closed) as vendor:
            client = client_of(make(vendor.url, timeouts=PATIENT, connections=2))
            await connected(client, vendor)
            for count in range(3):
                with pytest.raises(ZeroDivisionError):
                    client.post(ORDER, lambda: bool(1 // 0), never)
                assert (client.idle_connections(), client.connections_left()) == (1, 1)
                assert len(vendor.requests) == count
                assert type((await send(client, ORDER)).outcome) is Accepted
            await client.aclose()
        assert (len(vendor.requests), vendor.connections) == (3, 1)

    event_loop.run(run())


def closes(accepted: socket.socket) -> None:
    accepted.close()


def resets(accepted: socket.socket) -> None:
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    accepted.close()


def speaks_unasked(accepted: socket.socket) -> None:
    accepted.sendall(GOOD_REPLY)


@pytest.mark.parametrize("is_read", [False, True], ids=["unread", "read"])
@pytest.mark.parametrize("end", [closes, resets, speaks_unasked])
def test_a_connection_that_ends_while_its_post_waits_is_found_out_at_the_post(
    make: MakeTransport, end: Callable[[socket.socket], None], is_read: bool
) -> None:
    """Even where the event loop has not read its end: a POST over it would be unknown."""

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url, begin = f"http://127.0.0.1:{listener.getsockname()[1]}/api", Begin()
            client = client_of(make(url, timeouts=PATIENT, connections=1))
            assert await client.connect() is None
            assert client.connections_left() == 0
            accepted, _ = listener.accept()
            with accepted:
                end(accepted)
                if is_read:
                    await asyncio.sleep(0.05)
                assert client.post(ORDER, begin, never) is None
                assert begin.times_asked == 0
                # Its place is free at once: what waits for a connection asks for the next one now.
                assert (client.idle_connections(), client.connections_left()) == (0, 1)
                if accepted.fileno() >= 0:
                    await asyncio.sleep(0.05)
                    accepted.setblocking(False)
                    with suppress(ConnectionResetError):
                        assert accepted.recv(1) == b""
            assert await client.connect() is None
            assert client.idle_connections() == 1
            await client.aclose()

    event_loop.run(run())


def test_a_connection_that_ends_while_its_post_waits_is_replaced_before_a_byte_is_sent(
    make: MakeTransport,
) -> None:
    async def run() -> None:
        waits, gone = asyncio.Event(), asyncio.Event()

        async def hangs_up_first(talk: Talk) -> None:
            if talk.vendor.connections > 1:
                await talk.request()
                await talk.say(GOOD_REPLY)
                return
            await waits.wait()
            talk.writer.close()
            await talk.writer.wait_closed()
            gone.set()

        async with vendor_that(hangs_up_first) as vendor:
            client, begin = client_of(make(vendor.url, timeouts=PATIENT)), Begin()
            await connected(client, vendor)
            waits.set()
            await gone.wait()
            assert type((await send(client, ORDER, begin)).outcome) is Accepted
            assert (vendor.connections, len(vendor.requests), begin.times_asked) == (2, 1, 1)
            await client.aclose()

    event_loop.run(run())


def test_there_are_never_more_connections_than_allowed(make: MakeTransport) -> None:
    async def run() -> None:
        async with vendor_that(reads_all_then_hangs) as vendor:
            client, begin = client_of(make(vendor.url, timeouts=PATIENT, connections=2)), Begin()
            assert client.connections_left() == 2
            assert await asyncio.gather(*(client.connect() for _ in range(5))) == [None] * 5
            assert (client.idle_connections(), client.connections_left()) == (2, 0)
            answers: list[Answer] = []
            for _ in range(2):
                assert isinstance(client.post(ORDER, begin, answers.append), asyncio.Future)
            assert (client.idle_connections(), client.connections_left()) == (0, 0)
            # Every one is in use: nothing more begins.
            assert client.post(ORDER, begin, never) is None
            assert await client.connect() is None
            assert (client.idle_connections(), client.connections_left()) == (0, 0)
            await until(lambda: len(vendor.requests) == 2)
            assert (vendor.connections, begin.times_asked) == (2, 2)
            vendor.closing.set()
            await until(lambda: len(answers) == 2)
            assert {type(answer.outcome) for answer in answers} == {Unknown}
            assert client.connections_left() == 2
            await client.aclose()
        assert (len(vendor.requests), vendor.connections) == (2, 2)

    event_loop.run(run())


def test_a_connection_that_ends_with_its_post_leaves_its_place_by_then(make: MakeTransport) -> None:
    """What waits for a connection is told by the answer, and by nothing else."""

    async def run() -> None:
        async with vendor_that(says(http(GOOD, "200 OK", "Connection: close"))) as vendor:
            client = client_of(make(vendor.url, timeouts=PATIENT, connections=1))
            left: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            assert await client.connect() is None
            posted = client.post(ORDER, lambda: True, lambda _: left.set_result(client.connections_left()))
            assert isinstance(posted, asyncio.Future)
            assert await left == 1
            await client.aclose()

    event_loop.run(run())


def test_a_cancelled_connect_leaves_its_place(make: MakeTransport, deaf_port: int) -> None:
    async def run() -> None:
        client = client_of(make(f"http://127.0.0.1:{deaf_port}/api", timeouts=PATIENT, connections=1))
        connecting = asyncio.create_task(client.connect())
        await asyncio.sleep(0.05)
        assert client.connections_left() == 0
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert (client.idle_connections(), client.connections_left()) == (0, 1)
        await client.aclose()

    event_loop.run(run())


# -- surely not sent -------------------------------------------------------------------------------------


def assert_not_sent(answer: Answer) -> None:
    assert type(answer.outcome) is NotSent, answer
    assert not answer.evidence.bytes_sent
    assert not answer.evidence.reply_began
    assert answer.evidence.error


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A port that is taken and does not listen."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_refused_connection_is_not_sent(make: MakeTransport, refusing_port: int) -> None:
    assert_not_sent(event_loop.run(send_once(make, f"http://127.0.0.1:{refusing_port}/api", PATIENT)))


def test_a_name_that_is_none_is_not_sent(make: MakeTransport) -> None:
    """A label of 70 characters: no resolver on any machine is asked for it."""
    assert_not_sent(event_loop.run(send_once(make, f"http://{'x' * 70}.invalid/api", PATIENT)))


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port whose queue of connections is full, so that further ones hang."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting: list[socket.socket] = []
        while len(waiting) < 1000:
            waiting.append(socket.socket())
            waiting[-1].settimeout(0.1)
            try:
                waiting[-1].connect(address)
            except TimeoutError:
                break
        yield address[1]
        for one in waiting:
            one.close()


def test_a_connection_that_hangs_is_not_sent(make: MakeTransport, deaf_port: int) -> None:
    assert_not_sent(event_loop.run(send_once(make, f"http://127.0.0.1:{deaf_port}/api", HASTY_CONNECT)))


def test_a_connection_that_hangs_past_the_deadline_is_not_sent(make: MakeTransport, deaf_port: int) -> None:
    assert_not_sent(event_loop.run(send_once(make, f"http://127.0.0.1:{deaf_port}/api", HASTY_TOTAL)))


class TwoAddresses(event_loop.EngineLoop):
    """Its resolver knows the name vendor.test, with two addresses, of which the first does not answer."""

    deaf_port = 0

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        """The addresses of a name, or of an address."""
        if host != "vendor.test":
            return await super().getaddrinfo(host, port, **options)
        first = await super().getaddrinfo("127.0.0.1", self.deaf_port, **options)
        return first + await super().getaddrinfo("127.0.0.1", port, **options)


def test_an_address_that_does_not_answer_costs_a_quarter_of_a_second(
    make: MakeTransport, deaf_port: int
) -> None:
    """Not the whole time for a connection: a vendor's IPv6 address may be out of reach."""

    async def run() -> None:
        async with vendor_that(says(GOOD_REPLY)) as vendor:
            answer = await send_once(make, vendor.url.replace("127.0.0.1", "vendor.test"), PATIENT)
            assert type(answer.outcome) is Accepted, answer
            assert vendor.connections == 1

    loop = TwoAddresses()
    loop.deaf_port = deaf_port
    began = loop.time()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(run())
    assert loop.time() - began < PATIENT.connect


def test_after_closing_nothing_is_sent(make: MakeTransport) -> None:
    async def run() -> None:
        for has_connection in (False, True):
            async with vendor_that(says(GOOD_REPLY)) as vendor:
                client, begin = client_of(make(vendor.url, timeouts=PATIENT)), Begin()
                if has_connection:
                    await connected(client, vendor)
                await client.aclose()
                posted = client.post(ORDER, begin, never)
                for answer in (await send(client, ORDER, begin), posted, await client.connect()):
                    assert isinstance(answer, Answer)
                    assert_not_sent(answer)
                    assert isinstance(answer.outcome, NotSent)
                    assert answer.outcome.remedy.retry is Retry.FREE
                assert (vendor.connections, vendor.bytes_read) == (int(has_connection), 0)
                assert (client.idle_connections(), begin.times_asked) == (0, 0)

    event_loop.run(run())


def test_a_connect_that_closing_overtakes_leaves_no_connection(make: MakeTransport) -> None:
    async def run() -> None:
        hung_up = asyncio.Event()

        async def behave(talk: Talk) -> None:
            assert await talk.reader.read() == b""
            hung_up.set()

        async with vendor_that(behave) as vendor:
            client = client_of(make(vendor.url, timeouts=PATIENT, connections=1))
            connecting = asyncio.create_task(client.connect())
            await asyncio.sleep(0)
            await client.aclose()
            await connecting
            assert client.idle_connections() == 0
            assert isinstance(client.post(ORDER, lambda: True, never), Answer)
            if vendor.connections:
                await asyncio.wait_for(hung_up.wait(), 20)
            assert client.connections_left() == 1

    event_loop.run(run())


def test_a_header_that_http_cannot_carry_is_not_sent_and_is_our_fault(make: MakeTransport) -> None:
    async def run() -> None:
        async with vendor_that(answers_until_closed) as vendor:
            transport, begin = make(vendor.url, timeouts=PATIENT), Begin()
            for has_connection in (False, True):
                for value in ("a\r\nX-Evil: 1", "a\x00b", "é\ud800"):
                    failure = transport.post(b"{}", {"X-Nonce": value}, begin, lambda _: None)
                    assert isinstance(failure, Failure)
                    assert not failure.bytes_sent
                    assert failure.local
                    assert transport.idle_connections() == has_connection
                assert await transport.connect() is None
            assert type((await send(client_of(transport), ORDER)).outcome) is Accepted
            assert (len(vendor.requests), begin.times_asked) == (1, 0)
            await transport.aclose()

    event_loop.run(run())


# -- TLS -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificate:
    pem: Path
    key: Path

    def server_side(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pem, self.key)
        return context


def make_certificate(
    folder: Path, name: str, address: str, days: int, host: str = "localhost"
) -> Certificate:
    """Self-signed for ``address``; valid for ``days`` from a month ago."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=30)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=days))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(address)), x509.DNSName(host)]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, key_pem = folder / f"{name}.pem", folder / f"{name}.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return Certificate(pem, key_pem)


@pytest.fixture(scope="module")
def good_certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"), "good", "127.0.0.1", 365)


def test_over_tls_with_a_known_authority_it_is_accepted(
    make: MakeTransport, good_certificate: Certificate
) -> None:
    async def run() -> None:
        async with vendor_that(says(GOOD_REPLY), tls=good_certificate.server_side()) as vendor:
            answer = await send_once(make, vendor.url, PATIENT, verify=good_certificate.pem)
            assert answer.outcome == Accepted("m-1", "r-1")

    event_loop.run(run())


def test_over_tls_a_vendor_that_hangs_up_after_reading_is_unknown(
    make: MakeTransport, good_certificate: Certificate
) -> None:
    async def run() -> None:
        for behave in (says(), reads_all_then_resets, says(http(GOOD, length=500))):
            async with vendor_that(behave, tls=good_certificate.server_side()) as vendor:
                answer = await send_once(make, vendor.url, PATIENT, verify=good_certificate.pem)
                assert type(answer.outcome) is Unknown
                assert len(vendor.requests) == 1

    event_loop.run(run())


def test_a_certificate_of_an_unknown_authority_is_not_sent(
    make: MakeTransport, good_certificate: Certificate
) -> None:
    async def run() -> None:
        async with vendor_that(says(GOOD_REPLY), tls=good_certificate.server_side()) as vendor:
            assert_not_sent(await send_once(make, vendor.url, PATIENT))
            assert vendor.bytes_read == 0

    event_loop.run(run())


@pytest.mark.parametrize(
    ("address", "days"), [("127.0.0.2", 365), ("127.0.0.1", 1)], ids=["other host", "expired"]
)
def test_a_certificate_that_is_wrong_is_not_sent(
    make: MakeTransport, tmp_path: Path, address: str, days: int
) -> None:
    wrong = make_certificate(tmp_path, "wrong", address, days)

    async def run() -> None:
        async with vendor_that(says(GOOD_REPLY), tls=wrong.server_side()) as vendor:
            assert_not_sent(await send_once(make, vendor.url, PATIENT, verify=wrong.pem))
            assert vendor.bytes_read == 0

    event_loop.run(run())


@pytest.mark.parametrize("behave", [closes_at_once, resets_at_once, says(b"HTTP/1.1 400 Bad\r\n\r\n")])
def test_a_tls_handshake_that_breaks_is_not_sent(make: MakeTransport, behave: Behave) -> None:
    async def run() -> None:
        async with vendor_that(behave, scheme="https") as vendor:
            assert_not_sent(await send_once(make, vendor.url, HASTY_CONNECT))
            assert vendor.requests == []

    event_loop.run(run())


def test_a_tls_handshake_that_hangs_is_not_sent(make: MakeTransport) -> None:
    async def run() -> None:
        async with vendor_that(never_reads, scheme="https") as vendor:
            assert_not_sent(await send_once(make, vendor.url, HASTY_CONNECT))

    event_loop.run(run())


# -- more than one POST ----------------------------------------------------------------------------------


def test_each_ret_code_of_the_table_is_read_as_the_table_says(make: MakeTransport) -> None:
    codes = [code for row in TABLE if row.family is Family.RETCODE for code in row.codes]

    async def run() -> None:
        left = iter(codes)

        async def behave(talk: Talk) -> None:
            for code in left:
                await talk.request()
                await talk.say(http({"RetCode": code, "Message": "no"}))

        async with vendor_that(behave) as vendor:
            client = client_of(make(vendor.url, timeouts=PATIENT))
            for code in codes:
                body = json.dumps({"RetCode": code, "Message": "no"}).encode()
                assert await send(client, ORDER) == read_reply(200, {}, body)
            await client.aclose()
        assert len(vendor.requests) == len(codes)
        assert vendor.connections == 1

    event_loop.run(run())


def test_a_redirect_is_never_followed(make: MakeTransport) -> None:
    async def run() -> None:
        for status in ("301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"):
            async with vendor_that(says(GOOD_REPLY)) as elsewhere:
                redirect = says(http(b"", status, f"Location: {elsewhere.url}"))
                async with vendor_that(redirect) as vendor:
                    answer = await send_once(make, vendor.url, PATIENT)
            assert type(answer.outcome) is Unknown
            assert answer.outcome.remedy.retry is Retry.NEVER
            assert len(vendor.requests) == 1
            assert elsewhere.connections == 0

    event_loop.run(run())


async def answers_until_closed(talk: Talk) -> None:
    while True:
        request = await talk.request()
        await talk.say(http(GOOD | {"Data": {"MessageId": f"for-{request['To']}"}}))


def test_a_connection_is_used_again(make: MakeTransport) -> None:
    async def run() -> None:
        async with vendor_that(answers_until_closed) as vendor:
            client = client_of(make(vendor.url, timeouts=PATIENT))
            for _ in range(5):
                assert type((await send(client, ORDER)).outcome) is Accepted
            await client.aclose()
        assert vendor.connections == 1

    event_loop.run(run())


def test_a_post_is_timed_from_its_own_start_and_not_from_an_earlier_one_of_its_connection(
    make: MakeTransport,
) -> None:
    async def run() -> None:
        released = asyncio.Event()

        async def behave(talk: Talk) -> None:
            for _ in range(2):
                await talk.request()
                await asyncio.sleep(1.1)
                await talk.say(GOOD_REPLY)
            await talk.request()
            await released.wait()

        # Long enough that a machine which stands still for a moment is not taken for a late answer.
        hasty = Timeouts(connect=20, read=2.0, write=20, total=20)
        async with vendor_that(behave) as vendor:
            client = client_of(make(vendor.url, timeouts=hasty))
            for _ in range(2):
                assert type((await send(client, ORDER)).outcome) is Accepted
            began = asyncio.get_running_loop().time()
            assert type((await send(client, ORDER)).outcome) is Unknown
            assert asyncio.get_running_loop().time() - began >= 1.9
            released.set()
            await client.aclose()
        assert vendor.connections == 1

    event_loop.run(run())


def test_only_a_connection_that_the_next_post_would_take_counts_as_ready(make: MakeTransport) -> None:
    async def run() -> None:
        closing = asyncio.Event()

        async def behave(talk: Talk) -> None:
            await talk.request()
            seen.append(transport.idle_connections())
            await talk.say(GOOD_REPLY)
            await closing.wait()

        seen: list[int] = []
        async with vendor_that(behave) as vendor:
            transport = make(vendor.url, timeouts=PATIENT)
            client = client_of(transport)
            assert client.idle_connections() == 0
            await send(client, ORDER)
            assert client.idle_connections() == 1
            closing.set()
            await until(lambda: not client.idle_connections())
            await client.aclose()
        assert seen == [0]

    event_loop.run(run())


def test_a_connection_that_was_idle_for_too_long_is_not_ready(make: MakeTransport) -> None:
    async def run() -> None:
        async with vendor_that(answers_until_closed) as vendor:
            client = client_of(make(vendor.url, timeouts=PATIENT, keepalive_seconds=0))
            assert await client.connect() is None
            assert client.post(ORDER, lambda: True, never) is None
            assert client.idle_connections() == 0
            await client.aclose()
        assert vendor.bytes_read == 0

    event_loop.run(run())


def test_a_connection_that_was_idle_for_too_long_is_not_used_again(make: MakeTransport) -> None:
    async def run() -> None:
        async with vendor_that(answers_until_closed) as vendor:
            client = client_of(make(vendor.url, timeouts=PATIENT, connections=1, keepalive_seconds=0.5))
            for _ in range(3):
                assert type((await send(client, ORDER)).outcome) is Accepted
                await asyncio.sleep(0.6)
            await client.aclose()
        assert vendor.connections == 3

    event_loop.run(run())


def test_a_connection_is_replaced_once_it_is_old_and_never_in_the_middle_of_a_post(
    make: MakeTransport,
) -> None:
    """The vendor's name may have another address by then."""

    async def run() -> None:
        async def answers_slowly(talk: Talk) -> None:
            while True:
                await talk.request()
                await asyncio.sleep(0.3)
                await talk.say(GOOD_REPLY)

        async with vendor_that(answers_slowly) as vendor:
            transport = make(vendor.url, timeouts=PATIENT, max_age_seconds=0.7)
            client = client_of(transport)
            began = asyncio.get_running_loop().time()
            while asyncio.get_running_loop().time() < began + 2.0:
                assert type((await send(client, ORDER)).outcome) is Accepted
            posts = len(vendor.requests)
            assert 1 < vendor.connections < posts
            await client.aclose()

    event_loop.run(run())


def test_an_old_idle_connection_is_not_ready(make: MakeTransport) -> None:
    async def run() -> None:
        async with vendor_that(answers_until_closed) as vendor:
            client = client_of(make(vendor.url, timeouts=PATIENT, connections=2, max_age_seconds=0.5))
            await send(client, ORDER)
            assert (client.idle_connections(), client.connections_left()) == (1, 1)
            await asyncio.sleep(0.6)
            assert client.post(ORDER, lambda: True, never) is None
            assert (client.idle_connections(), client.connections_left()) == (0, 2)
            assert type((await send(client, ORDER)).outcome) is Accepted
            assert vendor.connections == 2
            await client.aclose()

    event_loop.run(run())


def test_an_idle_connection_that_the_vendor_closed_is_replaced_and_nothing_is_sent_twice(
    make: MakeTransport,
) -> None:
    async def run() -> None:
        closed = asyncio.Event()

        async def behave(talk: Talk) -> None:
            await talk.request()
            await talk.say(GOOD_REPLY)
            talk.writer.close()
            await talk.writer.wait_closed()
            closed.set()

        async with vendor_that(behave) as vendor:
            client = client_of(make(vendor.url, timeouts=PATIENT, connections=1))
            for _ in range(3):
                assert type((await send(client, ORDER)).outcome) is Accepted
                await closed.wait()
                closed.clear()
            await client.aclose()
        assert len(vendor.requests) == 3
        assert vendor.connections == 3

    event_loop.run(run())


def test_a_kept_connection_that_closes_on_the_next_request_is_unknown(make: MakeTransport) -> None:
    async def run() -> None:
        async def behave(talk: Talk) -> None:
            await talk.request()
            await talk.say(GOOD_REPLY)
            await talk.request()

        async with vendor_that(behave) as vendor:
            client = client_of(make(vendor.url, timeouts=PATIENT, connections=1))
            outcomes = [type((await send(client, ORDER)).outcome) for _ in range(3)]
            await client.aclose()
        assert outcomes == [Accepted, Unknown, Accepted]
        assert len(vendor.requests) == 3

    event_loop.run(run())


@pytest.mark.parametrize("at_once", [True, False], ids=["in one packet", "a moment later"])
def test_a_second_reply_to_one_request_is_never_taken_for_the_next_ones(
    make: MakeTransport, at_once: bool
) -> None:
    """Else one message would carry the MessageId of another."""

    async def run() -> None:
        said = asyncio.Event()
        stray = http(GOOD | {"Data": {"MessageId": "stray"}})

        async def behave(talk: Talk) -> None:
            request = await talk.request()
            own = http(GOOD | {"Data": {"MessageId": f"for-{request['To']}"}})
            if at_once:
                await talk.say(own + stray)
            else:
                await talk.say(own)
                await asyncio.sleep(0.02)
                await talk.say(stray)
            said.set()
            await talk.request()
            await talk.hang()

        async with vendor_that(behave) as vendor:
            client = client_of(make(vendor.url, timeouts=HASTY_READ, connections=1))
            for number in range(3):
                order = SendOrder("8615000579987", f"44770090000{number}", MessageType.TEXT, "{}")
                outcome = (await send(client, order)).outcome
                assert outcome == Accepted(f"for-{order.to}", "r-1")
                await said.wait()
                said.clear()
            await client.aclose()
            vendor.closing.set()

    event_loop.run(run())


def test_many_posts_at_once_each_get_their_own_answer(make: MakeTransport) -> None:
    async def run() -> None:
        async with vendor_that(answers_until_closed) as vendor:
            client = client_of(make(vendor.url, timeouts=PATIENT, connections=20))
            orders = [
                SendOrder("8615000579987", f"447700900{number:03}", MessageType.TEXT, "{}")
                for number in range(300)
            ]
            turns = asyncio.Semaphore(20)

            async def in_turn(order: SendOrder) -> Answer:
                async with turns:
                    return await send(client, order)

            answers = await asyncio.gather(*(in_turn(order) for order in orders))
            await client.aclose()
        assert [answer.outcome for answer in answers] == [
            Accepted(f"for-{order.to}", "r-1") for order in orders
        ]
        assert len(vendor.requests) == 300
        assert vendor.connections <= 20

    event_loop.run(run())


def test_a_cancelled_post_hangs_up_and_leaves_the_transport_fit(make: MakeTransport) -> None:
    async def run() -> None:
        hung_up = asyncio.Event()

        async def behave(talk: Talk) -> None:
            await talk.request()
            if len(talk.vendor.requests) == 1:
                assert await talk.reader.read() == b""
                hung_up.set()
            else:
                await talk.say(GOOD_REPLY)

        async with vendor_that(behave) as vendor:
            client = client_of(make(vendor.url, timeouts=PATIENT, connections=1))
            post = asyncio.create_task(send(client, ORDER))
            await vendor.has_read.wait()
            post.cancel()
            with pytest.raises(asyncio.CancelledError):
                await post
            await hung_up.wait()
            assert type((await send(client, ORDER)).outcome) is Accepted
            await client.aclose()

    event_loop.run(run())


def test_a_body_that_the_vendor_never_reads_is_unknown_when_writing_times_out(make: MakeTransport) -> None:
    async def run() -> None:
        async with vendor_that(never_reads) as vendor:
            transport = make(vendor.url, timeouts=HASTY_WRITE)
            failure = await post_raw(transport, b"x" * 32_000_000)
            assert isinstance(failure, Failure)
            assert failure.bytes_sent
            await transport.aclose()

    event_loop.run(run())


def test_the_request_on_the_wire_is_one_plain_http_1_1_post(make: MakeTransport) -> None:
    async def run() -> None:
        async with vendor_that(says(GOOD_REPLY)) as vendor:
            await send_once(make, vendor.url, PATIENT)
        lines = vendor.heads[0].decode().split("\r\n")
        names = [line.split(":")[0].lower() for line in lines[1:] if line]
        assert lines[0] == "POST /api HTTP/1.1"
        assert len(names) == len(set(names))
        assert {"host", "content-length", "user-agent", "x-signature", "x-nonce", "x-timestamp"} <= set(names)
        assert not {"transfer-encoding", "cookie", "authorization", "referer"} & set(names)
        assert b"bulksend/" in vendor.heads[0]
        assert b"accept-encoding: identity" in vendor.heads[0].lower()

    event_loop.run(run())


def test_a_reply_is_read_no_further_than_its_limit(make: MakeTransport) -> None:
    async def run() -> None:
        async with vendor_that(never_stops_talking) as vendor:
            transport = make(vendor.url, timeouts=PATIENT)
            reply = await post_raw(transport, b"{}")
            assert isinstance(reply, RawReply)
            assert len(reply.body) <= 65537
            await transport.aclose()

    event_loop.run(run())


def test_an_address_that_is_none_is_refused_when_the_transport_is_made(make: MakeTransport) -> None:
    for url in (
        "",
        "api.example/api",
        "ftp://127.0.0.1/",
        "http://",
        "http://user:pw@127.0.0.1/",
        "http://[::1",
    ):
        with pytest.raises(ValueError, match=r"address|URL"):
            make(url, timeouts=PATIENT)


def test_a_timeout_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="timeout"):
        Timeouts(read=0)
