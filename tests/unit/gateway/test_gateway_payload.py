"""The request: body, headers, and what must never be shown of them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend import __version__
from bulksend.errors import InvalidValue
from bulksend.gateway import Credentials, SendOrder, build_call, build_request, new_nonce, sign
from bulksend.messaging.states import MessageType

SECRET = "a-secret-never-to-be-shown"
CREDENTIALS = Credentials("key-id-0001", SECRET, 8899)
ORDER = SendOrder("8615000579987", "447731688264", MessageType.TEXT, '{"body":"code 482913"}')


def test_the_body_is_the_vendors_json_with_content_as_a_string() -> None:
    body, _ = build_request(ORDER, CREDENTIALS, now_seconds=1_700_000_000, nonce="n1")
    assert json.loads(body) == {
        "Action": "SendMessage",
        "AccountId": 8899,
        "BusinessPhone": "8615000579987",
        "To": "447731688264",
        "Type": "text",
        "Content": '{"body":"code 482913"}',
    }


def test_the_headers_are_exactly_the_documented_ones() -> None:
    body, headers = build_request(ORDER, CREDENTIALS, now_seconds=1_700_000_000, nonce="n1")
    assert headers == {
        "Content-Type": "application/json",
        "User-Agent": f"bulksend/{__version__}",
        "X-Access-Key-Id": "key-id-0001",
        "X-Signature": sign(json.loads(body), SECRET),
        "X-Timestamp": "1700000000",
        "X-Nonce": "n1",
    }


def test_without_an_account_id_the_field_is_left_out() -> None:
    credentials = Credentials("key", SECRET, None, "SendWhatsappMessage")
    body, _ = build_request(ORDER, credentials, now_seconds=0, nonce="n")
    assert "AccountId" not in json.loads(body)
    assert json.loads(body)["Action"] == "SendWhatsappMessage"
    assert b"null" not in body


def test_another_attempt_differs_in_nonce_and_timestamp_and_not_in_signature() -> None:
    first = build_request(ORDER, CREDENTIALS, now_seconds=1, nonce="a")
    second = build_request(ORDER, CREDENTIALS, now_seconds=2, nonce="b")
    assert first[0] == second[0]
    changed = {name for name in first[1] if first[1][name] != second[1][name]}
    assert changed == {"X-Nonce", "X-Timestamp"}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_the_vendor_decodes_is_what_was_signed(content: str) -> None:
    order = SendOrder("8615000579987", "447731688264", MessageType.TEXT, content)
    body, headers = build_request(order, CREDENTIALS, now_seconds=1, nonce="n")
    assert json.loads(body)["Content"] == content
    assert headers["X-Signature"] == sign(json.loads(body), SECRET)


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(["447731688264", "1", '4"4', "<to>", "<content>"]),
    st.sampled_from([*MessageType]),
    st.sampled_from([None, 0, 8899]),
    st.sampled_from([SECRET, "<to>", "<content>", 'a"\\b']),
)
def test_a_request_from_shared_parts_equals_a_request_written_as_a_whole(
    content: str, to: str, type: MessageType, account: int | None, secret: str
) -> None:
    credentials = Credentials("key", secret, account)
    fields = {"BusinessPhone": "8615000579987", "To": to, "Type": str(type), "Content": content}
    order = SendOrder("8615000579987", to, type, content)
    assert build_request(order, credentials, now_seconds=7, nonce="n") == build_call(
        credentials.action, fields, credentials, now_seconds=7, nonce="n"
    )


def test_a_lone_surrogate_cannot_be_sent() -> None:
    order = SendOrder("8615000579987", "447731688264", MessageType.TEXT, '"\ud800"')
    with pytest.raises(UnicodeEncodeError):
        build_request(order, CREDENTIALS, now_seconds=1, nonce="n")


def test_a_null_field_is_refused() -> None:
    with pytest.raises(ValueError, match="null"):
        build_call("GetTemplates", {"Name": None}, CREDENTIALS, now_seconds=1, nonce="n")


def test_nonces_are_short_and_new_every_time() -> None:
    nonces = {new_nonce() for _ in range(1000)}
    assert len(nonces) == 1000
    assert all(0 < len(nonce) <= 32 and nonce.isalnum() for nonce in nonces)


def test_a_child_process_makes_nonces_of_its_own() -> None:
    code = """
import os, sys
from bulksend.gateway import new_nonce
new_nonce()
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, new_nonce().encode())
    os._exit(0)
os.wait()
sys.exit(os.read(read, 100).decode() == new_nonce())
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_credentials_never_show_key_or_secret() -> None:
    for text in (repr(CREDENTIALS), str(CREDENTIALS), f"{CREDENTIALS}", repr([CREDENTIALS])):
        assert SECRET not in text
        assert "key-id-0001" not in text


def test_an_order_shows_neither_numbers_nor_content() -> None:
    text = repr(ORDER)
    assert "482913" not in text
    assert "8615000579987" not in text
    assert "447731688264" not in text
    assert "4477*****264" in text


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("USPEEDO_ACCESSKEY_ID", ("", SECRET)),
        ("USPEEDO_ACCESSKEY_ID", ("key\r\nX-Evil: 1", SECRET)),
        ("USPEEDO_ACCESSKEY_ID", ("clé", SECRET)),
        ("USPEEDO_ACCESSKEY_ID", ("a key", SECRET)),
        ("USPEEDO_ACCESSKEY_SECRET", ("key", "")),
        ("USPEEDO_ACCESSKEY_SECRET", ("key", SECRET + "\n")),
    ],
)
def test_credentials_that_do_not_fit_a_header_are_refused_by_name_and_not_shown(
    field: str, values: tuple[str, str]
) -> None:
    with pytest.raises(InvalidValue) as refusal:
        Credentials(*values)
    assert refusal.value.field == field
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize("action", ["", "Send Message", "Send\nMessage", "发送"])
def test_an_action_that_is_not_a_word_is_refused(action: str) -> None:
    with pytest.raises(InvalidValue, match="USPEEDO_ACTION"):
        Credentials("key", SECRET, None, action)


# -- USPEEDO_EXTRA_PARAMS ----------------------------------------------------------------------------------

#: The body of the page's sample, as it is printed there (reference 1.2, test vector 11).
PAGE = {
    "Action": "SendMessage",
    "accountId": 8899,
    "companyId": 8899,
    "BusinessPhone": "8615000579987",
    "To": "447731688264",
    "Type": "text",
    "Purpose": 1,
    "Content": '{"body":"text-message-content","preview_url":false}',
}
PAGE_SECRET = "NTk1Mzk0MAItOWI0My10MGM4LTg0NmMMNDM0ZGM5Y2ZkMmNk"


def test_with_the_documented_extra_parameters_a_request_equals_the_vendors_sample() -> None:
    order = SendOrder("8615000579987", "447731688264", MessageType.TEXT, PAGE["Content"])  # type: ignore[arg-type]
    extra = '{"accountId":8899,"companyId":8899,"Purpose":1}'
    credentials = Credentials("key", PAGE_SECRET, None, extra=extra)
    body, headers = build_request(order, credentials, now_seconds=0, nonce="n")
    assert json.loads(body) == PAGE
    assert headers["X-Signature"] == "25a28a4e0d9c2749b40998fde4243df43c55e9c4"


extras = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name.lower() not in {n.lower() for n in PAGE}),
    st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.text(max_size=12)
    | st.sampled_from(["<to>", "<content>", '","To":"447700900000']),
    max_size=4,
)


@given(extras, st.text(max_size=30), st.sampled_from(MessageType))
def test_a_request_from_shared_parts_has_the_body_and_signature_of_a_whole_one(
    extra: dict[str, object], content: str, type: MessageType
) -> None:
    credentials = Credentials("key", SECRET, 8899, extra=json.dumps(extra))
    order = SendOrder("8615000579987", "447731688264", type, content)
    body, headers = build_request(order, credentials, now_seconds=0, nonce="n")
    sent = json.loads(body)
    assert sent == extra | {
        "Action": "SendMessage",
        "AccountId": 8899,
        "BusinessPhone": "8615000579987",
        "To": "447731688264",
        "Type": str(type),
        "Content": content,
    }
    assert headers["X-Signature"] == sign(sent, SECRET)


def test_extra_parameters_go_into_calls_too() -> None:
    credentials = Credentials("key", SECRET, 8899, extra='{"companyId":1}')
    body, headers = build_call("GetAccountPhoneList", {}, credentials, now_seconds=0, nonce="n")
    assert json.loads(body) == {"Action": "GetAccountPhoneList", "AccountId": 8899, "companyId": 1}
    assert headers["X-Signature"] == sign(json.loads(body), SECRET)
