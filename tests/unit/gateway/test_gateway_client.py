"""The client over a scripted transport: what it sends, and that it raises nothing."""

from __future__ import annotations

import asyncio
import json

import bulksend.gateway
from bulksend.gateway import (
    Credentials,
    Failure,
    RawReply,
    SendOrder,
    VendorClient,
)
from bulksend.messaging.outcome import Accepted, NotSent, Retry, Unknown
from bulksend.messaging.states import MessageType
from tests.gateway_posts import Script, send

ORDER = SendOrder("8615000579987", "447731688264", MessageType.TEXT, '{"body":"hello"}')
NOW_SECONDS = 1_700_000_000


def reply(fields: object) -> RawReply:
    return RawReply(200, {}, json.dumps(fields).encode())


def client_of(script: Script) -> VendorClient:
    nonces = iter(f"nonce-{number}" for number in range(1, 100))
    return VendorClient(
        script,
        Credentials("key", "secret", 8899),
        clock=lambda: NOW_SECONDS + 0.9,
        nonce=lambda: next(nonces),
    )


GOOD = {"RetCode": 0, "Data": {"MessageId": "m-1"}, "RequestId": "r-1"}


def test_a_send_is_one_post_with_a_nonce_of_its_own() -> None:
    script = Script([reply(GOOD), reply(GOOD)])
    client = client_of(script)

    async def twice() -> None:
        for _ in range(2):
            assert (await send(client, ORDER)).outcome == Accepted("m-1", "r-1")

    asyncio.run(twice())
    assert [headers["X-Nonce"] for _, headers in script.posts] == ["nonce-1", "nonce-2"]
    assert [headers["X-Timestamp"] for _, headers in script.posts] == [str(NOW_SECONDS)] * 2
    assert json.loads(script.posts[0][0])["To"] == "447731688264"


def test_a_failure_becomes_an_answer_and_is_not_tried_again() -> None:
    script = Script([Failure("ReadTimeout", True, False, "wait")])
    answer = asyncio.run(send(client_of(script), ORDER))
    assert isinstance(answer.outcome, Unknown)
    assert len(script.posts) == 1


def test_without_a_connection_its_failure_is_the_answer_and_nothing_is_posted() -> None:
    script = Script([], connects=Failure("ConnectError", False, False, "connect"))
    answer = asyncio.run(send(client_of(script), ORDER))
    assert isinstance(answer.outcome, NotSent)
    assert answer.evidence.error == "ConnectError"
    assert script.posts == []


def test_a_post_that_can_never_be_sent_is_answered_at_once() -> None:
    script = Script([], refuses=Failure("InvalidHeader", False, False, "send", local=True))
    answer = asyncio.run(send(client_of(script), ORDER))
    assert isinstance(answer.outcome, NotSent)
    assert answer.outcome.remedy.alert
    assert script.posts == []


def test_a_post_that_may_not_begin_has_no_answer() -> None:
    script = Script([reply(GOOD)])

    async def run() -> None:
        client = client_of(script)
        assert client.post(ORDER, lambda: False, lambda answer: None) is None
        assert (client.idle_connections(), client.connections_left()) == (1, 0)

    asyncio.run(run())
    assert script.posts == []


def test_content_that_cannot_be_encoded_fails_that_message_and_posts_nothing() -> None:
    script = Script([])
    order = SendOrder("8615000579987", "447731688264", MessageType.TEXT, '{"body":"\ud800"}')
    answer = asyncio.run(send(client_of(script), order))
    assert isinstance(answer.outcome, NotSent)
    assert answer.outcome.remedy.retry is Retry.NEVER
    assert script.posts == []


def test_closing_the_client_closes_its_transport() -> None:
    script = Script([])
    asyncio.run(client_of(script).aclose())
    assert script.closed


def test_the_package_exports_exactly_these_names() -> None:
    assert set(bulksend.gateway.__all__) == {
        "Credentials",
        "Failure",
        "Family",
        "PhoneList",
        "RawReply",
        "SendOrder",
        "Timeouts",
        "Transport",
        "VendorClient",
        "build_call",
        "build_request",
        "canonical",
        "find_row",
        "new_nonce",
        "outcome_of",
        "read_failure",
        "read_reply",
        "sign",
        "table_rows",
        "whatsapp_code_in",
    }
    assert all(hasattr(bulksend.gateway, name) for name in bulksend.gateway.__all__)


def test_neither_a_reply_nor_a_failure_shows_a_body() -> None:
    assert "482913" not in repr(RawReply(200, {"x": "y"}, b"code 482913"))
    assert repr(Failure("ReadError", True, False, "wait")).startswith("Failure(error='ReadError'")
