"""The eight content types, right or not made (reference 1.3 and 3; faults, section 7: 19 to 23, 35, 39 to 46)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.errors import InvalidValue
from bulksend.messaging import (
    Body,
    Button,
    Image,
    Language,
    MessageType,
    Parameter,
    Template,
    Text,
    parse_content,
)

T = MessageType
LANGUAGE = {"policy": "deterministic", "code": "zh_CN"}
LINK = "https://cdn.example.com/a.jpg"


def refusal(type: MessageType, value: object) -> InvalidValue:
    with pytest.raises(InvalidValue) as caught:
        parse_content(type, value)  # type: ignore[arg-type]
    return caught.value


def template(*components: object, **changes: object) -> dict[str, object]:
    return {"name": "otp_test_02", "language": LANGUAGE, "components": list(components)} | changes


def body(*texts: object) -> dict[str, object]:
    return {"type": "body", "parameters": [{"type": "text", "text": text} for text in texts]}


def button(index: object = "0", sub_type: object = "url", **changes: object) -> dict[str, object]:
    kind = "text" if sub_type == "url" else "payload"
    parameters = [{"type": kind, kind: "123456"}]
    return {"type": "button", "sub_type": sub_type, "index": index, "parameters": parameters} | changes


def header(**parameter: object) -> dict[str, object]:
    return {"type": "header", "parameters": [parameter]}


OTP = template(body("123456"), button())

RIGHT: list[tuple[MessageType, Mapping[str, object]]] = [
    (T.TEXT, {"body": "text-message-content", "preview_url": False}),
    (T.TEXT, {"body": "你好 👩‍👩‍👧 🎉\n{ }"}),
    (T.TEXT, {"body": "a" * 4096}),
    (T.TEXT, {"body": "<script>alert(1)</script> =HYPERLINK() javascript:alert(1)"}),
    (T.IMAGE, {"id": "1013859600285441"}),
    (T.IMAGE, {"link": LINK, "caption": "c" * 1024}),
    (T.VIDEO, {"link": "http://videos.example.com:8080/a.mp4?x=1#y", "caption": "a"}),
    (T.AUDIO, {"id": "1"}),
    (T.DOCUMENT, {"link": "https://bücher.example/%20.pdf", "filename": "Invoice.pdf"}),
    (T.STICKER, {"link": "HTTPS://CDN.EXAMPLE.COM/a.webp"}),
    (T.LOCATION, {"latitude": 51.5072, "longitude": -0.1276, "name": "London", "address": "SW1A"}),
    (T.LOCATION, {"latitude": -90, "longitude": 180}),
    (T.TEMPLATE, {"name": "hello_world", "language": {"code": "en", "policy": "deterministic"}}),
    (T.TEMPLATE, OTP),
    (T.TEMPLATE, template(header(type="text", text="T" * 60), body("a    b", "two"))),
    (T.TEMPLATE, template(header(type="image", image={"link": LINK}))),
    (T.TEMPLATE, template(header(type="video", video={"id": "5"}))),
    (T.TEMPLATE, template(header(type="document", document={"link": LINK, "filename": "a.pdf"}))),
    (
        T.TEMPLATE,
        template(
            button("0", "quick_reply"),
            button("1", "quick_reply"),
            button("2"),
            language={"code": "es_419", "policy": "deterministic"},
        ),
    ),
]


@pytest.mark.parametrize(("type", "value"), RIGHT)
def test_a_right_content_comes_out_as_it_went_in(type: MessageType, value: Mapping[str, object]) -> None:
    content = parse_content(type, value)
    assert content.type is type
    assert content.to_vendor() == value
    assert parse_content(type, content.to_vendor()) == content


def test_a_content_is_a_typed_value_that_cannot_be_changed() -> None:
    assert parse_content(T.TEXT, {"body": "a", "preview_url": True}) == Text("a", True)
    assert parse_content(T.IMAGE, {"link": LINK}) == Image(link=LINK)
    otp = parse_content(T.TEMPLATE, OTP)
    code = Parameter("text", "123456")
    assert otp == Template("otp_test_02", Language("zh_CN"), (Body((code,)), Button("url", "0", (code,))))
    with pytest.raises(dataclasses.FrozenInstanceError):
        otp.name = "other"  # type: ignore[misc]


def test_json_is_compact_and_keeps_its_letters() -> None:
    assert parse_content(T.TEXT, {"body": "你好 🎉", "preview_url": True}).to_json() == (
        '{"body":"你好 🎉","preview_url":true}'
    )


def test_fields_that_are_null_are_left_out() -> None:
    content = parse_content(T.IMAGE, {"id": None, "link": LINK, "caption": None})
    assert content.to_vendor() == {"link": LINK}


MISSING = "is missing; add it"
EMPTY = "is empty; fill it, or omit the field if it is optional"


@pytest.mark.parametrize(
    ("type", "value", "field", "shown", "why"),
    [
        (T.TEXT, [], "content", "a list", "must be a JSON object, like the vendor's Content"),
        (T.TEXT, {}, "body", "", MISSING),
        (T.TEXT, {"body": ""}, "body", "", EMPTY),
        (T.TEXT, {"body": " \n\t"}, "body", "", EMPTY),
        (T.TEXT, {"body": 7}, "body", "an int", "must be a string"),
        (
            T.TEXT,
            {"body": "a" * 4097},
            "body",
            "4,097 characters",
            "may have at most 4,096 characters; shorten it",
        ),
        (
            T.TEXT,
            {"body": "👩" * 1_000_000},
            "body",
            "1,000,000 characters",
            "may have at most 4,096 characters; shorten it",
        ),
        (T.TEXT, {"body": "a\0b"}, "body", "", "has a NUL character; remove it"),
        (
            T.TEXT,
            {"body": "a\ud800"},
            "body",
            "",
            "has half of a character (a lone surrogate); export the data as UTF-8 again",
        ),
        (T.TEXT, {"body": "a", "preview_url": "true"}, "preview_url", "a str", "must be true or false"),
        (T.TEXT, {"bodi": "a"}, "bodi", "", "is not a field here; did you mean body?"),
        (
            T.TEXT,
            {"body": "a", "context": 1},
            "context",
            "",
            "is not a field here; the fields are body, preview_url",
        ),
        (T.IMAGE, {}, "id", "", "give exactly one of id and link, not none of them"),
        (T.IMAGE, {"id": "1", "link": LINK}, "id", "", "give exactly one of id and link, not both of them"),
        (
            T.IMAGE,
            {"id": "1", "caption": "c" * 1025},
            "caption",
            "1,025 characters",
            "may have at most 1,024 characters; shorten it",
        ),
        (T.IMAGE, {"id": "1", "Caption": "c"}, "Caption", "", "is not a field here; did you mean caption?"),
        (T.AUDIO, {"id": "1", "caption": "c"}, "caption", "", "is not a field of an audio; remove it"),
        (T.STICKER, {"id": "1", "caption": "c"}, "caption", "", "is not a field of a sticker; remove it"),
        (
            T.DOCUMENT,
            {"id": "1", "caption": "c"},
            "caption",
            "",
            "is not a field of a document; remove it",
        ),
        (T.AUDIO, {"id": 1}, "id", "an int", "must be a string"),
        (T.LOCATION, {"latitude": 1}, "longitude", "", MISSING),
        (T.LOCATION, {"latitude": 90.1, "longitude": 0}, "latitude", "", "must be between -90 and 90"),
        (T.LOCATION, {"latitude": 0, "longitude": -181}, "longitude", "", "must be between -180 and 180"),
        (
            T.LOCATION,
            {"latitude": float("nan"), "longitude": 0},
            "latitude",
            "",
            "must be between -90 and 90",
        ),
        (
            T.LOCATION,
            {"latitude": 0, "longitude": float("inf")},
            "longitude",
            "",
            "must be between -180 and 180",
        ),
        (
            T.LOCATION,
            {"latitude": True, "longitude": 0},
            "latitude",
            "true or false",
            "must be a number of degrees, like 51.5072",
        ),
        (
            T.LOCATION,
            {"latitude": "51.5", "longitude": 0},
            "latitude",
            "a str",
            "must be a number of degrees, like 51.5072",
        ),
    ],
)
def test_a_wrong_content_is_refused_with_its_place_and_the_remedy(
    type: MessageType, value: object, field: str, shown: str, why: str
) -> None:
    error = refusal(type, value)
    assert (error.field, error.value, error.why) == (field, shown, why)


B0 = "components[0]"
NEWLINE = "has a newline or tab, which WhatsApp refuses in a template's variable (132018); remove it"


@pytest.mark.parametrize(
    ("value", "field", "shown", "why"),
    [
        (
            template(name="Otp-Test"),
            "name",
            "Otp-Test",
            "may only have the characters a-z, 0-9 and _; check the name",
        ),
        (template(name="a" * 513), "name", "513 characters", "may have at most 512 characters; shorten it"),
        (template(name=None), "name", "", MISSING),
        (
            template(language="en_US"),
            "language",
            "a str",
            'must be an object, like {"code": "en_US", "policy": "deterministic"}',
        ),
        (template(language={"code": "en"}), "language.policy", "", MISSING),
        (
            template(language={"code": "en", "policy": "确定性"}),
            "language.policy",
            "确定性",
            'must be the word "deterministic"',
        ),
        (
            template(language={"code": "English", "policy": "deterministic"}),
            "language.code",
            "English",
            "is not a language code, like en, en_US or zh_CN",
        ),
        (template(components={}), "components", "a dict", "must be a list"),
        (template("body"), B0, "a str", 'must be an object, like {"type": "body", "parameters": […]}'),
        (template({"type": "footer"}), f"{B0}.type", "footer", "must be header or body or button"),
        (template({"parameters": []}), f"{B0}.type", "", "is missing; it is header or body or button"),
        (
            template(body("a"), body("b")),
            "components[1]",
            "",
            "is a second body, after components[0]; remove one of them",
        ),
        (
            template(button("1"), button("1", "quick_reply")),
            "components[1]",
            "",
            'is a second button of index "1", after components[0]; remove one of them',
        ),
        (
            template(body("a") | {"index": "0"}),
            f"{B0}.index",
            "",
            "is a field of buttons, not of a body; remove it",
        ),
        (
            template(body("a") | {"sub_type": "url"}),
            f"{B0}.sub_type",
            "",
            "is a field of buttons, not of a body; remove it",
        ),
        (
            template(body("a") | {"params": []}),
            f"{B0}.params",
            "",
            "is not a field here; did you mean parameters?",
        ),
        (template(button(0)), f"{B0}.index", "0", 'must be one of the strings "0", "1" and "2"'),
        (template(button("3")), f"{B0}.index", "3", 'must be one of the strings "0", "1" and "2"'),
        (template(button(sub_type="copy_code")), f"{B0}.sub_type", "copy_code", "must be url or quick_reply"),
        (template(button(sub_type=None)), f"{B0}.sub_type", "", "is missing; it is url or quick_reply"),
        (
            template(button(parameters=None)),
            f"{B0}.parameters",
            "",
            "is missing; a button needs exactly one parameter",
        ),
        (
            template(button(parameters=[{"type": "text", "text": "a"}] * 2)),
            f"{B0}.parameters",
            "2 of them",
            "may have at most 1; remove some",
        ),
        (
            template(button(parameters=[{"type": "payload", "payload": "a"}])),
            f"{B0}.parameters[0].type",
            "payload",
            "must be text",
        ),
        (
            template(button("0", "quick_reply", parameters=[{"type": "text", "text": "a"}])),
            f"{B0}.parameters[0].type",
            "text",
            "must be payload",
        ),
        (
            template({"type": "body", "parameters": [{"type": "image", "image": {"id": "1"}}]}),
            f"{B0}.parameters[0].type",
            "image",
            "must be text",
        ),
        (
            template({"type": "body", "parameters": ["a"]}),
            f"{B0}.parameters[0]",
            "a str",
            'must be an object, like {"type": "text", …}',
        ),
        (
            template(header(type="text", body="x")),
            f"{B0}.parameters[0].body",
            "",
            "is not a field here; the fields are type, text",
        ),
        (template(header(type="text")), f"{B0}.parameters[0].text", "", MISSING),
        (
            template(header(type="text", text="T" * 61)),
            f"{B0}.parameters[0].text",
            "61 characters",
            "may have at most 60 characters; shorten it",
        ),
        (
            template(header(type="image", image="x")),
            f"{B0}.parameters[0].image",
            "a str",
            "must be an object with id or link",
        ),
        (
            template(header(type="image", image={"link": "ftp://example.com/a"})),
            f"{B0}.parameters[0].image.link",
            "",
            "must begin with http:// or https://",
        ),
        (template(body("fine", "a\nb")), f"{B0}.parameters[1].text", "", NEWLINE),
        (template(body("a\tb")), f"{B0}.parameters[0].text", "", NEWLINE),
        (template(body("a\r\nb")), f"{B0}.parameters[0].text", "", NEWLINE),
        (
            template(body("a     b")),
            f"{B0}.parameters[0].text",
            "",
            "has more than 4 spaces in a row, which WhatsApp refuses in a template's variable (132018); remove some",
        ),
        (template(body("")), f"{B0}.parameters[0].text", "", EMPTY),
        (
            template(body("a" * 1_000_000)),
            f"{B0}.parameters[0].text",
            "1,000,000 characters",
            "may have at most 1,024 characters; shorten it",
        ),
    ],
)
def test_a_wrong_template_is_refused_with_its_place_and_the_remedy(
    value: object, field: str, shown: str, why: str
) -> None:
    error = refusal(T.TEMPLATE, value)
    assert (error.field, error.value, error.why) == (field, shown, why)


ADDRESS = "names its host by an IP address; use a public host name"
OWN = "has a host that is known only in a private network; use a public host name"
NO_HOST_NAME = "has a host that is not a valid host name; write it like https://example.com/picture.jpg"
USER = "must not carry a user name or password (an @ before the path)"


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("http://169.254.169.254/", ADDRESS),
        ("http://127.0.0.1:6379", ADDRESS),
        ("http://127.1/", ADDRESS),
        ("http://0x7f.0.0.1/", ADDRESS),
        ("http://0x7f000001/", ADDRESS),
        ("http://0177.0.0.1/", ADDRESS),
        ("http://2130706433/", ADDRESS),
        ("http://127.0.0.1./", ADDRESS),
        ("http://１２７.０.０.１/", ADDRESS),
        ("http://[::ffff:127.0.0.1]", ADDRESS),
        ("http://[::1]:80/", ADDRESS),
        ("http://[fe80::1%25eth0]/", ADDRESS),
        ("https://8.8.8.8/a.jpg", ADDRESS),
        ("http://localhost:8080/a", OWN),
        ("http://redis/", OWN),
        ("http://printer.local/a", OWN),
        ("http://a.localhost/", OWN),
        ("http://metadata.google.internal/", OWN),
        ("file:///etc/passwd", "must begin with http:// or https://"),
        ("javascript:alert(1)", "must begin with http:// or https://"),
        ("cdn.example.com/a.jpg", "must begin with http:// or https://"),
        ("//cdn.example.com/a.jpg", "must begin with http:// or https://"),
        ("https://", "names no host; write it like https://example.com/picture.jpg"),
        ("https:///a.jpg", "names no host; write it like https://example.com/picture.jpg"),
        ("https://user:pass@example.com/", USER),
        ("https://user@example.com/", USER),
        ("https://example.com\\@127.0.0.1/", USER),
        ("https://127.0.0.1\\.example.com/", NO_HOST_NAME),
        ("https://%31%32%37.0.0.1.example.com/", NO_HOST_NAME),
        ("https://-a-.example.com/", NO_HOST_NAME),
        ("https://example..com/", NO_HOST_NAME),
        ("https://example.com:99999/", "is not a link; write it like https://example.com/picture.jpg"),
        ("https://[::1/", "is not a link; write it like https://example.com/picture.jpg"),
        ("https://example.com/a b.jpg", "has a blank or control character; percent-encode it"),
        ("https://example.com/a\nb.jpg", "has a blank or control character; percent-encode it"),
        (LINK + "a" * 2048, "may have at most 2,048 characters; shorten it"),
    ],
)
def test_a_link_that_is_not_to_a_public_host_by_name_is_refused(link: str, why: str) -> None:
    error = refusal(T.IMAGE, {"link": link})
    assert (error.field, error.why) == ("link", why)
    assert error.value in ("", f"{len(link):,} characters"), "a link may hold somebody's token"


@given(st.integers(0, 2**32 - 1))
def test_no_spelling_of_an_ip_address_passes_for_a_host(number: int) -> None:
    octets = number.to_bytes(4, "big")
    for host in (
        ".".join(map(str, octets)),
        ".".join(f"0{o:o}" for o in octets),
        ".".join(f"{o:#x}" for o in octets),
        f"{octets[0]}.{number & 0xFFFFFF}",
        str(number),
        hex(number),
        f"[::ffff:{'.'.join(map(str, octets))}]",
    ):
        assert refusal(T.IMAGE, {"link": f"http://{host}/a"}).why == ADDRESS


KNOWN_NAMES = """
    body preview_url id link caption filename latitude longitude name language code policy components type parameters
    text payload image sub_type index
"""
names = st.sampled_from(KNOWN_NAMES.split()) | st.text(max_size=4)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8) | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(MessageType), st.dictionaries(names, json_values, max_size=5))
def test_any_object_is_a_content_or_an_explained_refusal(type: MessageType, value: dict[str, object]) -> None:
    try:
        content = parse_content(type, value)
    except InvalidValue:
        return
    assert parse_content(type, content.to_vendor()) == content
