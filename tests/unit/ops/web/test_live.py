"""Live tabs: told of their topics alone, seldom where there are many, over when the session is."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from bulksend.errors import LedgerUnreachable, TooManyRequests
from bulksend.ledger.database import Database
from bulksend.ledger.migrate import migrate
from bulksend.operations import senders, sessions, users
from bulksend.operations.access import Origin, Role
from ops.web import live
from ops.web.live import LiveTabs


def on_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on an event loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **named: Any) -> None:
        asyncio.run(test(*args, **named))  # type: ignore[arg-type]

    return run


@pytest.fixture
def ledger(tmp_path: Path) -> Database:
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    migrate(database)
    users.add_user(database, name="ann", role="operator", actor="test")
    return database


def session(database: Database) -> str:
    link = str(sessions.make_link(database, "ann", actor="test")["link_token"])
    return sessions.hash_of(sessions.use_link(database, link, origin=Origin()))


def tabs_of(database: Database, **options: Any) -> LiveTabs:
    return LiveTabs(database, tick_s=0.02, dice=lambda: 0.5, **({"least_s": 0.02, "alive_s": 30.0} | options))


def stream(tabs: LiveTabs, hash: str, *topics: str, role: Role = Role.OPERATOR) -> AsyncIterator[bytes]:
    return tabs.chunks(topics, user="ann", session=hash, role=role)


async def heard(chunks: AsyncIterator[bytes]) -> tuple[str, Any]:
    """The next event and its data."""
    async with asyncio.timeout(30):
        event, data = (await anext(chunks)).decode().split("\n")[:2]
    return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def change_a_sender(database: Database) -> None:
    senders.change_sender(database, "15550100100", actor="test", register_at=80.0, name="shop")


@on_a_loop
async def test_a_tab_hears_which_of_its_topics_have_changed_and_until_when_it_is_right(
    ledger: Database,
) -> None:
    tabs, hash = tabs_of(ledger), session(ledger)
    async with aclosing(stream(tabs, hash, "senders", "templates")) as chunks:
        event, at = await heard(chunks)
        assert event == "alive"
        assert at.startswith("20")
        await asyncio.to_thread(change_a_sender, ledger)
        assert (await heard(chunks))[1][1] == ["senders"]


@on_a_loop
async def test_a_tab_hears_of_what_changed_between_its_page_and_its_stream(ledger: Database) -> None:
    now = [1_000.0]
    tabs, hash = tabs_of(ledger, alive_s=0.3, clock=lambda: now[0]), session(ledger)

    async def events(since: float, count: int) -> list[Any]:
        chunks = tabs.chunks(
            ["senders", "templates"], user="ann", session=hash, role=Role.OPERATOR, since=since
        )
        async with aclosing(chunks):
            found = [await heard(chunks) for _ in range(count)]
        return [data[1] if event == "changed" else event for event, data in found]

    # Nothing is known of the time before the first look.
    assert await events(999.0, 2) == ["alive", ["senders", "templates"]]
    now[0] = 1_100.0
    assert await events(1_099.0, 2) == ["alive", "alive"]
    # While no tab looks, one changes; the next look is for the page that came before that change.
    await asyncio.to_thread(change_a_sender, ledger)
    now[0] = 1_200.0
    assert await events(1_199.0, 2) == ["alive", ["senders"]]
    # Another page of that time, and one of a later time.
    now[0] = 1_201.0
    assert await events(1_198.0, 2) == ["alive", ["senders"]]
    assert await events(1_201.0 + live.SLACK_S, 2) == ["alive", "alive"]
    now[0] += live.MEMORY_S + 1
    assert await events(1_204.0, 2) == ["alive", ["senders", "templates"]]


@on_a_loop
async def test_a_tab_hears_of_no_topic_that_it_does_not_follow(ledger: Database) -> None:
    tabs, hash = tabs_of(ledger, alive_s=0.3), session(ledger)
    async with aclosing(stream(tabs, hash, "templates")) as chunks:
        await heard(chunks)
        await asyncio.to_thread(change_a_sender, ledger)
        assert [(await heard(chunks))[0] for _ in range(2)] == ["alive", "alive"]


@on_a_loop
async def test_a_tab_that_shows_ages_hears_that_time_has_passed(ledger: Database) -> None:
    tabs, hash = tabs_of(ledger, alive_s=0.2), session(ledger)
    async with aclosing(stream(tabs, hash, "senders", "time")) as chunks:
        assert (await heard(chunks))[0] == "alive"
        for _ in range(2):
            event, (at, topics) = await heard(chunks)
            assert (event, topics) == ("changed", ["time"])
            assert at.startswith("20")


@on_a_loop
async def test_with_many_tabs_time_passes_as_seldom_as_other_changes(ledger: Database) -> None:
    tabs, hash = tabs_of(ledger, alive_s=0.2, least_s=30.0), session(ledger)
    async with aclosing(stream(tabs, hash, "time")) as chunks:
        assert [(await heard(chunks))[0] for _ in range(3)] == ["alive", "alive", "alive"]


@on_a_loop
async def test_a_tab_hears_of_what_is_watched_beside_the_ledger_when_it_changes_and_not_before(
    ledger: Database,
) -> None:
    said, looks = ["well"], asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()

    def look() -> str:
        loop.call_soon_threadsafe(looks.release)
        return said[0]

    tabs, hash = tabs_of(ledger), session(ledger)
    tabs.watch("alerts", look)
    async with aclosing(stream(tabs, hash, "alerts", "senders")) as chunks:
        assert (await heard(chunks))[0] == "alive"
        for _ in range(3):
            await asyncio.wait_for(looks.acquire(), 30)
        # What was looked at twice without a change is not told.
        await asyncio.to_thread(change_a_sender, ledger)
        assert (await heard(chunks))[1][1] == ["senders"]
        said[0] = "away"
        assert (await heard(chunks))[1][1] == ["alerts"]


@on_a_loop
async def test_a_look_beside_the_ledger_that_takes_long_or_fails_keeps_no_tab_waiting(
    ledger: Database,
) -> None:
    over, asked = threading.Event(), threading.Event()

    def look() -> str:
        asked.set()
        over.wait(30)
        raise LedgerUnreachable("it is away")

    tabs, hash = tabs_of(ledger), session(ledger)
    tabs.watch("alerts", look)
    async with aclosing(stream(tabs, hash, "alerts", "senders")) as chunks:
        assert (await heard(chunks))[0] == "alive"
        assert await asyncio.to_thread(asked.wait, 30)
        await asyncio.to_thread(change_a_sender, ledger)
        assert (await heard(chunks))[1][1] == ["senders"]
        over.set()


@pytest.mark.parametrize("end", ["disable", "sign out", "another role"])
@on_a_loop
async def test_a_stream_ends_with_its_session(ledger: Database, end: str) -> None:
    tabs, hash = tabs_of(ledger), session(ledger)
    role = Role.ADMIN if end == "another role" else Role.OPERATOR
    async with aclosing(stream(tabs, hash, "senders", role=role)) as chunks:
        await heard(chunks)
        if end == "disable":
            await asyncio.to_thread(users.disable_user, ledger, "ann", actor="test", why="left")
        elif end == "sign out":
            with ledger.write() as tx:
                tx.exec_driver_sql("DELETE FROM sessions")
        assert (await heard(chunks))[0] == "over"
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)


@on_a_loop
async def test_a_stop_of_the_server_ends_every_stream_at_once(ledger: Database) -> None:
    tabs, hash = tabs_of(ledger), session(ledger)
    chunks = [stream(tabs, hash, "senders") for _ in range(3)]
    for each in chunks:
        await heard(each)
    ends = [asyncio.ensure_future(anext(each, None)) for each in chunks]
    await asyncio.sleep(0)
    await asyncio.to_thread(tabs.close)
    assert await asyncio.wait_for(asyncio.gather(*ends), 30) == [None, None, None]


class CountingDatabase(Database):
    """Counts the looks at it."""

    reads = 0

    def read(self) -> Any:
        type(self).reads += 1
        return super().read()


@on_a_loop
async def test_one_look_at_the_ledger_serves_all_tabs_and_without_tabs_there_is_none(
    ledger: Database,
) -> None:
    counting = CountingDatabase(ledger.url.render_as_string(hide_password=False))
    tabs, hash = LiveTabs(counting, tick_s=0.05), session(ledger)
    chunks = [stream(tabs, hash, "senders") for _ in range(50)]
    for each in chunks:
        await heard(each)
    assert CountingDatabase.reads <= 5, "and not one for each tab"
    for each in chunks:
        await each.aclose()  # type: ignore[attr-defined]
    await asyncio.sleep(0.1)
    before = CountingDatabase.reads
    await asyncio.sleep(0.3)
    assert CountingDatabase.reads == before


@on_a_loop
async def test_the_more_tabs_the_longer_each_waits(ledger: Database) -> None:
    tabs, hash = tabs_of(ledger, least_s=1.5), session(ledger)
    assert tabs.pause_s() == 1.5
    chunks = [stream(tabs, hash, "senders") for _ in range(60)]
    for each in chunks:
        await heard(each)
    # Each refresh costs PAGE_S of a core.
    assert 60 / tabs.pause_s() * live.PAGE_S <= live.SHARE + 0.001
    with pytest.raises(TooManyRequests):
        tabs.check_room("ann")
    tabs.check_room("bob")
    for each in chunks:
        await each.aclose()  # type: ignore[attr-defined]


@on_a_loop
async def test_without_the_ledger_a_tab_is_not_told_that_it_is_right(ledger: Database) -> None:
    tabs, hash = tabs_of(ledger, alive_s=0.1), session(ledger)
    async with aclosing(stream(tabs, hash, "senders")) as chunks:
        await heard(chunks)
        with ledger.write() as tx:
            tx.exec_driver_sql("ALTER TABLE sessions RENAME TO gone")
        async with asyncio.timeout(30):
            while (await anext(chunks)) != b": the ledger is away\n\n":
                pass
        with ledger.write() as tx:
            tx.exec_driver_sql("ALTER TABLE gone RENAME TO sessions")
        async with asyncio.timeout(30):
            while (await anext(chunks)) == b": the ledger is away\n\n":
                pass
