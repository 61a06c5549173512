"""A message as its recipient sees it: the vendor's content, with the texts of its template filled in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bulksend.messaging.states import MessageType
from bulksend.messaging.template_shape import TemplateShape, TemplateText, fill, variables_in


@dataclass(frozen=True, slots=True)
class Preview:
    """The parts of a message for people. A file stands in brackets."""

    header: str = ""
    body: str = ""
    footer: str = ""
    buttons: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Parts that a message does not have are null."""
        return {
            "header": self.header or None,
            "body": self.body or None,
            "footer": self.footer or None,
            "buttons": self.buttons,
        }


def preview(type: MessageType, content: Mapping[str, Any], shape: TemplateShape | None) -> Preview:
    """A rendered content as it will look. ``shape`` is that of its template; None: not known, or no template."""
    if type is MessageType.TEMPLATE:
        return _template(content, shape)
    if type is MessageType.TEXT:
        return Preview(body=str(content["body"]))
    if type is MessageType.LOCATION:
        place = [str(content[name]) for name in ("name", "address") if content.get(name)]
        return Preview(f"[location {content['latitude']}, {content['longitude']}]", "\n".join(place))
    return Preview(_file(type.value, content), str(content.get("caption") or ""))


def _template(content: Mapping[str, Any], shape: TemplateShape | None) -> Preview:
    components = list(content.get("components") or [])
    by_type = {each["type"]: each for each in components if each["type"] != "button"}
    head, body = (list(_values(by_type.get(part))) for part in ("header", "body"))
    if shape is None:
        title = f"[template {content['name']} ({content['language']['code']}), whose text is not known here]"
        return Preview(" ".join(head), "\n".join([title, *body]))
    given = {str(each["index"]): list(_values(each)) for each in components if each["type"] == "button"}
    header = _filled(shape.header, head)
    if not shape.header.text and shape.header_format:
        header = " ".join(head) or f"[{shape.header_format.lower()}]"
    text = _filled(shape.body, body)
    if not shape.body.text:
        # WhatsApp writes the text of a one-time code.
        text = " ".join(["[WhatsApp's own text]", *body])
    return Preview(
        header,
        text,
        shape.footer,
        [
            _button(button.text or button.type, button.url, given.get(str(n), ()))
            for n, button in enumerate(shape.buttons)
        ],
    )


def _button(text: str, url: str, values: Sequence[str]) -> str:
    target = _filled(TemplateText(url), values) if url else ""
    return f"{text}: {target}" if target else text


def _filled(text: TemplateText, values: Sequence[str]) -> str:
    """Values go to the variables in their order: that is how WhatsApp reads parameters."""
    return fill(text, dict(zip(variables_in(text.text), values, strict=False)))


def _values(component: Mapping[str, Any] | None) -> Iterator[str]:
    for parameter in (component or {}).get("parameters") or []:
        kind = str(parameter["type"])
        value = parameter.get(kind)
        yield _file(kind, value) if isinstance(value, Mapping) else str(value)


def _file(kind: str, value: Mapping[str, Any]) -> str:
    named = value.get("filename") or value.get("link") or value.get("id")
    return f"[{kind} {named}]"
