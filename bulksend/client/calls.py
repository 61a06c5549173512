"""Each call of the API as a value: what is sent, and what its answer means. Pure; the clients do the I/O."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote

from bulksend.client.answers import ApiError, ApiRefused, ApiUnreachable, RefusedMessage, SentMessage
from bulksend.client.event_stream import StreamReader
from bulksend.client.retries import Retries
from bulksend.client.shapes import Campaign, CloneOptions, Message, as_json

T = TypeVar("T")
#: The most messages of one request.
MOST_MESSAGES = 1000


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request. ``file`` is sent with ``body`` as multipart."""

    method: str
    path: str
    read: Callable[[Any], T]
    body: Any = None
    params: Mapping[str, Any] = field(default_factory=dict)
    file: Path | None = None
    key: str | None = None
    """Its Idempotency-Key."""
    waits_s: float = 0.0
    """How much longer than usual its answer may take."""
    is_text: bool = False
    """Whether its answer is a text and not JSON."""


def call(
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    read: Callable[[Any], T],
    params: Mapping[str, Any] | None = None,
    key: str | None = None,
    file: Path | None = None,
    waits_s: float = 0.0,
) -> Call[T]:
    """A call; a POST without ``key`` gets an Idempotency-Key of its own, which its retries use."""
    if method == "POST" and key is None:
        key = str(uuid.uuid4())
    return Call(
        method,
        path,
        read,
        None if body is None else as_json(body),
        {name: as_json(value) for name, value in (params or {}).items() if value is not None},
        file,
        key,
        waits_s,
    )


def at(*parts: str) -> str:
    """A path; ids may hold any character."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


CAMPAIGNS = at("campaigns")


def same(answer: Any) -> Any:
    """The answer as it is."""
    return answer


def send(message: Message, key: str | None) -> Call[SentMessage]:
    """One message."""
    waits_s = float(message.get("wait_seconds", 0.0))
    return call("POST", at("messages"), message, read=SentMessage.of, key=key, waits_s=waits_s)


def send_many(
    messages: Iterable[Message], key: str | None
) -> Iterator[Call[list[SentMessage | RefusedMessage]]]:
    """Any number of messages, in requests of at most MOST_MESSAGES."""
    left = iter(messages)
    number = 0
    while chunk := list(islice(left, MOST_MESSAGES)):
        part = None if key is None else f"{key}:{number}"
        waits_s = max(float(message.get("wait_seconds", 0.0)) for message in chunk)
        yield call("POST", at("messages"), {"messages": chunk}, read=_many, key=part, waits_s=waits_s)
        number += 1


def _many(answer: Mapping[str, Any]) -> list[SentMessage | RefusedMessage]:
    return [
        RefusedMessage.of(item["error"]) if "error" in item else SentMessage.of(item)
        for item in answer["items"]
    ]


def campaign_of_rows(
    campaign: Campaign, rows: Sequence[Mapping[str, Any]], key: str | None, path: str = CAMPAIGNS
) -> Call[dict[str, Any]]:
    """A campaign whose rows are part of the request, or its plan."""
    return call("POST", path, {**campaign, "rows": list(rows)}, read=same, key=key, waits_s=30.0)


def plan_of(
    campaign: Campaign, people: Path | str | Sequence[Mapping[str, Any]], key: str | None
) -> Call[dict[str, Any]]:
    """The plan of a file, or of rows."""
    if isinstance(people, Path | str):
        return campaign_of_file(campaign, Path(people), key, at("plans"))
    return campaign_of_rows(campaign, people, key, at("plans"))


def apply_plan(id: str) -> Call[dict[str, Any]]:
    """Send what a plan says."""
    return call("POST", at("plans", id, "apply"), read=same, waits_s=600.0)


def clone_of(own: CloneOptions, id: str, file: Path, key: str | None) -> Call[dict[str, Any]]:
    """A file with the content and options of a campaign."""
    return campaign_of_file(own, file, key, at("campaigns", id, "clone"))


def campaign_of_file(
    campaign: Campaign | CloneOptions, file: Path, key: str | None, path: str = CAMPAIGNS
) -> Call[dict[str, Any]]:
    """A campaign of a CSV, XLSX or JSON lines file; with another ``path`` its plan, or a clone."""
    return call(
        "POST",
        path,
        cast("Mapping[str, Any]", campaign),
        read=same,
        key=key,
        file=file,
        waits_s=600.0,
    )


def report(id: str) -> Call[str]:
    """The report of a campaign: a page, where all else is JSON."""
    return replace(call("GET", at("campaigns", id, "report"), read=str, waits_s=600.0), is_text=True)


#: A stream says at least this often that it is alive, with a margin.
STREAM_SILENCE_S = 45.0


def stream_call(reader: StreamReader, filters: Mapping[str, Any]) -> Call[None]:
    """The stream of events from where its reader is."""
    return call(
        "GET", at("events", "stream"), read=lambda _: None, params={**filters, "after": reader.last_id}
    )


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer: status, headers in small letters, and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Again:
    """The call is tried again after this many seconds."""

    seconds: float


def judge(
    made: Call[T], result: Answered | Exception, retries: Retries, attempt: int, dice: float
) -> T | Again:
    """What follows from one try: the value, or another try. ``attempt`` counts from 0.

    Raises ApiRefused, ApiUnreachable when all tries are spent, ApiError for an answer that cannot be read.
    """
    answered = result if isinstance(result, Answered) else None
    if answered is None or answered.status >= 400:
        wait_s = retries.wait_s(
            attempt,
            dice,
            status=None if answered is None else answered.status,
            retry_after=None if answered is None else answered.headers.get("retry-after"),
        )
        if wait_s is not None:
            return Again(wait_s)
        raise _error_of(made, result)
    try:
        if made.is_text:
            return made.read(answered.body.decode())
        return made.read(json.loads(answered.body) if answered.body else None)
    except (ValueError, KeyError, TypeError) as error:
        raise ApiError(
            f"{made.method} {_route_of(made)}: the answer cannot be read ({type(error).__name__}); is this the API?",
            request_id=answered.headers.get("x-request-id"),
            idempotency_key=made.key,
        ) from None


def _error_of(made: Call[Any], result: Answered | Exception) -> ApiError:
    if isinstance(result, Exception):
        # Without its text, which may hold the address.
        return ApiUnreachable(
            f"{made.method} {_route_of(made)}: no answer ({type(result).__name__}); it may have been done. Does "
            "`bulksend serve` run at this address?",
            idempotency_key=made.key,
        )
    try:
        problem = json.loads(result.body)
        detail, code, errors = problem["detail"], problem["code"], problem.get("errors", ())
        wait_seconds = problem.get("wait_seconds")
    except (ValueError, KeyError, TypeError, AttributeError):
        detail, code, errors, wait_seconds = f"HTTP {result.status}", "http_error", (), None
    request_id = result.headers.get("x-request-id")
    if result.status >= 500:
        return ApiUnreachable(detail, request_id=request_id, idempotency_key=made.key)
    return ApiRefused(
        detail,
        status=result.status,
        code=code,
        errors=errors,
        wait_seconds=wait_seconds,
        request_id=request_id,
        idempotency_key=made.key,
    )


def _route_of(made: Call[Any]) -> str:
    """The path without ids, which may be numbers."""
    return "/".join(made.path.split("/")[:3])
