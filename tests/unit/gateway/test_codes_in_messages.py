"""A code in the vendor's Message fails one message at most; only ``(#131031)`` pauses and suppresses."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulksend.gateway import Family, read_reply
from bulksend.gateway.error_codes import TABLE
from bulksend.messaging import AttemptedMessage, Decision, Kind, OnUnknown, Policy, Scope, Status, decide

CODES = st.sampled_from(
    sorted(
        {4, 10, 33, 100, 190, 200, 139999, 17125}
        | {c for r in TABLE if r.family is Family.WHATSAPP for c in r.codes}
    )
)
WORDS = st.text(max_size=30) | st.sampled_from(
    [
        "send failed: ",
        "cost ",
        " ms",
        "Order ",
        "parameter '",
        "'",
        '"',
        "code=",
        "error code: ",
        ", ",
        " - ",
        "(",
        ")",
    ]
)
#: Any text with numbers in it that are codes, but for Meta's own spelling.
MESSAGES = st.lists(WORDS | CODES.map(str) | CODES.map(lambda code: f"({code})"), max_size=8).map("".join)


def decided(message: str, kind: Kind = Kind.MARKETING, code: int = 17115) -> Decision:
    body = json.dumps({"RetCode": code, "Message": message}).encode()
    subject = AttemptedMessage(kind=kind, tries=0, waits=0, expires_at_ms=None, on_unknown=OnUnknown.HOLD)
    return decide(read_reply(200, {}, body).outcome, subject, Policy(), 1_000_000, 0.5)


def reaches_no_further(decision: Decision) -> bool:
    """Beyond its own message: nothing but the count of plain failures that any 17115 adds to."""
    pause_at_once = decision.pause is not None and decision.pause.after < 10
    return not (pause_at_once or decision.suppress or decision.slow or decision.outage)


@given(MESSAGES.filter(lambda text: "(#" not in text and "（#" not in text), st.sampled_from(Kind))
@example("send message failed, cost 368 ms", Kind.MARKETING)
@example("parameter 'Order 131031'", Kind.MARKETING)
@example("(131031) locked", Kind.MARKETING)
@example("Order 130497 to 131050", Kind.OTP)
def test_no_text_affects_more_than_its_own_message(message: str, kind: Kind) -> None:
    decision = decided(message, kind)
    assert reaches_no_further(decision), decision
    assert decision.status in (Status.FAILED, Status.RETRY)


@pytest.mark.parametrize("quotes", ["''", '""', "``", "“”", "‘’", "«»", "„“", "[]", "{}", "「」"])
@pytest.mark.parametrize("code", [131031, 131030, 131050, 130497, 130429])
def test_a_quotation_of_the_request_is_not_metas_code(quotes: str, code: int) -> None:
    """A row's value may hold anything, and a Message may quote it."""
    begin, end = quotes
    assert reaches_no_further(decided(f"parameter {begin}Order (#{code}){end} is too long"))
    assert reaches_no_further(decided(f"bad value: {begin}x: (#{code}){end}"))


@pytest.mark.parametrize("code", [131031, 131030, 131050, 130497, 130429])
@pytest.mark.parametrize(
    "before",
    [
        "Parameter Order: ",
        "parameter x,",
        "Order: ",
        "order 7 - ",
        "send failed, parameter Order: ",
        "参数 2：",
    ],
)
def test_a_code_after_the_name_of_a_value_affects_its_message_only(before: str, code: int) -> None:
    """A row's own text may be ``(#131031)``; a vendor that repeats it without quotation marks pauses nothing."""
    assert reaches_no_further(decided(f"{before}(#{code}) is bad"))


@pytest.mark.parametrize(
    "message",
    [
        "(#131031) Business Account locked",
        "  (#131031) Business Account locked",
        "send message failed: (#131031) Business Account locked",
        "OAuthException - (#131031) Business Account locked",
        "发送失败：(#131031)",
        "（#131031）",
    ],
)
def test_metas_own_spelling_pauses(message: str) -> None:
    decision = decided(message)
    assert decision.pause is not None
    assert (decision.pause.scope, decision.pause.after) == (Scope.ACCOUNT, 1)
    assert "131031" in decision.pause.why


def test_a_bare_code_fails_its_message_where_a_retry_is_useless() -> None:
    assert decided("131026 Message undeliverable").status is Status.FAILED
    assert decided("send message failed").status is Status.RETRY
