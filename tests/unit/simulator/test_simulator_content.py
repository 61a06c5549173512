"""The vendor's check of Content, independent of the sender's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.content import TYPES, ContentError, check_content

LANGUAGE = {"code": "en_US", "policy": "deterministic"}


def template(*components: Any, **changes: Any) -> dict[str, Any]:
    return {"name": "text_template", "language": LANGUAGE, "components": list(components)} | changes


def body(*texts: Any) -> dict[str, Any]:
    return {"type": "body", "parameters": [{"type": "text", "text": text} for text in texts]}


def button(**changes: Any) -> dict[str, Any]:
    part = {"type": "button", "sub_type": "url", "index": "0", "parameters": [{"type": "text", "text": "1"}]}
    return part | changes


QUICK_REPLY = button(sub_type="quick_reply", parameters=[{"type": "payload", "payload": "text1"}])
MEDIA_ID = "5867096a-a9be-4a56-94d6-89377623b4ac"

GOOD = [
    ("text", {"body": "text-message-content", "preview_url": False}),
    ("text", {"body": "你好 🎉"}),
    ("text", {"body": "x" * 4096, "unknown": 1}),
    ("image", {"id": MEDIA_ID, "caption": "image test"}),
    ("image", {"link": "https://example.com/a.png"}),
    ("video", {"id": MEDIA_ID, "caption": "视频测试"}),
    ("audio", {"id": MEDIA_ID}),
    ("document", {"id": MEDIA_ID, "filename": "文档"}),
    ("sticker", {"link": "http://example.com/a.webp"}),
    ("location", {"latitude": 22.550802897696343, "longitude": 113.93844723701477, "name": "洛杉矶, 加州"}),
    ("location", {"latitude": 0, "longitude": -180}),
    ("template", template()),
    ("template", {"name": "otp_test_02", "language": LANGUAGE}),
    ("template", template(body("David", "B520"))),
    ("template", template(body("123456"), button(parameters=[{"type": "text", "text": "123456"}]))),
    ("template", template({"type": "header", "parameters": [{"type": "image", "image": {"id": MEDIA_ID}}]})),
    ("template", template(QUICK_REPLY, QUICK_REPLY | {"index": "2"})),
    ("template", template(body("four    spaces"))),
]

BAD = [
    ("text", {}, "body"),
    ("text", {"body": ""}, "body"),
    ("text", {"body": 5}, "body"),
    ("text", {"body": "x" * 4097}, "body"),
    ("text", {"body": "x", "preview_url": "true"}, "preview_url"),
    ("image", {}, "exactly one of id and link"),
    ("image", {"id": MEDIA_ID, "link": "https://example.com/a.png"}, "exactly one of id and link"),
    ("image", {"link": "file:///etc/passwd"}, "HTTP"),
    ("image", {"link": "https://"}, "HTTP"),
    ("video", {"id": 7}, "video.id"),
    ("image", {"id": MEDIA_ID, "caption": "x" * 1025}, "caption"),
    ("document", {"id": MEDIA_ID, "filename": 1}, "filename"),
    ("location", {"latitude": "22.5", "longitude": 113}, "latitude"),
    ("location", {"latitude": True, "longitude": 113}, "latitude"),
    ("location", {"latitude": 90.5, "longitude": 113}, "latitude"),
    ("location", {"latitude": 22.5}, "longitude"),
    ("template", template(name="Bad-Name"), "name"),
    ("template", template(language="en_US"), "language"),
    ("template", template(language={"policy": "deterministic"}), "language.code"),
    ("template", template(language={"code": "en_US"}), "policy"),
    ("template", template(language={"code": "en_US", "policy": "确定性"}), "policy"),
    ("template", template(components={"type": "body"}), "components"),
    ("template", template("body"), "components[0].type"),
    ("template", template({"type": "footer"}), "components[0].type"),
    ("template", template(button(sub_type="phone")), "sub_type"),
    ("template", template(button(index=0)), "index"),
    ("template", template(button(index="10")), "index"),
    ("template", template(body("a") | {"index": "0"}), "no button"),
    ("template", template(body(1)), "parameters[0].text"),
    ("template", template(body("ok", "")), "parameters[1].text"),
    ("template", template(button(parameters=[{"type": "payload", "payload": "x"}])), "parameters[0].type"),
    (
        "template",
        template(QUICK_REPLY | {"parameters": [{"type": "text", "text": "x"}]}),
        "parameters[0].type",
    ),
    ("template", template({"type": "header", "parameters": [{"type": "image", "image": {}}]}), "exactly one"),
    ("template", template({"type": "body", "parameters": [{"type": ["text"]}]}), "parameters[0].type"),
]


@pytest.mark.parametrize(("kind", "content"), GOOD)
def test_content_of_the_documented_form_is_accepted(kind: str, content: dict[str, Any]) -> None:
    assert check_content(kind, json.dumps(content)) == content


@pytest.mark.parametrize(("kind", "content", "named"), BAD)
def test_content_of_another_form_is_rejected_with_the_field_and_code_100(
    kind: str, content: dict[str, Any], named: str
) -> None:
    with pytest.raises(ContentError) as refused:
        check_content(kind, json.dumps(content))
    assert refused.value.message.startswith("(#100) ")
    assert named in refused.value.message


@pytest.mark.parametrize("text", ["a\nb", "a\tb", "a     b", "a\r\nb"])
def test_a_variable_with_line_breaks_tabs_or_five_spaces_is_rejected_as_132018(text: str) -> None:
    with pytest.raises(ContentError) as refused:
        check_content("template", json.dumps(template(body(text))))
    assert refused.value.message.startswith("(#132018) ")


@pytest.mark.parametrize(
    "text",
    [None, {"body": "x"}, "", "{", "[]", '"text"', '{"body": NaN}', "[" * 100_000],
    ids=lambda one: str(one)[:12],
)
def test_content_that_is_not_a_json_object_in_a_string_is_rejected(text: object) -> None:
    with pytest.raises(ContentError, match="Content"):
        check_content("text", text)


_KEYS = [
    "name",
    "language",
    "code",
    "policy",
    "components",
    "type",
    "parameters",
    "text",
    "image",
    "index",
    "body",
    "id",
]

# Values that get past one check and on to the next, more often than random text would.
scalars = st.sampled_from(
    [
        None,
        True,
        0,
        0.5,
        "",
        "0",
        "x",
        "deterministic",
        "body",
        "button",
        "header",
        "url",
        "quick_reply",
        "text",
        "image",
    ]
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=5),
    max_leaves=10,
)


@given(st.sampled_from(sorted(TYPES)), st.dictionaries(st.sampled_from(_KEYS), json_values, max_size=6))
def test_any_content_is_accepted_or_raises_a_content_error(kind: str, content: dict[str, Any]) -> None:
    try:
        answer = check_content(kind, json.dumps(content))
    except ContentError:
        return
    assert answer == content
