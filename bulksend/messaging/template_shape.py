"""What a template of the vendor consists of: its texts, and which values a message must give it.

Made of the Components of GetTemplates, whose keys are PascalCase there (docs/vendor.md#other-calls), and of Attributes,
which name the variables for people. Unknown keys and words are kept out, never refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

#: Longer texts are no template's: WhatsApp allows 1,024 characters in a body.
_MOST_TEXT = 4096
_MOST_BUTTONS, _MOST_VARIABLES = 20, 100
MEDIA_FORMATS = frozenset({"IMAGE", "VIDEO", "DOCUMENT"})


@dataclass(frozen=True, slots=True)
class TemplateText:
    """A text with its variables, in the order of their parameters: by number, or by their first place."""

    text: str
    variables: tuple[str, ...] = ()
    """The name of each for people: from Attributes, else what stands between the braces."""


@dataclass(frozen=True, slots=True)
class TemplateButton:
    """A button; ``type`` as the vendor writes it: URL, QUICK_REPLY, PHONE_NUMBER, …"""

    type: str
    text: str = ""
    url: str = ""
    variables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TemplateShape:
    """The components of a template. ``header_format`` is TEXT, IMAGE, VIDEO, DOCUMENT, …; empty: no header."""

    header_format: str = ""
    header: TemplateText = TemplateText("")
    body: TemplateText = TemplateText("")
    footer: str = ""
    buttons: tuple[TemplateButton, ...] = ()

    def to_json(self) -> str:
        """For the ledger; ``shape_from_json`` reads it."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @property
    def summary(self) -> str:
        """What a message must give it, on one line: ``image header; body (name, order); URL 0 (1)``."""
        head = (
            f"{self.header_format.lower()} header{_listed(self.header.variables)}"
            if self.header_format
            else ""
        )
        buttons = [f"{button.type} {n}{_listed(button.variables)}" for n, button in enumerate(self.buttons)]
        return "; ".join(filter(None, [head, f"body{_listed(self.body.variables)}", *buttons]))

    def as_json(self) -> dict[str, Any]:
        """For people and programs: what a message must give it."""
        return {
            "header": None
            if not self.header_format
            else {
                "format": self.header_format,
                "text": self.header.text or None,
                "variables": list(self.header.variables),
            },
            "body": {"text": self.body.text, "variables": list(self.body.variables)},
            "footer": self.footer or None,
            "buttons": [
                {
                    "index": str(n),
                    "type": button.type,
                    "text": button.text,
                    "url": button.url or None,
                    "variables": list(button.variables),
                }
                for n, button in enumerate(self.buttons)
            ],
        }


def _listed(names: Sequence[str]) -> str:
    return f" ({', '.join(names)})" if names else ""


def read_shape(components: object, attributes: object = None) -> TemplateShape | None:
    """The shape from the vendor's ``Components`` and ``Attributes``; None where there are no components."""
    if not isinstance(components, Sequence) or isinstance(components, str) or not components:
        return None
    names = _names_by_component(attributes)
    made: dict[str, Any] = {}
    for component in components:
        if isinstance(component, Mapping):
            made |= _component(_fields(component), names)
    return TemplateShape(**made) if made else None


def shape_from_json(text: str | None) -> TemplateShape | None:
    """What ``TemplateShape.to_json`` wrote."""
    if text is None:
        return None
    value = json.loads(text)
    return TemplateShape(
        header_format=value["header_format"],
        header=TemplateText(value["header"]["text"], tuple(value["header"]["variables"])),
        body=TemplateText(value["body"]["text"], tuple(value["body"]["variables"])),
        footer=value["footer"],
        buttons=tuple(
            TemplateButton(**{**button, "variables": tuple(button["variables"])})
            for button in value["buttons"]
        ),
    )


def variables_in(text: str) -> tuple[str, ...]:
    """What stands between the braces of each variable: numbers in their order, names by their first place."""
    found: dict[str, None] = {}
    at = 0
    # By find, not by a pattern: with "{{{{{{…" a pattern would scan the whole rest from each brace.
    while len(found) < _MOST_VARIABLES and (start := text.find("{{", at)) >= 0:
        end = text.find("}}", start + 2)
        if end < 0:
            break
        name = text[start + 2 : end].strip()
        if name and len(name) <= 60 and "{" not in name:
            found[name] = None
        at = end + 2
    if all(name.isascii() and name.isdigit() for name in found):
        return tuple(sorted(found, key=int))
    return tuple(found)


def fill(text: TemplateText, values: Mapping[str, str]) -> str:
    """The text with its variables replaced; ``values`` by what stands between the braces.

    Values are not searched for variables.
    """
    parts: list[str] = []
    at = 0
    while (start := text.text.find("{{", at)) >= 0 and (end := text.text.find("}}", start + 2)) >= 0:
        parts.append(text.text[at:start])
        parts.append(values.get(text.text[start + 2 : end].strip(), text.text[start : end + 2]))
        at = end + 2
    return "".join([*parts, text.text[at:]])


def _component(fields: Mapping[str, object], names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    kind = _text(fields.get("type")).upper()
    text = _text(fields.get("text"))
    if kind == "HEADER":
        header_format = _text(fields.get("format")).upper() or ("TEXT" if text else "")
        return {"header_format": header_format, "header": _named(text, names.get("HEADER", ()))}
    if kind == "BODY":
        return {"body": _named(text, names.get("BODY", ()))}
    if kind == "FOOTER":
        return {"footer": text}
    if kind == "BUTTONS":
        listed = fields.get("buttons")
        buttons = listed if isinstance(listed, list) else []
        return {
            "buttons": tuple(_button(_fields(b)) for b in buttons[:_MOST_BUTTONS] if isinstance(b, Mapping))
        }
    return {}


def _button(fields: Mapping[str, object]) -> TemplateButton:
    url = _text(fields.get("url"))
    return TemplateButton(
        _text(fields.get("type")).upper(), _text(fields.get("text")), url, variables_in(url)
    )


def _named(text: str, names: Sequence[str]) -> TemplateText:
    written = variables_in(text)
    return TemplateText(
        text, tuple(names[n] if n < len(names) and names[n] else w for n, w in enumerate(written))
    )


def _names_by_component(attributes: object) -> dict[str, list[str]]:
    """The human names of ``Attributes: [{Type, NamedVar[]}]``, by component, in the order of the variables."""
    found: dict[str, list[str]] = {}
    for each in attributes if isinstance(attributes, list) else []:
        if not isinstance(each, Mapping):
            continue
        fields = _fields(each)
        named = fields.get("namedvar")
        if isinstance(named, list):
            found[_text(fields.get("type")).upper()] = list(_variable_names(named[:_MOST_VARIABLES]))
    return found


def _variable_names(named: Iterable[object]) -> Iterable[str]:
    """A name is a text, or stands in an object under Name: the vendor documents neither."""
    for each in named:
        value = _fields(each).get("name") if isinstance(each, Mapping) else each
        yield _text(value)[:60].strip()


def _fields(value: Mapping[object, object]) -> dict[str, object]:
    return {str(key).lower(): inner for key, inner in value.items()}


def _text(value: object) -> str:
    return value[:_MOST_TEXT] if isinstance(value, str) else ""
