"""Properties of the parser: it never raises, and a receipt says the same in every accepted wrapper and spelling."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.gateway.receipts import ParsedReceipt, parse
from tests.unit.gateway.receipts.test_shapes import HERE

#: Names that the parser knows, so that random JSON reaches its corners.
NAMES = [
    "id",
    "status",
    "timestamp",
    "errors",
    "error",
    "code",
    "data",
    "rows",
    "statuses",
    "messages",
    "entry",
    "changes",
    "value",
    "field",
    "payload",
    "type",
    "from",
    "to",
    "message_id",
    "MessageId",
    "whatsappMessage",
    "metadata",
    "context",
    "text",
    "button",
    "interactive",
    "event",
    "language",
    "name",
    "qualityRating",
    "user_preferences",
    "message_template_name",
    "response",
    "display_phone_number",
    "gsId",
    "destination",
    "error_data",
    "title",
]
WORDS = [
    "sent",
    "failed",
    "read",
    "unknow",
    "text",
    "button",
    "stop",
    "messages",
    "user_preferences",
    "1764400001",
]
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(WORDS)
)
ANY = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), inner, max_size=6)
    ),
    max_leaves=40,
)
SEEN: tuple[Any, ...] = tuple(
    case for file in sorted(HERE.glob("*.json")) for case in json.loads(file.read_text(encoding="utf-8"))
)


@given(ANY)
def test_any_json_is_read_without_an_error(value: Any) -> None:
    parsed = parse(json.dumps(value).encode())
    for receipt in parsed.receipts:
        assert receipt.ids
        assert receipt.status in ("sent", "delivered", "read", "failed")
        assert all(0 < len(id) <= 256 for id in receipt.ids)
    for each in (*parsed.receipts, *parsed.inbound):
        assert each.at is None or 1_230_768_000_000 <= each.at <= 4_102_444_800_000
        assert all(number == "" or number.isdigit() for number in (each.sender, each.recipient))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(body: bytes) -> None:
    parse(body)


@given(st.sampled_from(SEEN), st.data())
def test_any_change_of_a_real_callback_is_read_without_an_error(
    case: dict[str, Any], data: st.DataObject
) -> None:
    def changed(node: Any) -> Any:
        if data.draw(st.integers(0, 15)) == 0:
            return data.draw(ANY)
        if isinstance(node, dict):
            return {key: changed(value) for key, value in node.items()}
        return [changed(each) for each in node] if isinstance(node, list) else node

    parse(json.dumps(changed(case["body"])).encode())


# -- one receipt, in all wrappers -----------------------------------------------------------------------------------

WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "bare": lambda item: item,
    "array": lambda item: [item],
    "Data": lambda item: {"Data": item},
    "data array": lambda item: {"code": 0, "data": [item]},
    "rows": lambda item: {"total": 1, "rows": [item]},
    "statuses": lambda item: {"statuses": [item]},
    "messages": lambda item: {"messages": [item]},
    "Meta": lambda item: {"entry": [{"changes": [{"field": "messages", "value": {"statuses": [item]}}]}]},
    "whatsappMessage": lambda item: {
        "id": "evt_1",
        "type": "whatsapp.message.updated",
        "whatsappMessage": item,
    },
    "payload": lambda item: {"app": "a", "type": "message-event", "payload": item},
    "as text": lambda item: {"Data": json.dumps([item])},
}
RECASED: dict[str, Callable[[str], str]] = {
    "as it is": lambda name: name,
    "lower": str.lower,
    "upper": str.upper,
    "title": str.title,
    "with a space": lambda name: f"{name} ",
}
ENCODED: dict[str, Callable[[str], bytes]] = {
    "UTF-8": str.encode,
    "with a BOM": lambda text: text.encode("utf-8-sig"),
    "with spaces around": lambda text: f"\r\n {text}\n".encode(),
}
ITEM = st.fixed_dictionaries(
    {
        "id_name": st.sampled_from(
            ["MessageId", "messageId", "message_id", "msgId", "id", "wamid", "SessionNo"]
        ),
        "id": st.text("abcdefgh.:=-0123456789", min_size=1, max_size=80),
        "status": st.sampled_from(["sent", "delivered", "read", "failed"]),
        "at": st.integers(1_600_000_000, 1_900_000_000),
        "at_form": st.sampled_from(["s", "ms", "s text", "ms text", "iso", "missing"]),
    }
)


def _at(seconds: int, form: str) -> dict[str, Any]:
    iso = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    forms = {
        "s": seconds,
        "ms": seconds * 1000,
        "s text": str(seconds),
        "ms text": str(seconds * 1000),
        "iso": iso,
    }
    return {} if form == "missing" else {"timestamp": forms[form]}


def _recased(node: Any, how: Callable[[str], str]) -> Any:
    if isinstance(node, dict):
        return {how(key): _recased(value, how) for key, value in node.items()}
    return [_recased(each, how) for each in node] if isinstance(node, list) else node


@given(
    ITEM,
    st.lists(st.sampled_from(sorted(WRAPPERS)), min_size=1, max_size=3),
    st.sampled_from(sorted(RECASED)),
    st.sampled_from(sorted(ENCODED)),
)
def test_a_receipt_says_the_same_however_it_is_wrapped(
    item: dict[str, Any], wrappers: list[str], case: str, encoding: str
) -> None:
    body: Any = {item["id_name"]: item["id"], "status": item["status"], **_at(item["at"], item["at_form"])}
    for wrapper in wrappers:
        body = WRAPPERS[wrapper](body)
    parsed = parse(ENCODED[encoding](json.dumps(_recased(body, RECASED[case]))))
    at = None if item["at_form"] == "missing" else item["at"] * 1000
    assert parsed == ([ParsedReceipt((item["id"],), item["status"], at)], [], [], [])


# -- sizes ----------------------------------------------------------------------------------------------------------


def _seconds_for(body: bytes) -> float:
    begun = time.process_time()
    parse(body)
    return time.process_time() - begun


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 3_000_000,
        b'{"data":' * 300_000,
        b"[" + b"{}," * 1_000_000 + b"{}]",
        b"[" + b"1," * 1_500_000 + b"1]",
        b'{"id":' + b"9" * 3_000_000 + b"}",
        b'{"id":"a","status":"sent","timestamp":1' + b"0" * 3_000_000 + b".5}",
        b'{"timestamp":1e999,"status":"sent","id":NaN}',
        b'{"' + b"k" * 3_000_000 + b'":1}',
        b'{"why":"' + b"\\u0000" * 500_000 + b'"}',
        b"[" + b'{"status":"failed","id":"a","errors":[{"message":"' + b"((#" * 900_000 + b'"}]}]',
    ],
)
def test_three_megabytes_of_anything_take_a_bounded_time(body: bytes) -> None:
    assert _seconds_for(body) < 10


def test_twenty_thousand_receipts_of_one_body_are_read() -> None:
    item = {"id": "wamid.", "status": "delivered", "timestamp": "1764400001", "recipient_id": "447700900123"}
    body = json.dumps({"entry": [{"changes": [{"value": {"statuses": [item] * 20_000}}]}]}).encode()
    assert len(parse(body).receipts) == 20_000


def test_what_cannot_be_read_is_told_without_its_values() -> None:
    body = {
        "447700900123": "447700900124",
        "note": "the code is 123456",
        "status": "delivered to 447700900125",
    }
    (told,) = parse(json.dumps(body).encode()).unreadable
    assert told.why == "no receipt, message or notice is known with the fields note, status"


def test_a_body_that_is_cut_is_unreadable_as_a_whole() -> None:
    (told,) = parse(b'{"statuses":[{"id":"a","status":"sent"}').unreadable
    assert told.why.startswith("it is not JSON: ")


def test_a_broken_character_does_not_hide_the_receipt_beside_it() -> None:
    parsed = parse(b'{"id":"a","status":"failed","error":{"code":131026,"title":"caf\xe9"}}')
    assert [(each.ids, each.code) for each in parsed.receipts] == [(("a",), "#131026")]
