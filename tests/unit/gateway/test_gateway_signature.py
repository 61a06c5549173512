"""The signature: the published test vectors, and its rules (docs/vendor.md#signature)."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uspeedo.core.auth import Credential

from bulksend.gateway import canonical, sign
from bulksend.gateway.signature import MAX_DEPTH

SECRET = "NTk1Mzk0MAItOWI0My10MGM4LTg0NmMMNDM0ZGM5Y2ZkMmNk"
DOCS_SECRET = "MjI3YmYyMjItNmM4Mi00ZGM5LWEwNDQtN2EzZjM0Yzk2OWE1"


def send_body(**changes: Any) -> dict[str, Any]:
    """Vector 7's body."""
    return {
        "Action": "SendMessage",
        "AccountId": 8899,
        "BusinessPhone": "8615000579987",
        "To": "447731688264",
        "Type": "text",
        "Content": '{"body":"text-message-content","preview_url":false}',
    } | changes


OTP_CONTENT = json.dumps(
    {
        "name": "otp_test_02",
        "language": {"policy": "deterministic", "code": "zh_CN"},
        "components": [
            {"type": "body", "parameters": [{"type": "text", "text": "123456"}]},
            {
                "type": "button",
                "sub_type": "url",
                "index": "0",
                "parameters": [{"type": "text", "text": "123456"}],
            },
        ],
    },
    separators=(",", ":"),
)


def go_type_zoo() -> dict[str, Any]:
    """Vector 6: the vendor's Go test signs 42 in every numeric type and as a pointer to it.

    JSON knows neither pointers nor widths. float32(42.1) is 42.099998474121094 once widened. The three
    "MissTyped" fields hold Go types that the SDK does not know (such as map[string]string) and signs as
    nothing; a decoded JSON body cannot hold those, so an empty array stands in for each.
    """
    integers = ["int", "int8", "int16", "int32", "int64", "uint", "uint8", "uint16", "uint32", "uint64"]
    values: dict[str, Any] = dict.fromkeys(integers, 42)
    values |= {
        "boolValue": True,
        "strValue": "foo",
        "float32Value": 42.099998474121094,
        "float64Value": 42.1,
        "float32TValue": 42.0,
        "float64TValue": 42.0,
    }
    values |= {f"{name}Pointer": value for name, value in values.items()}
    foo = {"foo": "bar"}
    return values | {
        "map": foo,
        "array": ["foo", "bar"],
        "arrMap": [foo],
        "arr2": [["foo", "bar"]],
        "arrMapMissTyped1": [],
        "arrMapMissTyped2": [],
        "mapArrMapMissTyped": [],
    }


VECTORS: list[tuple[int, dict[str, Any], str, str]] = [
    (
        1,
        {
            "Action": "CreateUSMSTemplate",
            "Purpose": 1,
            "Template": "your code is {1}",
            "AccountId": 60000011,
            "TemplateName": "demo",
        },
        SECRET,
        "11a0430ae6f1a4dc0c656e64dfc1886b0ac4b63a",
    ),
    (
        2,
        {
            "Action": "SendBatchUSMSMessage",
            "TaskContent": [
                {
                    "TemplateId": "UTAXXXXXXXXXXX",
                    "SenderId": "uspeedo",
                    "Target": [{"Phone": "1111", "TemplateParams": ["1111"]}],
                }
            ],
        },
        SECRET,
        "7175ca50d6204dfd469e8aab447810c08f9da53f",
    ),
    (
        3,
        {
            "Action": "QueryUSMSTemplate",
            "AccountId": "60000011",
            "TemplateId": ["UTA230227EL4IW1", "UTA230227JVIB02"],
        },
        SECRET,
        "258dc3d2d7115e9e7c9f4dd4910e671e17b224f1",
    ),
    (4, {"Action": "GetNSPermission"}, SECRET, "ceabd6349a8f229a82271119a8b3af30ba8a2428"),
    (
        5,
        {
            "Action": "SendBatchUSMSMessage",
            "AccountId": 10001,
            "TaskContent": [
                {
                    "TemplateId": "UTA2233108MUY3HZ",
                    "SenderId": "uSpeedo",
                    "Target": [
                        {"TemplateParams": ["123456", "653132", "nickname1"], "Phone": "55212345780"},
                        {"TemplateParams": ["123457", "765421", "nickname2"], "Phone": "55212345781"},
                    ],
                }
            ],
        },
        DOCS_SECRET,
        "69cc15724cda05b63c99cebf8226202d4c69ef0f",
    ),
    (6, go_type_zoo(), "foo", "682fc4fbb46a71c6c690a1f8cb233f4174662845"),
    (7, send_body(), SECRET, "937877641e357325cc71ae520652dae3383dfd2f"),
    (8, send_body(Action="SendWhatsappMessage"), SECRET, "270e3bd5eb6ce64eb71f813738f6fcc4bad7807f"),
    (
        9,
        send_body(Content='{"body":"你好 🎉","preview_url":true}'),
        SECRET,
        "50db7830006b21b67aa31b0e0f3ac246721cc3e8",
    ),
    (
        10,
        send_body(Type="template", Content=OTP_CONTENT),
        SECRET,
        "513b0f044d6b39f15217b5ee5eef177a3e2a9a40",
    ),
    (
        11,
        {
            "Action": "SendMessage",
            "accountId": 8899,
            "companyId": 8899,
            "BusinessPhone": "8615000579987",
            "To": "447731688264",
            "Type": "text",
            "Purpose": 1,
            "Content": '{"body":"text-message-content","preview_url":false}',
        },
        SECRET,
        "25a28a4e0d9c2749b40998fde4243df43c55e9c4",
    ),
]


@pytest.mark.parametrize(
    ("body", "secret", "signature"), [v[1:] for v in VECTORS], ids=[v[0] for v in VECTORS]
)
def test_every_published_test_vector_has_its_signature(
    body: dict[str, Any], secret: str, signature: str
) -> None:
    assert sign(body, secret) == signature


def test_the_signed_text_is_sorted_keys_and_values_without_separators() -> None:
    text = canonical(VECTORS[0][1])
    assert text == (
        "AccountId60000011ActionCreateUSMSTemplatePurpose1Templateyour code is {1}TemplateNamedemo"
    )


def test_upper_case_keys_come_before_lower_case_ones() -> None:
    assert canonical({"b": "1", "B": "2", "a": "3"}) == "B2a3b1"


def test_keys_beyond_the_basic_plane_are_sorted_by_their_utf8_bytes() -> None:
    body = {"\uffff": "bmp", "\U0001f389": "astral"}
    assert sorted(body, key=lambda key: key.encode()) == ["\uffff", "\U0001f389"]
    assert canonical(body) == "\uffffbmp\U0001f389astral"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (-7, "-7"),
        (42.0, "42"),
        (42.1, "42.1"),
        (1e16, "10000000000000000"),
        (1e23, "100000000000000000000000"),
        (1e-7, "0.0000001"),
        (22.550802897696343, "22.550802897696343"),
        ([["a"], "b"], "ab"),
        ({}, ""),
    ],
)
def test_values_are_written_as_the_vendors_go_sdk_writes_them(value: object, text: str) -> None:
    assert canonical(value) == text


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, b"bytes", {1, 2}, object()])
def test_a_value_without_an_agreed_text_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="cannot be signed"):
        sign({"a": [value]}, SECRET)


def test_a_lone_surrogate_cannot_be_signed() -> None:
    with pytest.raises(UnicodeEncodeError):
        sign({"a": "\ud800"}, SECRET)


def test_a_body_nested_too_deeply_is_refused() -> None:
    deep: Any = "x"
    for _ in range(MAX_DEPTH):
        deep = [deep]
    assert canonical(deep) == "x"
    with pytest.raises(ValueError, match="levels"):
        canonical([deep])


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = TEXT | st.booleans() | st.integers(-(2**53), 2**53)
BODIES = st.dictionaries(
    TEXT,
    st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=8),
)


@given(body=BODIES, secret=st.text(st.characters(codec="ascii"), min_size=1))
def test_the_vendors_own_python_sdk_signs_the_same_for_strings_integers_and_booleans(
    body: dict[str, Any], secret: str
) -> None:
    """Its known bugs lie in floats and nulls only (reference 1.2)."""
    assert sign(body, secret) == Credential("id", secret).verify_ac(body)


@given(body=BODIES)
def test_the_signature_survives_the_trip_through_json(body: dict[str, Any]) -> None:
    assert sign(json.loads(json.dumps(body)), SECRET) == sign(body, SECRET)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_never_written_with_an_exponent_and_keeps_its_value(value: float) -> None:
    text = canonical(value)
    assert set(text) <= set("-.0123456789")
    assert float(text) == value
    assert not text.endswith(".0")


@given(SCALARS)
def test_the_digest_is_sha1_over_text_and_secret(value: object) -> None:
    body = {"k": value}
    expected = hashlib.sha1((canonical(body) + SECRET).encode(), usedforsecurity=False).hexdigest()
    assert sign(body, SECRET) == expected
