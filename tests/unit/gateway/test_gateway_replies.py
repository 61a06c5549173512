"""The outcome of each reply, and of each failure to get one."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.gateway import Failure, read_failure, read_reply
from bulksend.gateway.error_codes import TABLE, Family
from bulksend.messaging.outcome import (
    Accepted,
    Answer,
    NotSent,
    Refused,
    Retry,
    Scope,
    Throttled,
    Unknown,
)

REQUEST_ID = "8ea6c8f2-e23f-4816-9a48-243a40d66bfb"
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"


def answer_with(status: int = 200, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
    """The answer to the vendor's sample reply with some fields changed; a field of ... is left out."""
    sample: dict[str, Any] = {
        "Action": "SendMessageResponse",
        "Data": {"MessageId": "xxx"},
        "Message": "",
        "RequestId": REQUEST_ID,
        "RetCode": 0,
    }
    body = {name: value for name, value in (sample | fields).items() if value is not ...}
    return read_reply(status, headers or {}, json.dumps(body).encode())


def refused_by(code: int, message: str = "", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer_with(headers=named, RetCode=code, Message=message, Data=...)


# -- accepted --------------------------------------------------------------------------------------------


def test_the_vendors_sample_reply_is_accepted() -> None:
    answer = answer_with()
    assert answer.outcome == Accepted("xxx", REQUEST_ID)
    assert answer.evidence.http_status == 200
    assert answer.evidence.ret_code == 0
    assert answer.evidence.message_id == "xxx"
    assert answer.evidence.bytes_sent
    assert answer.evidence.reply_began


@pytest.mark.parametrize("ret_code", [0, "0", "00", "-0"])
def test_zero_may_be_a_number_or_its_digits(ret_code: object) -> None:
    assert isinstance(answer_with(RetCode=ret_code).outcome, Accepted)


@pytest.mark.parametrize("action", [..., None, "SendWhatsappMessageResponse", "SomethingElse", 7])
def test_the_name_of_the_action_in_the_answer_does_not_matter(action: object) -> None:
    assert isinstance(answer_with(Action=action).outcome, Accepted)


def test_any_2xx_may_carry_the_answer() -> None:
    assert isinstance(answer_with(201).outcome, Accepted)


def test_a_byte_order_mark_before_the_answer_is_tolerated() -> None:
    body = b'\xef\xbb\xbf{"RetCode":0,"Data":{"MessageId":"m"}}'
    assert read_reply(200, {}, body).outcome == Accepted("m", "")


def test_the_request_id_falls_back_to_the_header() -> None:
    answer = answer_with(headers={"X-Speedo-Request-Uuid": "from-header"}, RequestId=...)
    assert answer.outcome == Accepted("xxx", "from-header")
    assert answer_with(headers={"X-Speedo-Request-Uuid": "from-header"}).evidence.request_id == REQUEST_ID


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "GZIP"])
def test_a_compressed_reply_is_decompressed_although_not_asked_for(encoding: str) -> None:
    plain = b'{"RetCode":0,"Data":{"MessageId":"m"}}'
    packed = zlib.compress(plain) if encoding == "deflate" else gzip.compress(plain)
    assert read_reply(200, {"Content-Encoding": encoding}, packed).outcome == Accepted("m", "")


# -- may have gone out -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        ...,
        None,
        {},
        [],
        "xxx",
        {"MessageId": None},
        {"MessageId": ""},
        {"MessageId": "   "},
        {"MessageId": "x" * 257},
        {"MessageId": "x" * 10_240},
        {"MessageId": 123},
        {"MessageId": True},
        {"MessageId": ["xxx"]},
        {"MessageId": "\ud800"},
        {"MessageId": "a\x00b"},
        {"messageid": "xxx"},
    ],
)
def test_accepted_without_a_usable_message_id_is_unknown(data: object) -> None:
    answer = answer_with(Data=data)
    assert isinstance(answer.outcome, Unknown)
    assert answer.evidence.ret_code == 0
    assert answer.evidence.request_id == REQUEST_ID
    answer.evidence.message_id.encode()  # a ledger can hold it


def test_a_message_id_that_is_a_number_is_kept_as_evidence() -> None:
    assert answer_with(Data={"MessageId": 123}).evidence.message_id == "123"


def test_an_id_of_256_characters_is_accepted() -> None:
    assert answer_with(Data={"MessageId": "x" * 256}).outcome == Accepted("x" * 256, REQUEST_ID)


@pytest.mark.parametrize(
    "ret_code",
    [..., None, True, False, 0.0, 1.5, "", "zero", "0x0", "0 ", "٠", [], {}, 10**12, "99999999999"],
)
def test_an_invalid_ret_code_is_unknown(ret_code: object) -> None:
    answer = answer_with(RetCode=ret_code)
    assert isinstance(answer.outcome, Unknown)
    assert answer.evidence.ret_code is None
    assert answer.evidence.message_id == "xxx"


GOOD = b'{"RetCode":0,"Data":{"MessageId":"m"}}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"<html><body>OK</body></html>",
        b"OK",
        b"null",
        b"0",
        b'"accepted"',
        b"[" + GOOD + b"]",
        GOOD + GOOD,
        GOOD + b"\n" + GOOD,
        GOOD[:-1],
        GOOD[:20],
        b'{"RetCode":17115,"RetCode":0,"Data":{"MessageId":"m"}}',
        b'{"RetCode":0,"x":NaN,"Data":{"MessageId":"m"}}',
        b"\xff\xfe" + GOOD,
        '{"RetCode":0,"Data":{"MessageId":"m"}}'.encode("utf-16"),
        b'{"RetCode":0,"Data":{"MessageId":"m\xff"}}',
        GOOD + b" " * 65536,
        b"[" * 100_000,
        b'{"a":' * 10_000,
        b'{"RetCode":0,"n":' + b"9" * 5000 + b"}",
    ],
)
def test_a_200_without_an_answer_is_unknown(body: bytes) -> None:
    answer = read_reply(200, {"Content-Type": "text/html"}, body)
    assert isinstance(answer.outcome, Unknown)
    assert answer.evidence.http_status == 200


@pytest.mark.parametrize(
    "status", [100, 101, 204, 206, 402, 409, 410, 418, 451, 499, 500, 502, 504, 520, 599]
)
def test_a_status_that_is_not_a_refusal_is_unknown(status: int) -> None:
    assert isinstance(read_reply(status, {}, b"").outcome, Unknown)


def test_a_gzip_bomb_is_not_inflated_beyond_the_limit() -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 65536
    assert isinstance(read_reply(200, {"Content-Encoding": "gzip"}, bomb).outcome, Unknown)


def test_incomplete_or_invalid_gzip_is_unknown() -> None:
    for packed in (gzip.compress(GOOD)[:-6], b"not gzip", GOOD):
        assert isinstance(read_reply(200, {"Content-Encoding": "gzip"}, packed).outcome, Unknown)


def test_the_api_timing_out_is_unknown() -> None:
    assert isinstance(refused_by(110).outcome, Unknown)


def test_success_under_an_http_status_of_failure_is_unknown() -> None:
    for status in (302, 400, 429, 500, 503):
        answer = answer_with(status)
        assert isinstance(answer.outcome, Unknown)
        assert answer.evidence.message_id == "xxx"


# -- surely not sent -------------------------------------------------------------------------------------


def test_a_documented_ret_code_counts_more_than_the_http_status() -> None:
    for status in (200, 400, 403, 500):
        answer = answer_with(status, RetCode=17125, Message="no money", Data=...)
        assert isinstance(answer.outcome, Refused)
        assert answer.outcome.code == "17125"
        assert answer.outcome.remedy.retry is Retry.FREE
        assert answer.outcome.remedy.pause is Scope.ACCOUNT


def test_an_undocumented_ret_code_counts_less_than_the_http_status() -> None:
    outcome = answer_with(403, RetCode=4242, Data=...).outcome
    assert isinstance(outcome, Unknown)
    assert outcome.code == "HTTP 403"


def test_the_ret_code_may_be_a_string_of_digits() -> None:
    answer = answer_with(RetCode="17110", Data=...)
    assert isinstance(answer.outcome, Refused)
    assert answer.evidence.ret_code == 17110


def test_17115_is_judged_by_the_whatsapp_code_in_its_message() -> None:
    answer = refused_by(17115, "(#131049) not delivered to maintain healthy ecosystem engagement")
    assert isinstance(answer.outcome, Refused)
    assert answer.outcome.code == "#131049"
    assert answer.outcome.remedy.suppress is not None
    assert answer.evidence.ret_code == 17115
    assert answer.evidence.whatsapp_code == 131049


def test_17115_without_a_code_is_tried_a_few_times() -> None:
    answer = refused_by(17115, "send message failed")
    assert isinstance(answer.outcome, Refused)
    assert answer.outcome.code == "17115"
    assert answer.outcome.remedy.retry is Retry.FEW
    assert answer.evidence.whatsapp_code is None


@pytest.mark.parametrize("message", [None, 131049, ["131049"], {"code": 131049}])
def test_a_message_that_is_not_text_has_no_code(message: Any) -> None:
    answer = answer_with(RetCode=17115, Message=message, Data=...)
    assert isinstance(answer.outcome, Refused)
    assert answer.outcome.code == "17115"


def test_a_whatsapp_code_beside_any_other_ret_code_is_not_read() -> None:
    answer = refused_by(171, "(#131049)")
    assert isinstance(answer.outcome, Refused)
    assert answer.outcome.code == "171"
    assert answer.evidence.whatsapp_code is None


# -- Retry-After -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "wait_ms"),
    [
        ("7", 7000),
        (" 7 ", 7000),
        ("3600", 3_600_000),
        ("3601", 3_600_000),
        ("9" * 400, 3_600_000),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30_000),
        ("Tue, 14 Nov 2023 22:13:50 -0000", 30_000),
        ("Wed, 15 Nov 2023 22:13:50 GMT", 3_600_000),
        ("0", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("Tue, 14 Nov 2023 22:13:10 GMT", None),
        ("Tue, 99 Nov 2023 22:13:10 GMT", None),
        ("Tue, 14 Nov 99999999999999999 22:13:10 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_at_most_an_hour(value: str, wait_ms: int | None) -> None:
    outcome = read_reply(429, {"Retry-After": value, "Date": DATE}, b"", vouched={429}).outcome
    assert isinstance(outcome, Throttled)
    assert outcome.retry_after_ms == wait_ms
    assert outcome.scope is Scope.ACCOUNT


def test_a_retry_after_date_without_the_servers_own_date_is_ignored() -> None:
    outcome = read_reply(429, {"Retry-After": DATE}, b"", vouched={429}).outcome
    assert isinstance(outcome, Throttled)
    assert outcome.retry_after_ms is None


def test_retry_after_holds_for_503_and_for_the_gateways_own_throttling() -> None:
    unavailable = read_reply(503, {"retry-after": "20"}, b"", vouched={503}).outcome
    assert isinstance(unavailable, Refused)
    assert unavailable.remedy.retry is Retry.BACKOFF
    assert unavailable.remedy.min_wait_ms == 20_000
    throttled = refused_by(153, retry_after="20").outcome
    assert isinstance(throttled, Throttled)
    assert throttled.retry_after_ms == 20_000


# -- what is kept of the vendor's words ------------------------------------------------------------------


def test_the_vendors_words_are_kept_masked_escaped_and_short() -> None:
    words = "to 447700900123 (+44 7700 900123)\r\n\x1b[31mfailed\u202e\x00" + "x" * 9000
    kept = refused_by(17115, words).evidence.vendor_message
    assert "447700900123" not in kept
    assert "7700 900123" not in kept
    assert "4477*****123" in kept
    assert kept.isprintable()
    assert "\\r\\n\\x1b[31mfailed\\u202e\\x00" in kept
    assert len(kept) == 500


def test_of_a_body_without_an_answer_only_type_and_size_are_kept() -> None:
    echoed = b'POST /api {"Content":"code 482913","To":"447700900123"}'
    answer = read_reply(200, {"Content-Type": "text/plain"}, echoed)
    assert answer.evidence.vendor_message == f"no JSON object: {len(echoed)} bytes of text/plain"


@pytest.mark.parametrize("request_id", [None, 7.5, "", "x" * 257, "\ud800", "a\nb", []])
def test_a_request_id_that_the_ledger_cannot_store_is_left_out(request_id: object) -> None:
    assert answer_with(RequestId=request_id).outcome == Accepted("xxx", "")


# -- failures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["connect", "tls", "send"])
def test_without_a_byte_sent_nothing_was_sent(stage: str) -> None:
    answer = read_failure(Failure("ConnectError", bytes_sent=False, reply_began=False, stage=stage))
    assert isinstance(answer.outcome, NotSent)
    assert answer.outcome.remedy.retry is Retry.BACKOFF
    assert answer.outcome.remedy.breaker
    assert answer.evidence.error == "ConnectError"
    assert not answer.evidence.bytes_sent


@pytest.mark.parametrize("error", ["ConnectTimeout", "ConnectError", "TransportClosed", "ReadError"])
def test_after_a_byte_was_sent_the_outcome_is_unknown_for_every_error(error: str) -> None:
    answer = read_failure(Failure(error, bytes_sent=True, reply_began=False, stage="send"))
    assert isinstance(answer.outcome, Unknown)
    assert answer.outcome.remedy.retry is Retry.NEVER


def test_a_closed_transport_costs_no_try_and_is_not_an_outage() -> None:
    outcome = read_failure(Failure("TransportClosed", False, False, "closed")).outcome
    assert isinstance(outcome, NotSent)
    assert outcome.remedy.retry is Retry.FREE
    assert not outcome.remedy.breaker


def test_an_invalid_request_of_ours_pauses_the_account_and_alerts() -> None:
    outcome = read_failure(Failure("LocalProtocolError", False, False, "send", local=True)).outcome
    assert isinstance(outcome, NotSent)
    assert outcome.remedy.pause is Scope.ACCOUNT
    assert outcome.remedy.alert


# -- anything at all -------------------------------------------------------------------------------------

STATUSES = st.integers(100, 599)
HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "Date", "Content-Encoding", "Content-Type", "X-Speedo-Request-Uuid"]),
    st.text(max_size=40) | st.sampled_from(["gzip", "deflate", "12", DATE]),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
CODES = st.sampled_from([code for row in TABLE if row.family is Family.RETCODE for code in row.codes])
NEAR_MISSES = st.fixed_dictionaries(
    {},
    optional={
        "RetCode": JSON | CODES | CODES.map(str),
        "Data": JSON | st.fixed_dictionaries({"MessageId": JSON}),
        "Message": JSON | st.from_regex(r"\(#?[0-9]{1,8}\)", fullmatch=True),
        "RequestId": JSON,
    },
)


def check(status: int, headers: dict[str, str], body: bytes) -> None:
    """No reply raises; only RetCode 0 with a MessageId is accepted; what is kept can be stored and logged."""
    answer = read_reply(status, headers, body)
    evidence = answer.evidence
    for text in (evidence.vendor_message, evidence.message_id, evidence.request_id):
        assert text == "" or text.isprintable()
        text.encode()
    assert len(evidence.vendor_message) <= 500
    if isinstance(answer.outcome, Accepted):
        parsed = json.loads(body)
        assert int(parsed["RetCode"]) == 0
        assert parsed["Data"]["MessageId"] == answer.outcome.message_id != ""
        assert 200 <= status < 300
    if isinstance(answer.outcome, Throttled) and answer.outcome.retry_after_ms is not None:
        assert 0 < answer.outcome.retry_after_ms <= 3_600_000


# Drawing the first headers is slow on a busy machine, which says nothing of replies.
@given(STATUSES, HEADERS, st.binary(max_size=300))
def test_no_bytes_raise_or_are_read_as_accepted(status: int, headers: dict[str, str], body: bytes) -> None:
    check(status, headers, body)


@given(STATUSES, HEADERS, JSON | NEAR_MISSES)
def test_no_json_raises_or_is_read_as_accepted(status: int, headers: dict[str, str], value: object) -> None:
    check(status, headers, json.dumps(value).encode())


@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=3))
def test_no_cut_of_a_good_answer_is_accepted(cut: int, junk: bytes) -> None:
    assert isinstance(read_reply(200, {}, GOOD[:cut]).outcome, Unknown)
    if junk.strip():
        assert isinstance(read_reply(200, {}, GOOD + junk).outcome, Unknown)
