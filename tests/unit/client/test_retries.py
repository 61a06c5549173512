"""When the client tries a call again, and with which key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulksend.client import ApiError, ApiRefused, ApiUnreachable, AsyncClient, Client, Retries

URL, KEY = "http://127.0.0.1:1", "bsk_test_key"
SENT = {"id": "m-1", "status": "queued", "repeated": False}
MESSAGE: dict[str, Any] = {
    "to": "447700900123",
    "sender": "8615000579987",
    "kind": "otp",
    "type": "text",
    "content": {"body": "hello"},
}

Answer = httpx.Response | Exception


class Api:
    """Answers from a list, and keeps what was asked."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.asked: list[httpx.Request] = []
        self.slept: list[float] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def keys(self) -> list[str | None]:
        return [request.headers.get("Idempotency-Key") for request in self.asked]

    def send(self, **options: Any) -> Any:
        client = Client(URL, KEY, transport=httpx.MockTransport(self.answer), sleep=self.slept.append)
        return client.send(**MESSAGE, **options)

    def send_async(self, **options: Any) -> Any:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        async def main() -> Any:
            async with AsyncClient(
                URL, KEY, transport=httpx.MockTransport(self.answer), sleep=sleep
            ) as client:
                return await client.send(**MESSAGE, **options)

        return asyncio.run(main())


BOTH = pytest.mark.parametrize("send", [Api.send, Api.send_async], ids=["sync", "async"])
Send = Callable[..., Any]


def problem(status: int, code: str = "x", **headers: str) -> httpx.Response:
    body = {"detail": f"because {code}", "code": code, "errors": [{"field": "to", "row": None, "why": "no"}]}
    return httpx.Response(status, json=body, headers=headers)


@BOTH
def test_a_retry_uses_the_same_idempotency_key(send: Send) -> None:
    api = Api(httpx.ReadTimeout("slow"), problem(503), httpx.Response(202, json=SENT))
    assert send(api).id == "m-1"
    assert len(set(api.keys)) == 1
    assert api.keys[0]
    assert len(api.slept) == 2


@BOTH
def test_two_calls_have_two_keys_and_a_callers_own_is_kept(send: Send) -> None:
    api = Api(*[httpx.Response(202, json=SENT)] * 3)
    send(api)
    send(api)
    send(api, idempotency_key="mine")
    assert len(set(api.keys)) == 3
    assert api.keys[2] == "mine"


@BOTH
def test_a_refusal_is_raised_at_once_with_its_fields(send: Send) -> None:
    api = Api(problem(422, "invalid_value"))
    with pytest.raises(ApiRefused, match="because invalid_value") as caught:
        send(api)
    assert (caught.value.status, caught.value.code, caught.value.errors[0]["field"]) == (
        422,
        "invalid_value",
        "to",
    )
    assert api.slept == []


@BOTH
def test_without_an_answer_the_error_has_the_key_to_repeat_the_call(send: Send) -> None:
    api = Api(*[httpx.ConnectError("to 127.0.0.1")] * 5)
    with pytest.raises(ApiUnreachable, match="may have been done") as caught:
        send(api, idempotency_key="mine")
    assert caught.value.idempotency_key == "mine"
    assert len(api.asked) == 5


@BOTH
def test_the_api_says_how_long_to_wait(send: Send) -> None:
    api = Api(
        problem(429, **{"Retry-After": "7"}),
        problem(409, **{"Retry-After": "1"}),
        httpx.Response(202, json=SENT),
    )
    send(api)
    assert api.slept[0] >= 7
    assert api.slept[1] >= 1


def test_a_conflict_without_a_wait_is_a_refusal() -> None:
    with pytest.raises(ApiRefused, match="because same_people"):
        Api(problem(409, "same_people")).send()


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"id": 1}'])
def test_an_answer_of_another_server_is_explained(body: bytes) -> None:
    with pytest.raises(ApiError, match="cannot be read"):
        Api(httpx.Response(200, content=body)).send()
    with pytest.raises(ApiRefused, match="HTTP 404"):
        Api(httpx.Response(404, content=body)).send()


def test_no_error_holds_a_number_of_the_path() -> None:
    api = Api(*[httpx.ConnectError("x")] * 5)
    client = Client(URL, KEY, transport=httpx.MockTransport(api.answer), sleep=lambda _: None)
    with pytest.raises(ApiUnreachable) as caught:
        client.message("447700900123")
    assert "447700900123" not in str(caught.value)


def test_a_long_wait_for_an_ending_is_not_cut_by_the_timeout() -> None:
    api = Api(httpx.Response(202, json=SENT))
    api.send(wait_seconds=25)
    assert api.asked[0].extensions["timeout"]["read"] == 35


def test_a_time_without_a_zone_is_refused_before_anything_is_sent() -> None:
    api = Api(httpx.Response(202, json=SENT))
    with pytest.raises(ValueError, match="needs a zone"):
        api.send(send_at=datetime(2027, 1, 1))  # noqa: DTZ001 - what is tested
    api.send(send_at=datetime(2027, 1, 1, tzinfo=UTC))
    assert json.loads(api.asked[0].content)["send_at"] == "2027-01-01T00:00:00+00:00"


def test_each_request_of_a_long_list_has_a_key_of_its_own() -> None:
    many = httpx.Response(202, json={"items": [{"index": n, **SENT} for n in range(1000)]})
    api = Api(
        many,
        httpx.Response(
            202, json={"items": [{"index": 0, "error": {"code": "c", "field": "to", "why": "w"}}]}
        ),
    )
    client = Client(URL, KEY, transport=httpx.MockTransport(api.answer))
    results = client.send_many([MESSAGE] * 1001, idempotency_key="k")  # type: ignore[list-item]
    assert len(results) == 1001
    assert results[-1].why == "w"  # type: ignore[union-attr]
    assert api.keys == ["k:0", "k:1"]


def test_a_file_is_read_again_for_each_try(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("to\n447700900123\n")
    api = Api(problem(503), httpx.Response(202, json={"campaign_id": "c"}))
    client = Client(URL, KEY, transport=httpx.MockTransport(api.answer), sleep=lambda _: None)
    campaign: Any = {name: MESSAGE[name] for name in ("sender", "kind", "type", "content")}
    assert client.upload_campaign(file, name="n", **campaign) == {"campaign_id": "c"}
    assert all(b"447700900123" in request.content for request in api.asked)


def test_address_and_key_are_needed() -> None:
    with pytest.raises(ValueError, match="BULKSEND_URL"):
        Client("", KEY)
    with pytest.raises(ValueError, match="BULKSEND_API_KEY"):
        Client(URL, "")


@example(attempt=0, dice=0.0, status=None, asked="²")
@given(
    attempt=st.integers(0, 10),
    dice=st.floats(0, 1, exclude_max=True),
    status=st.none() | st.integers(400, 599),
    asked=st.none() | st.text(max_size=5) | st.integers(0, 10**6).map(str),
)
def test_a_wait_is_bounded_whatever_the_server_says(
    attempt: int, dice: float, status: int | None, asked: str | None
) -> None:
    wait_s = Retries(most=4).wait_s(attempt, dice, status=status, retry_after=asked)
    assert wait_s is None or 0 < wait_s <= 60
    assert attempt < 4 or wait_s is None
