"""Programs follow events by pages and by streams, and miss none and see none twice."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event, text
from structlog.testing import capture_logs

from bulksend.errors import NotSignedIn, TooManyRequests
from bulksend.ledger import event_numbers, events
from bulksend.ledger.database import Database
from bulksend.ledger.ids import new_id
from bulksend.messaging.masking import mask_phone
from bulksend.operations.access import Role
from bulksend.operations.events import Wanted
from ops.http.event_streams import MOST_OF_A_KEY, EventStreams
from tests.acceptance.many_commands import Shell
from tests.acceptance.serving import Serving
from tests.integration.http.conftest import ON_ONE_DATABASE
from tests.integration.test_relay import a_campaign
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]
SENDER = "15550100100"


def happen(ledger: Database, *names: str) -> None:
    """An event for each name."""
    for name in names:
        with ledger.write() as tx:
            events.add(tx, "sender.changed", {"name": name})


def sent_message(api: Any) -> str:
    """A message that the vendor took; its id."""
    done = api.services.producer.send(
        to="447700900123",
        sender=SENDER,
        kind="utility",
        type="text",
        content={"body": "hello"},
        key="order 447700900123",
    )
    with api.ledger.write() as tx:
        tx.execute(text("UPDATE messages SET status = 'accepted', message_id = 'mid-1'"))
    return str(done.id)


# -- pages ------------------------------------------------------------------------------------------


def test_a_page_tells_what_happened_and_where_to_go_on(api: Any) -> None:
    id = sent_message(api)
    page = api.get("/v1/events", role=Role.VIEWER).json()
    started, accepted = page["items"]
    assert started["type"] == "campaign.started"
    assert (accepted["id"], accepted["type"], accepted["data"]["id"]) == ("2", "message.accepted", id)
    assert (accepted["data"]["to"], accepted["data"]["key"]) == ("4477*****123", "4477*****123")
    assert accepted["at"].endswith("+00:00")
    assert (page["next"], page["last"]) == (None, "2")
    assert api.get("/v1/events", params={"after": 2}).json() == {"items": [], "next": None, "last": "2"}


def test_numbers_are_shown_to_those_who_may_see_them_and_ask(api: Any) -> None:
    sent_message(api)
    page = api.get("/v1/events", role=Role.SENDER, params={"numbers": 1}).json()
    assert page["items"][-1]["data"]["to"] == "447700900123"
    for path in ("/v1/events", "/v1/events/stream"):
        denied = api.get(path, role=Role.VIEWER, params={"numbers": 1})
        assert (denied.status_code, denied.json()["code"]) == (403, "access_denied")
        assert api.get(path, role=None).status_code == 401


def test_pages_follow_each_other_and_can_be_of_some_types_and_a_campaign(api: Any) -> None:
    sent_message(api)
    happen(api.ledger, "a", "b", "c")
    first = api.get("/v1/events", params={"limit": 2}).json()
    assert first["next"] == "2"
    rest = api.get("/v1/events", params={"after": first["next"], "limit": 1000}).json()
    assert [item["id"] for item in rest["items"]] == ["3", "4", "5"]
    page = api.get("/v1/events", params={"types": "message.accepted,message.read"}).json()
    assert ([item["type"] for item in page["items"]], page["last"]) == (["message.accepted"], "5")
    campaign = page["items"][0]["data"]["campaign_id"]
    page = api.get("/v1/events", params={"campaign": campaign}).json()
    assert [item["type"] for item in page["items"]] == ["campaign.started", "message.accepted"]


@ON_ONE_DATABASE
def test_a_wrong_question_is_a_problem(api: Any) -> None:
    questions = (
        ({"after": "-1"}, 422, "greater than or equal to 0"),
        ({"after": "9" * 30}, 422, "less than or equal"),
        ({"after": "x"}, 422, "integer"),
        ({"after": "7"}, 422, "above the newest number, 0"),
        ({"types": "message.eaten"}, 422, "message.eaten"),
        ({"campaign": "nowhere"}, 404, "nowhere"),
    )
    for path, (parameters, status, why) in product(("/v1/events", "/v1/events/stream"), questions):
        answer = api.get(path, params=parameters)
        assert answer.status_code == status, (path, parameters)
        assert why in answer.json()["detail"]
        assert answer.headers["content-type"] == "application/problem+json"


@ON_ONE_DATABASE
def test_a_number_above_the_newest_is_blamed_on_what_gave_it(api: Any) -> None:
    for given, headers in (("after", {}), ("Last-Event-ID", {"Last-Event-ID": "7"})):
        answer = api.get("/v1/events/stream", params={"after": "7"}, headers=headers)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, given)


def test_a_reader_behind_the_oldest_event_gets_410_with_its_number(api: Any) -> None:
    happen(api.ledger, "a", "b")
    with api.ledger.write() as tx:
        event_numbers.number_committed(tx)
        tx.execute(text("UPDATE events SET at = 1"))
        event_numbers.delete_old(tx, 1000, limit=1)
    for path, headers in (("/v1/events?after=0", {}), ("/v1/events/stream", {"Last-Event-ID": "0"})):
        gone = api.get(path, headers=headers)
        assert (gone.status_code, gone.json()["code"]) == (410, "events_gone")
        assert "the oldest one kept is 2" in gone.json()["detail"]
    assert [item["id"] for item in api.get("/v1/events").json()["items"]] == ["2"]
    assert api.get("/v1/events?after=1").status_code == 200


# -- streams ----------------------------------------------------------------------------------------


class Client:
    """A program that reads a stream as a browser does, and remembers the last id."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self.last_id: int | None = None
        self.events: list[dict[str, Any]] = []
        self.is_over = False

    async def read(self, enough: Callable[[], bool]) -> None:
        """Until it has enough, or the stream is over."""
        while not enough():
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                self.is_over = True
                return
            for line in chunk.decode().splitlines():
                field, _, value = line.partition(": ")
                if field == "id":
                    self.last_id = int(value)
                elif field == "data":
                    self.events.append(json.loads(value))

    async def read_events(self, count: int) -> list[str]:
        """The names of its first events."""
        await self.read(lambda: len(self.events) >= count)
        return [event["data"]["name"] for event in self.events]

    async def leave(self) -> None:
        """Close the connection."""
        await self._chunks.aclose()  # type: ignore[attr-defined]


async def happening(ledger: Database, *names: str) -> None:
    """``happen`` from the loop."""
    await asyncio.to_thread(happen, ledger, *names)


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Run it on a loop, with a limit that only a stream that hangs meets."""
    asyncio.run(asyncio.wait_for(work(), 60))  # type: ignore[arg-type]


def connect(streams: EventStreams, after: int | None = None, wanted: Wanted | None = None) -> Client:
    return Client(streams.chunks(after, wanted or Wanted(), "a key", lambda: None))


async def joined(client: Client) -> Client:
    """Connected, and told where it begins."""
    await client.read(lambda: client.last_id is not None)
    return client


def test_a_stream_begins_now_and_one_that_comes_back_begins_where_it_ended(ledger: Database) -> None:
    async def work() -> None:
        streams = EventStreams(ledger, poll_s=0.01, kept=3)
        await happening(ledger, "before")
        client = await joined(connect(streams))
        assert client.last_id == 1
        await happening(ledger, "a", "b")
        assert await client.read_events(2) == ["a", "b"]
        await client.leave()
        # More than the poller keeps, so that the client reads the ledger first, and some while it does.
        await happening(ledger, *"cdefgh")
        other = await joined(connect(streams))
        again = connect(streams, after=client.last_id)
        await happening(ledger, *"ijklmnop")
        assert await again.read_events(14) == [*"cdefghijklmnop"]
        assert await other.read_events(8) == [*"ijklmnop"]
        assert [event["id"] for event in again.events] == [str(n) for n in range(4, 18)]
        await again.leave()
        await other.leave()

    run(work)


@ON_ONE_DATABASE
def test_a_stream_of_other_types_moves_its_position_on(ledger: Database) -> None:
    async def work() -> None:
        streams = EventStreams(ledger, poll_s=0.01, heartbeat_s=0.05)
        client = connect(streams, after=0, wanted=Wanted(frozenset({"message.read"})))
        await happening(ledger, "a", "b")
        await client.read(lambda: client.last_id == 2)
        assert client.events == []
        await client.leave()

    run(work)


def test_streams_show_numbers_to_those_who_asked_and_masked_ones_to_the_others(ledger: Database) -> None:
    def accept() -> None:
        with ledger.write() as tx:
            tx.execute(text("UPDATE messages SET status = 'accepted'"))

    async def work() -> None:
        a_campaign(ledger, 1)
        streams = EventStreams(ledger, poll_s=0.01)
        wanted = [Wanted(types=frozenset({"message.accepted"}), numbers=numbers) for numbers in (True, False)]
        clients = [await joined(connect(streams, wanted=each)) for each in wanted]
        await asyncio.to_thread(accept)
        shown = []
        for client in clients:
            await client.read(lambda client=client: len(client.events) == 1)  # type: ignore[misc]
            shown.append(client.events[0]["data"]["to"])
            await client.leave()
        assert shown[0].isdecimal()
        assert shown[1] == mask_phone(shown[0]) != shown[0]

    run(work)


@ON_ONE_DATABASE
def test_one_poller_reads_the_ledger_for_all_streams(ledger: Database) -> None:
    statements: list[str] = []
    event.listen(ledger.engine, "before_cursor_execute", lambda *told: statements.append(told[2]))

    async def work() -> None:
        streams = EventStreams(ledger, poll_s=0.2)
        clients = [await joined(connect(streams)) for _ in range(40)]
        await happening(ledger, "a")
        statements.clear()
        for client in clients:
            assert await client.read_events(1) == ["a"]
        # A poll or two, and not one for each stream.
        assert len(statements) < len(clients)
        for client in clients:
            await client.leave()

    run(work)


@ON_ONE_DATABASE
def test_a_stream_ends_when_its_key_is_revoked_and_the_others_go_on(ledger: Database) -> None:
    revoked: list[bool] = []

    def check() -> None:
        if revoked:
            raise NotSignedIn("revoked")

    async def work() -> None:
        streams = EventStreams(ledger, poll_s=0.01)
        client = Client(streams.chunks(None, Wanted(), "another", check))
        await joined(client)
        other = await joined(connect(streams))
        revoked.append(True)
        await client.read(lambda: False)
        assert client.is_over
        await happening(ledger, "a")
        assert await other.read_events(1) == ["a"]
        await other.leave()

    run(work)


@ON_ONE_DATABASE
def test_every_stream_ends_at_once_when_the_process_stops(ledger: Database) -> None:
    async def work() -> None:
        streams = EventStreams(ledger)
        clients = [await joined(connect(streams)) for _ in range(3)]
        await asyncio.to_thread(streams.close)
        for client in clients:
            await client.read(lambda: False)
            assert client.is_over

    run(work)


@ON_ONE_DATABASE
def test_streams_go_on_after_the_ledger_could_not_be_read(ledger: Database) -> None:
    def rename(before: str, after: str) -> None:
        with ledger.write() as tx:
            tx.execute(text(f"ALTER TABLE {before} RENAME TO {after}"))

    async def work() -> None:
        streams = EventStreams(ledger, poll_s=0.01)
        client = await joined(connect(streams))
        with capture_logs() as logs:
            await asyncio.to_thread(rename, "events", "elsewhere")
            await asyncio.to_thread(until, lambda: bool(logs))
        assert [line["event"] for line in logs] == ["events_not_read"]
        await asyncio.to_thread(rename, "elsewhere", "events")
        await happening(ledger, "a")
        assert await client.read_events(1) == ["a"]
        await client.leave()

    run(work)


@ON_ONE_DATABASE
def test_a_key_with_many_streams_leaves_room_for_the_others(ledger: Database) -> None:
    async def work() -> None:
        streams = EventStreams(ledger)
        clients = [await joined(connect(streams)) for _ in range(MOST_OF_A_KEY)]
        with pytest.raises(TooManyRequests, match=f"a key has {MOST_OF_A_KEY} streams"):
            streams.check_room("a key")
        streams.check_room("another")
        await clients.pop().leave()
        streams.check_room("a key")
        for client in clients:
            await client.leave()

    run(work)


# -- the process ------------------------------------------------------------------------------------


def test_a_stop_of_serve_ends_the_streams_in_order(
    shell: Shell, sqlite_template: Path, valkey_url: str, tmp_path: Path
) -> None:
    shutil.copyfile(sqlite_template, tmp_path / "ledger.db")
    api = Serving.on(shell, f"sqlite:///{tmp_path / 'ledger.db'}", valkey_url, tmp_path, Role.VIEWER)
    with api.running() as process, httpx.Client(base_url=api.url, timeout=60) as client:
        headers = api.headers | {"X-Request-Id": new_id()}
        with client.stream("GET", "/v1/events/stream?after=0", headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.iter_lines()
            assert next(lines).startswith("retry:")
            process.send_signal(signal.SIGTERM)
            # To its end, and not cut off.
            for _line in lines:
                pass
        assert process.wait(60) == 0, api.said()
    assert "without completing" not in api.said()
