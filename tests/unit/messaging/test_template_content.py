"""The content that sends a template, made of one text for each of its values."""

from __future__ import annotations

import pytest

from bulksend.messaging.content import parse_content
from bulksend.messaging.states import Kind, MessageType
from bulksend.messaging.template_content import template_content, texts_of, values_of
from bulksend.messaging.template_fit import KnownTemplate, misfit
from bulksend.messaging.template_shape import TemplateButton, TemplateShape, TemplateText

BODY = TemplateText("Hi {{1}}, order {{2}}", ("name", "order"))
SHAPES = {
    "body": (TemplateShape(body=BODY), "MARKETING"),
    "text header": (TemplateShape("TEXT", TemplateText("For {{1}}", ("name",)), BODY), "MARKETING"),
    "image": (TemplateShape("IMAGE", body=BODY), "MARKETING"),
    "buttons": (
        TemplateShape(
            body=BODY,
            buttons=(
                TemplateButton("URL", "Open", "https://a.example/{{1}}", ("1",)),
                TemplateButton("URL", "Fixed", "https://a.example"),
                TemplateButton("QUICK_REPLY", "Stop"),
            ),
        ),
        "MARKETING",
    ),
    "code": (TemplateShape(buttons=(TemplateButton("OTP", "Copy"),)), "AUTHENTICATION"),
    "nothing": (TemplateShape(body=TemplateText("Hello")), "UTILITY"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_text_for_each_value_makes_a_content_that_fits_and_can_be_taken_apart(name: str) -> None:
    shape, category = SHAPES[name]
    values = values_of(shape, category)
    texts = {each.place: f"{{{{c{n}}}}}" for n, each in enumerate(values)}
    made = template_content("sale", "en_GB", values, texts)
    kind = Kind.OTP if category == "AUTHENTICATION" else Kind.MARKETING
    assert misfit(made, KnownTemplate("sale", "en_GB", "APPROVED", category, shape=shape), kind) is None
    assert texts_of(made) == texts
    filled = template_content("sale", "en_GB", values, dict.fromkeys(texts, "https://a.example/x.jpg"))
    assert parse_content(MessageType.TEMPLATE, filled).to_vendor() == filled


def test_a_quick_reply_without_a_payload_is_left_out() -> None:
    values = values_of(*SHAPES["buttons"])
    made = template_content("sale", "en", values, {"body.0": "a", "body.1": "b", "button.0": "c"})
    assert [each.get("index") for each in made["components"]] == [None, "0"]


def test_a_file_is_named_by_its_link_or_its_id() -> None:
    values = values_of(*SHAPES["image"])
    files = [
        template_content("sale", "en", values, {"header.file": text})["components"][0]["parameters"][0][
            "image"
        ]
        for text in ("https://a.example/x.jpg", "{{picture}}", "media:01", "123")
    ]
    assert files == [
        {"link": "https://a.example/x.jpg"},
        {"link": "{{picture}}"},
        {"id": "media:01"},
        {"id": "123"},
    ]
