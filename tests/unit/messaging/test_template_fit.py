"""Whether a content fits its template: each rule, and the remedy in its sentence."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.messaging.states import Kind
from bulksend.messaging.template_fit import KnownTemplate, misfit, template_of, worsened
from bulksend.messaging.template_shape import TemplateShape, read_shape

TEXT = {"type": "text", "text": "{{name}}"}
IMAGE = {"type": "image", "image": {"link": "https://shop.example/a.png"}}


def shape(
    body: str = "Hi", head: dict[str, Any] | None = None, buttons: list[dict[str, Any]] | None = None
) -> TemplateShape:
    components: list[dict[str, Any]] = [{"Type": "BODY", "Text": body}]
    components += [{"Type": "HEADER", **head}] if head else []
    components += [{"Type": "BUTTONS", "Buttons": buttons}] if buttons else []
    made = read_shape(components)
    assert made is not None
    return made


def known(made: TemplateShape | None = None, **more: Any) -> KnownTemplate:
    return KnownTemplate("sale", "en", **{"status": "APPROVED", "shape": made, **more})


def content(*components: dict[str, Any]) -> dict[str, Any]:
    return {"name": "sale", "language": {"code": "en"}, "components": list(components)}


def body(count: int) -> dict[str, Any]:
    return {"type": "body", "parameters": [TEXT] * count}


def button(index: str = "0", sub_type: str = "url") -> dict[str, Any]:
    parameter = TEXT if sub_type == "url" else {"type": "payload", "payload": "x"}
    return {"type": "button", "sub_type": sub_type, "index": index, "parameters": [parameter]}


URL = {"Type": "URL", "Text": "Open", "URL": "https://shop.example/{{1}}"}
FIXED = {"Type": "URL", "Text": "Open", "URL": "https://shop.example/"}
TAP = {"Type": "QUICK_REPLY", "Text": "Stop"}
CALL = {"Type": "PHONE_NUMBER", "Text": "Call"}


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        ("PENDING", None, "wait for its approval"),
        ("PAUSED", None, "wait, or use another template"),
        ("REJECTED", "INVALID_FORMAT", "REJECTED (INVALID_FORMAT) at the vendor: correct it"),
        ("DISABLED", None, "make a new one in the vendor's console"),
        ("SOMETHING_NEW", None, "only APPROVED ones can be sent"),
    ],
)
def test_only_an_approved_template_can_be_sent(status: str, reason: str | None, words: str) -> None:
    why = misfit(content(), known(status=status, rejected_reason=reason), Kind.MARKETING)
    assert why is not None
    assert why.startswith(f"template sale (en) is {status}")
    assert words in why


@pytest.mark.parametrize("status", [None, "", "APPROVED"])
def test_what_is_not_known_refuses_nothing(status: str | None) -> None:
    assert misfit(content(body(9)), known(status=status), Kind.OTP) is None


@pytest.mark.parametrize(
    ("category", "kind", "words"),
    [
        ("MARKETING", Kind.OTP, "need AUTHENTICATION"),
        ("UTILITY", Kind.OTP, "need AUTHENTICATION"),
        ("AUTHENTICATION", Kind.MARKETING, "use the kind otp"),
        ("AUTHENTICATION", Kind.UTILITY, "use the kind otp"),
        ("MARKETING", Kind.UTILITY, "use the kind marketing"),
        ("UTILITY", Kind.MARKETING, None),
        ("AUTHENTICATION", Kind.OTP, None),
        ("MARKETING", Kind.MARKETING, None),
        ("SOMETHING_NEW", Kind.MARKETING, None),
        (None, Kind.OTP, None),
    ],
)
def test_a_category_goes_with_its_kind(category: str | None, kind: Kind, words: str | None) -> None:
    why = misfit(content(), known(category=category), kind)
    assert (why is None) == (words is None)
    assert (words or "") in (why or "")


@pytest.mark.parametrize(
    ("template", "given", "words"),
    [
        (shape("Hi {{1}}"), content(body(1)), None),
        (
            shape("Hi {{1}} {{2}}"),
            content(body(1)),
            "2 variables (1, 2) in its body, and the content gives 1",
        ),
        (shape("Hi"), content(body(1)), "no variable in its body, and the content gives 1"),
        (shape("Hi {{1}}"), content(), "1 variable (1) in its body, and the content gives 0"),
        (shape("Hi"), {"name": "sale", "language": {"code": "en"}}, None),
        (shape(head={"Format": "TEXT", "Text": "A {{1}}"}), content(), "1 variable (1) in its header"),
        (
            shape(head={"Format": "TEXT", "Text": "A {{1}}"}),
            content({"type": "header", "parameters": [TEXT]}),
            None,
        ),
        (shape(head={"Format": "IMAGE"}), content({"type": "header", "parameters": [IMAGE]}), None),
        (shape(head={"Format": "IMAGE"}), content(), "header of type image, and the content has none"),
        (
            shape(head={"Format": "VIDEO"}),
            content({"type": "header", "parameters": [IMAGE]}),
            "header of type video, and the content has image",
        ),
        (
            shape(),
            content({"type": "header", "parameters": [IMAGE]}),
            "no header, and the content gives its header",
        ),
        (shape(buttons=[URL]), content(button()), None),
        (shape(buttons=[URL]), content(), "variable in the URL of its button 0, and the content gives none"),
        (shape(buttons=[FIXED]), content(button()), "no variable in the URL of its button 0"),
        (shape(buttons=[FIXED, TAP]), content(button("1", "quick_reply")), None),
        (shape(buttons=[FIXED, TAP]), content(), None),
        (shape(buttons=[TAP]), content(button()), "a button of type QUICK_REPLY, and the content gives url"),
        (shape(buttons=[CALL]), content(button()), "type PHONE_NUMBER, and the content gives url: remove it"),
        (
            shape(buttons=[TAP]),
            content(button("2", "quick_reply")),
            "has 1 buttons, and the content gives one of",
        ),
    ],
)
def test_parameters_are_those_of_the_template(
    template: TemplateShape, given: dict[str, Any], words: str | None
) -> None:
    why = misfit(given, known(template), Kind.MARKETING)
    assert (why is None) == (words is None)
    assert (words or "") in (why or "")


def test_a_code_stands_in_the_body_and_in_the_first_button() -> None:
    for made in (
        shape("{{1}} is your code", buttons=[URL]),
        shape("", buttons=[{"Type": "OTP", "Text": "Copy code"}]),
    ):
        template = known(made, category="AUTHENTICATION")
        assert misfit(content(body(1), button()), template, Kind.OTP) is None
        assert "button 0" in (misfit(content(body(1)), template, Kind.OTP) or "")
        assert "in its body" in (misfit(content(button()), template, Kind.OTP) or "")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({}, {"status": "PAUSED"}, "is PAUSED"),
        ({"status": "PAUSED"}, {"status": "APPROVED"}, None),
        ({"status": None}, {"status": "APPROVED"}, None),
        (
            {"category": "UTILITY"},
            {"category": "MARKETING"},
            "moved template sale (en) from UTILITY to MARKETING",
        ),
        ({"category": None}, {"category": "MARKETING"}, None),
        ({"quality": "GREEN"}, {"quality": "YELLOW"}, "fell from GREEN to YELLOW"),
        ({"quality": None}, {"quality": "RED"}, "fell from UNKNOWN to RED"),
        ({"quality": "UNKNOWN"}, {"quality": "GREEN"}, None),
        ({"quality": "RED"}, {"quality": "YELLOW"}, None),
        ({"quality": "GREEN"}, {"quality": "UNKNOWN"}, None),
    ],
)
def test_only_a_change_for_the_worse_stops_campaigns(
    before: dict[str, Any], after: dict[str, Any], words: str | None
) -> None:
    why = worsened(known(**before), known(**after))
    assert (why is None) == (words is None)
    assert (words or "") in (why or "")


def test_only_a_template_names_one() -> None:
    assert template_of("template", content()) == ("sale", "en")
    assert template_of("text", content()) is None
    assert template_of("template", {}) is None
