"""A content names a file of ours by our id, in the place that it has for it, and gets the vendor's id later."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from bulksend.errors import InvalidValue
from bulksend.messaging import MessageType, compile_content
from bulksend.messaging.media_references import our_files, reference, with_file, with_vendor_ids

ID = "01978c5e-0000-7000-8000-000000000001"
OURS = {"id": reference(ID)}
TEMPLATE: dict[str, Any] = {"name": "sale", "language": {"code": "en", "policy": "deterministic"}}
BODY = {"type": "body", "parameters": [{"type": "text", "text": "{{name}}"}]}


def header(**file: str) -> dict[str, Any]:
    return {"type": "header", "parameters": [{"type": "image", "image": file}]}


@pytest.mark.parametrize(
    ("type", "content", "expected"),
    [
        ("image", {"caption": "for {{name}}"}, {"caption": "for {{name}}", **OURS}),
        ("image", {"id": None, "link": None}, OURS),
        ("template", {**TEMPLATE, "components": [BODY]}, {**TEMPLATE, "components": [header(**OURS), BODY]}),
        ("template", TEMPLATE, {**TEMPLATE, "components": [header(**OURS)]}),
        (
            "template",
            {**TEMPLATE, "components": [BODY, header()]},
            {**TEMPLATE, "components": [BODY, header(**OURS)]},
        ),
    ],
)
def test_a_file_takes_the_place_that_the_content_has(
    type: str, content: dict[str, Any], expected: dict[str, Any]
) -> None:
    before = copy.deepcopy(content)
    made = with_file(MessageType(type), content, MessageType.IMAGE, ID, field="--media")
    assert (made, content) == (expected, before)
    assert our_files(MessageType(type), made) == {ID}
    source = compile_content(MessageType(type), made).source
    vendors = with_vendor_ids(MessageType(type), made, {ID: "5550100"})
    rendered = compile_content(MessageType(type), vendors).render({"name": "Ada"})
    assert '"id":"5550100"' in rendered
    assert ID in source
    assert ID not in rendered


@pytest.mark.parametrize(
    ("type", "content", "file", "why"),
    [
        ("text", {"body": "x"}, "image", "has no place in a content of type text: send it as image"),
        ("location", {"latitude": 1}, "video", "has no place in a content of type location"),
        ("video", {}, "image", "the content takes video here"),
        ("image", {"link": "https://example.com/a.jpg"}, "image", "is given beside link of the content"),
        (
            "template",
            {**TEMPLATE, "components": [header(id="5550100")]},
            "image",
            r"beside components\[0\].parameters\[0\].image.id of the content: remove one",
        ),
        ("template", {**TEMPLATE, "components": [header()]}, "document", "the content takes image here"),
        ("template", TEMPLATE, "sticker", "the header of a template takes image, video or document"),
        (
            "template",
            {**TEMPLATE, "components": [{"type": "header", "parameters": [{"type": "text", "text": "x"}]}]},
            "image",
            "the header of the content has something else",
        ),
        ("template", {**TEMPLATE, "components": "x"}, "image", "has no place"),
    ],
)
def test_a_content_without_a_place_for_it_says_so(
    type: str, content: dict[str, Any], file: str, why: str
) -> None:
    with pytest.raises(InvalidValue, match=f"^--media: .*{why}"):
        with_file(MessageType(type), content, MessageType(file), ID, field="--media")


def test_our_id_is_an_id_and_no_row_can_give_one() -> None:
    for wrong in ("media:", "media:x", f"media:{ID}0", f"media:{{{ID}}}"):
        with pytest.raises(InvalidValue, match=r"^id: has no id of ours behind media:"):
            compile_content(MessageType.IMAGE, {"id": wrong})
    of_row = compile_content(MessageType.IMAGE, {"id": "{{picture}}"})
    assert of_row.render({"picture": "5550100"}) == '{"id":"5550100"}'
    with pytest.raises(InvalidValue, match=r"^picture: begins with media:, which no row can give"):
        of_row.render({"picture": f"media:{ID}"})
    with pytest.raises(InvalidValue, match="no row can give"):
        compile_content(MessageType.IMAGE, {"id": "media:{{picture}}"}).check({"picture": ID})


def test_texts_that_look_like_a_file_of_ours_are_left_alone() -> None:
    content = {"body": reference(ID)}
    assert our_files(MessageType.TEXT, content) == frozenset()
    captioned = {**OURS, "caption": reference(ID)}
    assert with_vendor_ids(MessageType.IMAGE, captioned, {ID: "1"}) == {"id": "1", "caption": reference(ID)}
