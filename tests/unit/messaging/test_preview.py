"""A message as its recipient will see it."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.messaging.preview import preview
from bulksend.messaging.states import MessageType
from bulksend.messaging.template_shape import TemplateButton, TemplateShape, TemplateText

SALE = TemplateShape(
    "IMAGE",
    TemplateText(""),
    TemplateText("Hello {{1}}, {{2}} off", ("name", "discount")),
    "Reply STOP to opt out",
    (
        TemplateButton("URL", "Shop", "https://shop.example/{{1}}", ("1",)),
        TemplateButton("QUICK_REPLY", "No thanks"),
    ),
)
CONTENT: dict[str, Any] = {
    "name": "sale",
    "language": {"code": "en_GB", "policy": "deterministic"},
    "components": [
        {"type": "header", "parameters": [{"type": "image", "image": {"link": "https://cdn.example/a.png"}}]},
        {
            "type": "body",
            "parameters": [{"type": "text", "text": "Ann {{2}}"}, {"type": "text", "text": "10 %"}],
        },
        {
            "type": "button",
            "sub_type": "url",
            "index": "0",
            "parameters": [{"type": "text", "text": "spring"}],
        },
    ],
}


def test_the_parameters_of_a_template_fill_its_variables_in_their_order() -> None:
    assert preview(MessageType.TEMPLATE, CONTENT, SALE).as_json() == {
        "header": "[image https://cdn.example/a.png]",
        "body": "Hello Ann {{2}}, 10 % off",
        "footer": "Reply STOP to opt out",
        "buttons": ["Shop: https://shop.example/spring", "No thanks"],
    }


def test_a_template_whose_text_is_not_known_shows_its_values() -> None:
    shown = preview(MessageType.TEMPLATE, CONTENT, None)
    assert shown.body == "[template sale (en_GB), whose text is not known here]\nAnn {{2}}\n10 %"


def test_whatsapp_writes_the_text_of_a_code() -> None:
    shape = TemplateShape(buttons=(TemplateButton("OTP", "Copy code"),))
    content = {**CONTENT, "components": [{"type": "body", "parameters": [{"type": "text", "text": "****"}]}]}
    shown = preview(MessageType.TEMPLATE, content, shape)
    assert (shown.body, shown.buttons) == ("[WhatsApp's own text] ****", ["Copy code"])


@pytest.mark.parametrize(
    ("type", "content", "header", "body"),
    [
        ("text", {"body": "Hello Ann"}, None, "Hello Ann"),
        (
            "image",
            {"link": "https://cdn.example/a.png", "caption": "New"},
            "[image https://cdn.example/a.png]",
            "New",
        ),
        ("document", {"id": "77", "filename": "bill.pdf"}, "[document bill.pdf]", None),
        ("location", {"latitude": 1.5, "longitude": 2, "name": "Shop"}, "[location 1.5, 2]", "Shop"),
    ],
)
def test_other_contents_show_their_text_and_their_file(
    type: str, content: dict[str, Any], header: str | None, body: str | None
) -> None:
    shown = preview(MessageType(type), content, None).as_json()
    assert (shown["header"], shown["body"]) == (header, body)
