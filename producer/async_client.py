"""The Python client for programs with an event loop: the methods of ``Producer``, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial, wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from bulksend.ledger.direct_sends import SendRequest
from producer.client import Producer, ready_message, wait_seconds
from producer.direct_sends import SendReceipt, receipt
from producer.send_batches import SendBatches
from producer.watching import Watching, read_statuses

if TYPE_CHECKING:
    from bulksend.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")


def _on_a_thread(
    method: Callable[Concatenate[Producer, P], R],
) -> Callable[Concatenate[AsyncProducer, P], Coroutine[Any, Any, R]]:
    """A method of Producer with the same arguments, on another thread."""

    @wraps(method)
    async def run(self: AsyncProducer, /, *args: P.args, **named: P.kwargs) -> R:
        return await asyncio.to_thread(method, self._producer, *args, **named)

    return run


class AsyncProducer:
    """Belongs to one event loop, which it never blocks. ``send`` stores the messages of all calls of a moment together.

    ``producer`` does the work; it is closed with this one.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._batches = SendBatches(producer.direct)
        self._watching = Watching(partial(read_statuses, producer.database))

    @classmethod
    def from_env(cls) -> AsyncProducer:
        """A producer with the settings of the environment and ``.env``. Raises InvalidInput when one is wrong."""
        return cls(Producer.from_env())

    @classmethod
    def from_settings(cls, settings: Settings) -> AsyncProducer:
        """A producer with these settings. Raises InvalidInput when the ledger cannot be used with them."""
        return cls(Producer.from_settings(settings))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def send(
        self,
        *,
        to: str,
        sender: str,
        kind: str,
        type: str,
        content: Mapping[str, object],
        ttl: timedelta | None = None,
        key: str | None = None,
        at: datetime | None = None,
        local_time: str | None = None,
        timezone: str | None = None,
        purpose: str | None = None,
        wait: timedelta | None = None,
    ) -> SendReceipt:
        """As ``Producer.send``, with what it raises. A call that is cancelled may have stored its message."""
        seconds = wait_seconds(wait)
        direct = self._producer.direct
        ready = ready_message(
            direct,
            to=to,
            sender=sender,
            kind=kind,
            type=type,
            content=content,
            ttl=ttl,
            key=key,
            at=at,
            local_time=local_time,
            timezone=timezone,
            purpose=purpose,
        )
        with self._producer.database.translated_errors():
            if not direct.knows(ready):
                await asyncio.to_thread(direct.register, ready)
            results = await self._batches.take(SendRequest([ready]))
        assert results is not None  # another request has the claim: there is none
        taken = receipt(ready.send, results[0], at="at", ttl="ttl")
        return replace(taken, status=await self._watching.ending(taken.id, taken.status, seconds))

    send_many = _on_a_thread(Producer.send_many)
    submit = _on_a_thread(Producer.submit)
    plan = _on_a_thread(Producer.plan)
    apply = _on_a_thread(Producer.apply)

    async def close(self) -> None:
        """Close the ledger's connections, when the calls under way are done."""
        await self._batches.idle()
        self._batches.close()
        self._watching.close()
        await asyncio.to_thread(self._producer.close)
