"""The same client for programs with an event loop. Its methods are those of ``Client``, awaited."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from bulksend.client import calls
from bulksend.client.answers import Event, RefusedMessage, SentMessage
from bulksend.client.calls import (
    STREAM_SILENCE_S,
    Again,
    Answered,
    Call,
    at,
    call,
    judge,
    same,
    stream_call,
)
from bulksend.client.connection import Address, request_of
from bulksend.client.event_stream import StreamReader
from bulksend.client.retries import Retries
from bulksend.client.shapes import (
    Campaign,
    CampaignChanges,
    CloneOptions,
    EventFilters,
    Message,
    MessageFilters,
)

T = TypeVar("T")


class AsyncClient:
    """Belongs to one event loop. Each method raises ApiRefused, and ApiUnreachable when no answer came in all tries."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout_s: float = 10.0,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``url`` is where ``bulksend serve`` answers, ``key`` one of ``bulksend keys add``. Raises ValueError."""
        self._address = Address(url, key)
        self._timeout_s = timeout_s
        self._retries = retries or Retries()
        self._sleep = sleep
        self._http = httpx.AsyncClient(
            base_url=self._address.url, headers=self._address.headers, transport=transport
        )

    @classmethod
    def from_env(cls) -> AsyncClient:
        """A client for BULKSEND_URL with BULKSEND_API_KEY. Raises ValueError when one is missing."""
        address = Address.from_env()
        return cls(address.url, address.key)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    # -- messages -----------------------------------------------------------------------------------------

    async def send(self, *, idempotency_key: str | None = None, **message: Unpack[Message]) -> SentMessage:
        """Send one message; returns when it is stored, or with ``wait_seconds`` when it has ended."""
        return await self._do(calls.send(message, idempotency_key))

    async def send_many(
        self, messages: Iterable[Message], *, idempotency_key: str | None = None
    ) -> list[SentMessage | RefusedMessage]:
        """Send any number of messages, each stored or refused by itself; a result for each, in their order."""
        return [
            result for made in calls.send_many(messages, idempotency_key) for result in await self._do(made)
        ]

    async def message(self, id: str) -> dict[str, Any]:
        """One message with its attempts, receipts and acts."""
        return await self._do(call("GET", at("messages", id), read=same))

    async def why(self, id: str) -> dict[str, Any]:
        """Which gate holds a message, and the earliest time it can be sent."""
        return await self._do(call("GET", at("messages", id, "why"), read=same))

    def messages(self, **filters: Unpack[MessageFilters]) -> AsyncIterator[dict[str, Any]]:
        """All messages that match, the newest first, page by page."""
        return self.pages(at("messages"), filters)

    async def resolve(
        self, id: str, *, as_: str, why: str, idempotency_key: str | None = None
    ) -> dict[str, Any]:
        """Resolve an unknown message as ``accepted``, ``failed`` or ``resend``."""
        body = {"as": as_, "why": why}
        return await self._do(
            call("POST", at("messages", id, "resolve"), body, read=same, key=idempotency_key)
        )

    # -- campaigns ----------------------------------------------------------------------------------------

    async def create_campaign(
        self,
        rows: Sequence[Mapping[str, Any]],
        *,
        idempotency_key: str | None = None,
        **campaign: Unpack[Campaign],
    ) -> dict[str, Any]:
        """Send a campaign of some rows, each with ``to`` and the content's variables."""
        return await self._do(calls.campaign_of_rows(campaign, rows, idempotency_key))

    async def upload_campaign(
        self, file: Path | str, *, idempotency_key: str | None = None, **campaign: Unpack[Campaign]
    ) -> dict[str, Any]:
        """Send a campaign of a CSV, XLSX or JSON lines file of any size."""
        return await self._do(calls.campaign_of_file(campaign, Path(file), idempotency_key))

    async def plan_campaign(
        self,
        people: Path | str | Sequence[Mapping[str, Any]],
        *,
        idempotency_key: str | None = None,
        **campaign: Unpack[Campaign],
    ) -> dict[str, Any]:
        """What a campaign of a file, or of rows, would do, frozen as a plan. Nothing is sent."""
        return await self._do(calls.plan_of(campaign, people, idempotency_key))

    async def plan(self, id: str) -> dict[str, Any]:
        """One plan."""
        return await self._do(call("GET", at("plans", id), read=same))

    async def apply_plan(self, id: str) -> dict[str, Any]:
        """Send exactly what a plan says. A repeated call sends nothing twice; ApiRefused if anything changed."""
        return await self._do(calls.apply_plan(id))

    async def clone_campaign(
        self,
        id: str,
        file: Path | str,
        *,
        idempotency_key: str | None = None,
        **own: Unpack[CloneOptions],
    ) -> dict[str, Any]:
        """Send a file with the sender, kind, content and options of a campaign."""
        return await self._do(calls.clone_of(own, id, Path(file), idempotency_key))

    async def breakdown(self, id: str) -> dict[str, Any]:
        """How far the messages of a campaign came, by country, hour and reason; it takes some seconds a million."""
        return await self._do(call("GET", at("campaigns", id, "breakdown"), read=same, waits_s=600.0))

    async def report(self, id: str) -> str:
        """The same as one HTML page with charts."""
        return await self._do(calls.report(id))

    async def campaign(self, id: str) -> dict[str, Any]:
        """One campaign, by id or name, with its counts and its progress."""
        return await self._do(call("GET", at("campaigns", id), read=same))

    def campaigns(
        self, *, status: str | None = None, kind: str | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """All campaigns that match, the newest first, page by page."""
        return self.pages(at("campaigns"), {"status": status, "kind": kind})

    async def change_campaign(self, id: str, **changes: Unpack[CampaignChanges]) -> dict[str, Any]:
        """Change the rate, due time or name of a campaign while it runs."""
        return await self._do(call("PATCH", at("campaigns", id), changes, read=same))

    async def act(
        self, id: str, act: str, *, why: str | None = None, idempotency_key: str | None = None
    ) -> dict[str, Any]:
        """``pause``, ``resume``, ``cancel`` or ``retry`` a campaign, on record."""
        body = {} if why is None else {"why": why}
        return await self._do(call("POST", at("campaigns", id, act), body, read=same, key=idempotency_key))

    # -- events -------------------------------------------------------------------------------------------

    async def events(self, after: str | None = None, **filters: Unpack[EventFilters]) -> AsyncIterator[Event]:
        """The events after a number up to now, by default from the oldest that is kept."""
        async for item in self.pages(at("events"), {"after": after, **filters}):
            yield Event.of(item)

    async def follow(self, after: str | None = None, **filters: Unpack[EventFilters]) -> AsyncIterator[Event]:
        """Events as they happen, without end: after a number, by default from now on.

        A lost connection is opened again where it broke off: no event is missed, and none comes twice.
        """
        reader = StreamReader(after)
        attempt = 0
        while True:
            made = stream_call(reader, filters)
            result: Answered | Exception
            try:
                async with self._http.stream(**request_of(made, ExitStack(), STREAM_SILENCE_S)) as reply:
                    if reply.is_success:
                        attempt = 0
                        async for line in reply.aiter_lines():
                            if (item := reader.feed(line)) is not None:
                                yield Event.of(item)
                    else:
                        await reply.aread()
                    result = Answered(
                        reply.status_code, dict(reply.headers), reply.content if not reply.is_success else b""
                    )
            except (httpx.HTTPError, ValueError) as error:
                # An event cut in its middle is a lost connection too.
                result = error
            reader.break_off()
            again = judge(made, result, self._retries, attempt, random.random())
            await self._sleep(again.seconds if isinstance(again, Again) else self._retries.base_s)
            attempt += 1

    # -- all else -----------------------------------------------------------------------------------------

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """Any endpoint of docs/http.md, such as ``call("POST", "/v1/suppressions", {…})``; its JSON."""
        return await self._do(call(method, path, body, read=same, params=params, key=idempotency_key))

    async def pages(
        self, path: str, filters: Mapping[str, Any] | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """The items of a list, over all its pages."""
        after = (filters or {}).get("after")
        while True:
            page = await self._do(call("GET", path, read=same, params={**(filters or {}), "after": after}))
            for item in page["items"]:
                yield item
            after = page["next"]
            if after is None:
                return

    async def _do(self, made: Call[T]) -> T:
        attempt = 0
        while isinstance(
            result := judge(made, await self._try(made), self._retries, attempt, random.random()), Again
        ):
            await self._sleep(result.seconds)
            attempt += 1
        return result

    async def _try(self, made: Call[Any]) -> Answered | Exception:
        with ExitStack() as files:
            try:
                reply = await self._http.request(**request_of(made, files, self._timeout_s))
            except httpx.HTTPError as error:
                return error
        return Answered(reply.status_code, dict(reply.headers), reply.content)
