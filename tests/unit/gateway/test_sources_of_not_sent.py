""" "Not sent" needs the vendor's envelope and a source for its code."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.gateway import Credentials, RawReply, SendOrder, VendorClient, read_reply
from bulksend.messaging import (
    AttemptedMessage,
    Decision,
    Kind,
    MessageType,
    OnUnknown,
    Policy,
    Status,
    Unknown,
    decide,
)
from tests.gateway_posts import Script, send

#: RetCodes whose documented meaning is that the vendor turned the request away (reference 1.4), and 17115, "send
#: message failed". Transcribed here: the table must not be its own witness.
SAYS_NOT_SENT = frozenset(
    {153, 160, 161, 170, 171, 172, 173, 174, 180, *range(290, 296), 299, 17100, 17102, 17110, 17115, 17125}
)


def decided(status: int, body: bytes, kind: Kind) -> Decision:
    subject = AttemptedMessage(kind=kind, tries=0, waits=0, expires_at_ms=None, on_unknown=OnUnknown.HOLD)
    return decide(read_reply(status, {}, body).outcome, subject, Policy(), 1_000_000, 0.5)


def envelope(code: int, message: str = "") -> bytes:
    return json.dumps({"Action": "SendMessageResponse", "RetCode": code, "Message": message}).encode()


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("code", [130, 150, 151, 200])
def test_a_fault_of_the_vendors_gateway_is_unknown(code: int, kind: Kind) -> None:
    """No source says that a gateway with a fault has not passed the request on."""
    decision = decided(200, envelope(code), kind)
    assert decision.status is Status.UNKNOWN
    assert decision.outage is True


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("body", [b"", b"<html>503</html>", b'{"error":"busy"}', b'{"Message":"no RetCode"}'])
def test_without_the_vendors_envelope_no_http_status_says_that_nothing_was_sent(
    body: bytes, kind: Kind
) -> None:
    """A proxy may answer anything after it passed the request on: 503, 429, 404, a redirect, a login page."""
    for status in range(200, 600):
        decision = decided(status, body, kind)
        assert (decision.status, decision.outage) == (Status.UNKNOWN, True), status


@given(st.integers(1, 2**31 - 1) | st.integers(1, 400) | st.integers(17_000, 17_300), st.sampled_from(Kind))
def test_only_codes_with_a_source_have_another_outcome_than_unknown(code: int, kind: Kind) -> None:
    decision = decided(200, envelope(code), kind)
    assert (decision.status is not Status.UNKNOWN) == (code in SAYS_NOT_SENT)


@pytest.mark.parametrize("code", sorted(SAYS_NOT_SENT))
def test_a_refusal_beside_a_message_id_is_unknown(code: int) -> None:
    """The vendor gives a MessageId to what it takes: an answer that says both is no proof of either."""
    body = json.dumps({"RetCode": code, "Message": "", "Data": {"MessageId": "wamid.1"}}).encode()
    answer = read_reply(200, {}, body)
    assert isinstance(answer.outcome, Unknown)
    assert answer.evidence.message_id == "wamid.1"


@pytest.mark.parametrize("code", [17115, 17125, 17110])
@pytest.mark.parametrize(
    "names",
    [
        *(
            {"Data": {"MessageId": odd}}
            for odd in ("x" * 257, "a\x00b", "\ud800", ["m"], {"id": "m"}, True, 7, 1.5)
        ),
        {"MessageId": "m"},
        {"Data": [{"MessageId": "m"}]},
        {"Data": [None, {"MessageId": "m"}]},
    ],
)
def test_a_message_id_of_any_form_or_place_makes_a_refusal_unknown(
    names: dict[str, object], code: int
) -> None:
    """It need not be one that the ledger can hold to say that the vendor took the message."""
    body = json.dumps({"RetCode": code, "Message": "", **names}).encode()
    assert isinstance(read_reply(200, {}, body).outcome, Unknown)


@pytest.mark.parametrize("nothing", [None, "", " ", "\t"])
def test_an_empty_message_id_is_none(nothing: object) -> None:
    body = json.dumps({"RetCode": 17115, "Message": "", "Data": {"MessageId": nothing}}).encode()
    assert not isinstance(read_reply(200, {}, body).outcome, Unknown)


def test_data_after_a_compressed_answer_is_part_of_it() -> None:
    """A second gzip member goes on with the body: two answers are none."""
    refusal, success = envelope(17115), b'{"RetCode":0,"Data":{"MessageId":"m"}}'
    for more in (gzip.compress(success), gzip.compress(refusal), b"junk"):
        answer = read_reply(200, {"Content-Encoding": "gzip"}, gzip.compress(refusal) + more)
        assert isinstance(answer.outcome, Unknown)


@pytest.mark.parametrize("code", sorted(SAYS_NOT_SENT - {17115}))
def test_a_refusal_with_a_source_is_a_refusal(code: int) -> None:
    for status in (200, 400, 403, 503):
        assert decided(status, envelope(code), Kind.OTP).status is not Status.UNKNOWN


@pytest.mark.parametrize("code", [503, 429, 404, 403, 302, 130, 150, 151, 200, 17112, 4242])
def test_an_operator_may_vouch_for_a_code_but_not_where_it_is_a_one_time_code(code: int) -> None:
    """``BULKSEND_NOT_SENT_CODES``: what follows then is what the table has for it."""
    body = b"" if 300 <= code < 600 else envelope(code)
    reply = RawReply(code if 300 <= code < 600 else 200, {}, body)
    for kind in Kind:
        client = VendorClient(Script([reply]), Credentials("key", "secret"), vouched=frozenset({code}))
        order = SendOrder("8615000579987", "447700900123", MessageType.TEXT, "{}", kind)
        outcome = asyncio.run(send(client, order)).outcome
        assert isinstance(outcome, Unknown) == (kind is Kind.OTP)
    strict = SendOrder("8615000579987", "447700900123", MessageType.TEXT, "{}")
    client = VendorClient(Script([reply]), Credentials("key", "secret"), vouched=frozenset({code}))
    assert isinstance(asyncio.run(send(client, strict)).outcome, Unknown)
