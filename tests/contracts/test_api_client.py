"""Both clients against the real API, served on a port by uvicorn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest

from bulksend.client import ApiRefused, AsyncClient, Client, RefusedMessage, SentMessage
from bulksend.ledger.key_file import new_encryption_key
from bulksend.operations import api_keys
from bulksend.operations.access import Role
from bulksend.settings import Settings
from ops.http.app import create_app
from ops.http.server import services_of
from ops.http.services import Services
from tests.served import Served

SENDER = "8615000579987"
MESSAGE: dict[str, Any] = {"sender": SENDER, "kind": "utility", "type": "text", "content": {"body": "hello"}}


class Awaited:
    """An AsyncClient whose methods are called as those of a Client."""

    def __init__(self, url: str, key: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = self._loop.run_until_complete(self._made(url, key))

    async def _made(self, url: str, key: str) -> AsyncClient:
        return AsyncClient(url, key)

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            made = getattr(self._client, name)(*args, **named)
            return self._each(made) if hasattr(made, "__anext__") else self._loop.run_until_complete(made)

        return call

    def _each(self, items: AsyncGenerator[Any, None]) -> Iterator[Any]:
        try:
            while True:
                yield self._loop.run_until_complete(anext(items))  # type: ignore[arg-type]
        except StopAsyncIteration:
            return
        finally:
            self._loop.run_until_complete(items.aclose())

    def end(self) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


@pytest.fixture
def served(ledger_url: str, valkey_url: str, tmp_path: Path) -> Iterator[tuple[str, Services]]:
    folders = ("SPOOL", "UPLOAD", "EXPORT")
    services = services_of(
        Settings.from_env(
            {
                "DATABASE_URL": ledger_url,
                "REDIS_URL": valkey_url,
                "BULKSEND_ENCRYPTION_KEY": new_encryption_key(),
                **{f"BULKSEND_{name}_DIR": str(tmp_path / name) for name in folders},
            }
        )
    )
    server = Served(create_app(services))
    server.start()
    yield server.url, services
    server.stop()
    services.close()


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest, served: tuple[str, Services]) -> Iterator[Any]:
    url, services = served
    with services.database.write() as tx:
        key = api_keys.add(tx, name="program", role=Role.OPERATOR, actor="test").key
    if request.param == "sync":
        with Client(url, key) as made:
            yield made
        return
    awaited = Awaited(url, key)
    yield awaited
    awaited.end()


def test_a_message_is_sent_once_found_and_explained(client: Any) -> None:
    sent = client.send(to="+44 7700 900123", key="order-1", **MESSAGE)
    again = client.send(to="447700900123", key="order-1", **MESSAGE)
    assert (sent.repeated, again.repeated, again.id) == (False, True, sent.id)
    assert client.message(sent.id)["to"] == "447700900123"
    assert client.why(sent.id)["id"] == sent.id
    assert [found["id"] for found in client.messages(phone="447700900123")] == [sent.id]


def test_of_many_messages_each_has_its_result(client: Any) -> None:
    good, bad = client.send_many([{"to": "447700900124", **MESSAGE}, {"to": "12", **MESSAGE}])
    assert isinstance(good, SentMessage)
    assert isinstance(bad, RefusedMessage)
    assert bad.field == "to"


def test_a_refusal_names_the_field_and_the_request(client: Any) -> None:
    with pytest.raises(ApiRefused) as caught:
        client.send(to="12", **MESSAGE)
    assert caught.value.status == 422
    assert caught.value.errors[0]["field"] == "to"
    assert caught.value.request_id


def test_a_campaign_of_rows_and_one_of_a_file(client: Any, tmp_path: Path) -> None:
    content = {"body": "hello {{name}}"}
    options = {**MESSAGE, "kind": "marketing", "content": content}
    posted = client.create_campaign([{"to": "447700900125", "name": "Ann"}], name="rows", **options)
    assert (posted["messages"], posted["refused_count"]) == (1, 0)
    file = tmp_path / "people.csv"
    file.write_text("to,name\n447700900126,Bob\nnobody at all,Eve\n")
    uploaded = client.upload_campaign(file, name="file", again=True, **options)
    assert (uploaded["messages"], uploaded["refused_count"]) == (1, 1)
    made = client.plan_campaign([{"to": "447700900128", "name": "Flo"}], name="planned", **options)
    assert (client.plan(made["plan_id"])["to_send"], client.apply_plan(made["plan_id"])["messages"]) == (1, 1)
    assert client.act(uploaded["campaign_id"], "pause", why="a test")["status"] == "paused"
    assert client.change_campaign(uploaded["campaign_id"], rate="5/s")["rate_limit"] == 5
    file.write_text("to,name\n447700900129,Cy\n")
    cloned = client.clone_campaign(uploaded["campaign_id"], file, name="clone")
    assert (cloned["messages"], cloned["refused_count"]) == (1, 0)
    names = {each["name"] for each in client.campaigns(kind="marketing")}
    assert names == {"rows", "file", "planned", "clone"}
    funnel = client.breakdown(cloned["campaign_id"])["funnel"]
    assert (funnel["messages"], funnel["open"]) == (1, 1)
    assert client.report(cloned["campaign_id"]).startswith("<!doctype html>")


def test_events_are_followed_from_where_a_page_ended(client: Any, served: tuple[str, Services]) -> None:
    services = served[1]
    campaign = client.create_campaign([{"to": "447700900127"}], name="watched", **MESSAGE)
    seen = list(client.events(types="campaign.started,campaign.paused"))
    client.act(campaign["campaign_id"], "pause", why="a test")
    followed = client.follow(seen[-1].id if seen else "0", types="campaign.paused")
    event = next(followed)
    assert (event.type, event.data["campaign_id"]) == ("campaign.paused", campaign["campaign_id"])
    followed.close()
    assert services.database


def test_any_other_endpoint_is_called_by_its_path(client: Any) -> None:
    assert client.call("GET", "/v1/me")["role"] == "operator"
