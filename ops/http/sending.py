"""``POST /v1/messages`` on the event loop: read, store with all requests of the moment, answer, perhaps wait."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic_core import from_json
from starlette.types import Scope

from bulksend.errors import BulksendError, InvalidInput, InvalidValue, RequestRunning, TooLate, code_of
from bulksend.ledger.direct_sends import DirectResult, SendRequest
from bulksend.ledger.idempotency import Answer
from bulksend.messaging import Status
from bulksend.messaging.json_encoding import make_json_encoder
from bulksend.operations.access import Principal
from bulksend.operations.idempotency import Keyed, keyed
from ops.http.idempotency import hash_of, scope_of
from ops.http.message_json import MOST_MESSAGES, MOST_WAIT_S
from ops.http.problems import without_numbers
from ops.http.services import Services
from producer.direct_sends import DirectSends, ReadySend, receipt
from producer.send_batches import SendBatches
from producer.watching import Watching, read_statuses

_dump = make_json_encoder(separators=(",", ":"))


@dataclass(slots=True)
class _Item:
    """One message of a request: ready to be stored, or refused."""

    ready: ReadySend | None = None
    error: BulksendError | None = None
    wait_s: float = 0.0


class Sending:
    """Belongs to one event loop."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._direct: DirectSends = services.producer.direct
        self._batches = SendBatches(self._direct)
        self._watching = Watching(partial(read_statuses, services.sends))

    async def answer(
        self, scope: Scope, body: bytes, given: str | None, principal: Principal
    ) -> tuple[bytes, bool]:
        """The JSON of the answer, and whether it was given before; ``given`` is the Idempotency-Key.

        Raises InvalidInput, LedgerUnreachable and what they are the base of.
        """
        key = None if given is None else self._keyed(given, scope, principal, body)
        asked = _parsed(body)
        many = _listed(asked)
        items = [
            self._read(message, principal, None if key is None else f"{key.key}:{n}")
            for n, message in enumerate([asked] if many is None else many)
        ]
        await self._register_senders(items)
        if many is None and items[0].error is not None:
            raise items[0].error
        made, replayed = await self._stored(items, key, single=many is None)
        await self._wait(made, items)
        return _dump(made).encode(), replayed

    def _keyed(self, given: str, scope: Scope, principal: Principal, body: bytes) -> Keyed:
        return keyed(
            given, scope=scope_of(scope, principal), body=hash_of(scope, body), cipher=self._services.cipher
        )

    def _read(self, message: object, principal: Principal, key: str | None) -> _Item:
        try:
            wait_s = 0.0
            if isinstance(message, dict) and "wait_seconds" in message:
                wait_s = _wait_s(message.pop("wait_seconds"))
            return _Item(self._direct.read(message, key=key, allow=principal.check_send), None, wait_s)
        except BulksendError as error:
            return _Item(error=error)

    async def _register_senders(self, items: Sequence[_Item]) -> None:
        """Put new senders on record, and refuse what cannot be, or does not fit its template."""
        for item in items:
            if item.ready is None:
                continue
            try:
                if not self._direct.knows(item.ready):
                    await asyncio.to_thread(self._direct.register, item.ready)
            except InvalidInput as error:
                item.ready, item.error = None, error

    async def _stored(
        self, items: Sequence[_Item], key: Keyed | None, *, single: bool
    ) -> tuple[dict[str, Any], bool]:
        """The answer's JSON, and whether it was given before."""
        ready = [item.ready for item in items if item.ready is not None]

        def shown(results: Sequence[DirectResult]) -> dict[str, Any]:
            return _shown(items, results, single=single)

        def kept(results: Sequence[DirectResult]) -> Answer | None:
            try:
                return Answer(202, _dump(shown(results)))
            except InvalidInput:
                return None  # a single message that is refused

        if not ready:
            return shown([]), False
        taken = await self._batches.take(SendRequest(ready, None if key is None else key.claim, kept))
        if taken is not None:
            return shown(taken), False
        assert key is not None
        earlier = await asyncio.to_thread(self._earlier, key)
        if earlier is None:
            raise RequestRunning("the first request with this Idempotency-Key is still running; ask again")
        found: dict[str, Any] = from_json(earlier.body)
        return found, True

    def _earlier(self, key: Keyed) -> Answer | None:
        sends = self._services.sends
        with sends.translated_errors(), sends.read() as tx:
            return key.earlier(tx, self._services.cipher)

    async def _wait(self, made: dict[str, Any], items: Sequence[_Item]) -> None:
        """Wait for the messages whose callers ask for it, and show the status that they have then."""
        shown = made.get("items", [made])
        waiting = [
            (each, item.wait_s)
            for each, item in zip(shown, items, strict=True)
            if item.wait_s and "id" in each
        ]
        if waiting:
            seen = await asyncio.gather(
                *(
                    self._watching.ending(each["id"], Status(each["status"]), wait_s)
                    for each, wait_s in waiting
                )
            )
            for (each, _), status in zip(waiting, seen, strict=True):
                each["status"] = status.value


def _shown(items: Sequence[_Item], results: Sequence[DirectResult], *, single: bool) -> dict[str, Any]:
    """The answer's JSON. Raises InvalidInput for a single message that is refused."""
    left = iter(results)
    shown: list[dict[str, Any]] = []
    for index, item in enumerate(items):
        error = item.error
        if item.ready is not None:
            try:
                made = receipt(item.ready.send, next(left))
                one = {"id": made.id, "status": made.status.value, "repeated": made.repeated}
                if single:
                    return one
                shown.append({"index": index, **one})
                continue
            except InvalidInput as refused:
                if single:
                    raise
                error = refused
        assert error is not None
        shown.append({"index": index, "error": _error(error)})
    return {"items": shown}


def _error(error: BulksendError) -> dict[str, Any]:
    field, why = (error.field, error.why) if isinstance(error, InvalidValue) else (None, str(error))
    shown: dict[str, Any] = {
        "code": code_of(type(error)),
        "field": None if field is None else without_numbers(field),
        "why": without_numbers(why),
    }
    return shown | {"wait_seconds": error.wait_seconds} if isinstance(error, TooLate) else shown


def _parsed(body: bytes) -> object:
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidValue("body", "", f"is not JSON: {error}") from None


def _listed(asked: object) -> list[object] | None:
    """The messages of a request for several; None for a single one."""
    if not isinstance(asked, dict):
        raise InvalidValue("body", "", "must be a message, or an object with messages")
    if "messages" not in asked:
        return None
    messages_ = asked["messages"]
    if len(asked) > 1:
        raise InvalidValue("messages", "", "must be the only field; each message has its own fields")
    if not isinstance(messages_, list) or not 1 <= len(messages_) <= MOST_MESSAGES:
        raise InvalidValue("messages", "", f"must be a list of 1 to {MOST_MESSAGES:,} messages")
    return messages_


def _wait_s(given: object) -> float:
    if given is None:
        return 0.0
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= MOST_WAIT_S:
        raise InvalidValue("wait_seconds", "", f"must be a number from 0 to {MOST_WAIT_S}")
    return float(given)
