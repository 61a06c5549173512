"""A body is JSON by its header, or the form of an upload, and not encoded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from ops.http.body_limits import BodyLimits, UnsupportedType

JSON = (b"content-type", b"application/json")
FORM = (b"content-type", b"multipart/form-data; boundary=x")
BODY, CHUNKS = (b"content-length", b"2"), (b"transfer-encoding", b"chunked")


def read(*headers: tuple[bytes, bytes], path: str = "/v1/things") -> bytes:
    """The body, as an application behind the limits reads it."""
    found: list[bytes] = []

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        found.append((await receive())["body"])

    async def receive() -> Message:
        return {"type": "http.request", "body": b"{}"}

    scope = {"type": "http", "method": "POST", "headers": headers, "route": Route(path, app)}
    asyncio.run(BodyLimits(app)(scope, receive, lambda _: asyncio.sleep(0)))
    return found[0]


@pytest.mark.parametrize(
    "headers",
    [
        (JSON, BODY),
        ((b"content-type", b"Application/JSON; charset=utf-8"), BODY),
        ((b"content-type", b"application/vnd.shop+json"), CHUNKS),
        (JSON, BODY, (b"content-encoding", b"identity")),
        # No body.
        ((b"content-type", b"application/x-www-form-urlencoded"),),
        ((b"content-type", b"text/plain"), (b"content-length", b"0")),
    ],
)
def test_json_is_read(headers: Any) -> None:
    assert read(*headers) == b"{}"


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ((BODY,), "Content-Type: application/json"),
        (((b"content-type", b"text/plain"), BODY), "Content-Type: application/json"),
        ((FORM, BODY), "Content-Type"),
        (((b"content-type", b"text/json"), CHUNKS), "Content-Type"),
        ((JSON, BODY, (b"content-encoding", b"gzip")), "without Content-Encoding"),
    ],
)
def test_another_body_is_refused_with_415(headers: Any, why: str) -> None:
    with pytest.raises(UnsupportedType, match=why) as caught:
        read(*headers)
    assert caught.value.status_code == 415


def test_what_takes_a_form_reads_the_type_itself_but_takes_nothing_encoded() -> None:
    assert read(FORM, BODY, path="/v1/campaigns") == b"{}"
    with pytest.raises(UnsupportedType, match="encoded"):
        read(FORM, BODY, (b"content-encoding", b"gzip"), path="/v1/campaigns")
