"""The content that sends a template: made of its shape and one text for each of its values, and taken apart again.

A place names a value: ``header.0``, ``body.1``, ``button.0``, or ``header.file`` for a file. Its text may have
placeholders, ``{{first name}}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bulksend.messaging.template_fit import AUTHENTICATION
from bulksend.messaging.template_shape import MEDIA_FORMATS, TemplateShape

HEADER_FILE = "header.file"


@dataclass(frozen=True, slots=True)
class TemplateValue:
    """A value that a message gives its template. ``name`` is for people; ``kind``: text, code, payload or a file."""

    place: str
    name: str
    kind: str = "text"


def values_of(shape: TemplateShape, category: str | None) -> list[TemplateValue]:
    """The values that a template needs, in the order of its parts."""
    found: list[TemplateValue] = []
    if shape.header_format in MEDIA_FORMATS:
        found.append(TemplateValue(HEADER_FILE, shape.header_format.lower(), shape.header_format.lower()))
    found += [TemplateValue(f"header.{n}", name) for n, name in enumerate(shape.header.variables)]
    is_code = category == AUTHENTICATION
    body = shape.body.variables
    if is_code and not shape.body.text:
        body = ("code",)
    found += [TemplateValue(f"body.{n}", name, "code" if is_code else "text") for n, name in enumerate(body)]
    for n, button in enumerate(shape.buttons):
        if button.type == "URL" and button.variables:
            found.append(TemplateValue(f"button.{n}", button.variables[0]))
        elif is_code and n == 0:
            found.append(TemplateValue(f"button.{n}", "code", "code"))
        elif button.type == "QUICK_REPLY":
            found.append(TemplateValue(f"button.{n}", button.text, "payload"))
    return found


def template_content(
    name: str, language: str, values: Sequence[TemplateValue], texts: Mapping[str, str]
) -> dict[str, Any]:
    """The vendor's Content. ``texts`` by place; a payload without a text is left out."""
    header = [_parameter(each, texts) for each in values if each.place.startswith("header.")]
    body = [_parameter(each, texts) for each in values if each.place.startswith("body.")]
    components: list[dict[str, Any]] = []
    if header:
        components.append({"type": "header", "parameters": header})
    if body:
        components.append({"type": "body", "parameters": body})
    buttons = (each for each in values if each.place.startswith("button."))
    components += [
        _button(each, texts) for each in buttons if each.kind != "payload" or texts.get(each.place)
    ]
    content: dict[str, Any] = {"name": name, "language": {"code": language, "policy": "deterministic"}}
    return {**content, "components": components} if components else content


def texts_of(content: Mapping[str, Any]) -> dict[str, str]:
    """The texts of a content that sends a template, by place."""
    found: dict[str, str] = {}
    for component in content.get("components") or []:
        kind, parameters = component["type"], component.get("parameters") or []
        for n, parameter in enumerate(parameters):
            value = parameter.get(parameter["type"])
            if isinstance(value, Mapping):
                found[HEADER_FILE] = str(value.get("link") or value.get("id") or "")
            else:
                found[f"button.{component['index']}" if kind == "button" else f"{kind}.{n}"] = str(value)
    return found


def _parameter(value: TemplateValue, texts: Mapping[str, str]) -> dict[str, Any]:
    text = texts.get(value.place, "")
    if value.place == HEADER_FILE:
        return {"type": value.kind, value.kind: file_of(text)}
    return {"type": "text", "text": text}


def _button(value: TemplateValue, texts: Mapping[str, str]) -> dict[str, Any]:
    sub_type, kind = ("quick_reply", "payload") if value.kind == "payload" else ("url", "text")
    return {
        "type": "button",
        "sub_type": sub_type,
        "index": value.place.removeprefix("button."),
        "parameters": [{"type": kind, kind: texts.get(value.place, "")}],
    }


def file_of(text: str) -> dict[str, str]:
    """A file by its link, or by its id. A placeholder stands for a link."""
    is_link = "://" in text or text.startswith("{{")
    return {"link" if is_link else "id": text}
