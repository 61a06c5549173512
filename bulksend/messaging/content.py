"""The eight content types of SendMessage. Every value of these classes is valid.

The rules are the vendor's and WhatsApp's (docs/vendor.md#content). Lengths are counted in characters (code points). An
error gives the path of the field, such as ``components[1].parameters[0].text``. Fields that are null are omitted,
because the vendor's signature has no rule for null.

    Content                 the vendor's Content object
    ├── Text
    ├── Media               Image, Video, Audio, Document, Sticker: a file by its id or its link
    ├── Location
    └── Template            with Language and components: Header, Body, Button
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from bulksend.errors import InvalidValue
from bulksend.messaging.content_json import load_content_json
from bulksend.messaging.states import MessageType
from bulksend.messaging.value_checks import (
    PlaceholderText,
    check_degrees,
    check_file_id,
    check_link,
    check_parameter,
    check_text,
    describe_type,
)

__all__ = [
    "Audio",
    "Body",
    "Button",
    "Content",
    "Document",
    "Header",
    "Image",
    "Language",
    "Location",
    "Media",
    "Parameter",
    "Sticker",
    "Template",
    "Text",
    "Video",
    "load_content_json",
    "parse_content",
]

BODY_MAX = 4096  # 360dialog, api-evangelist schema
CAPTION_MAX = 1024  # Meta, image messages, 2026-06-24
HEADER_MAX = 60  # Meta, template components
TEMPLATE_NAME_MAX = 512  # 360dialog, YCloud
#: A template's whole body has at most 1024 characters (YCloud, Bird).
PARAMETER_MAX = 1024
# No source gives limits for these. Ours refuse only values that must be mistakes.
PAYLOAD_MAX = 1024
FILENAME_MAX = 240
PLACE_MAX = 1000
ID_MAX = 256
LINK_MAX = 2048
COMPONENTS_MAX = 5  # header, body, three buttons
PARAMETERS_MAX = 100

_TEMPLATE_NAME = re.compile(r"[a-z0-9_]+")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:_(?:[A-Za-z]{2,4}|\d{3}))?", re.ASCII)

T = TypeVar("T")


class Content:
    """A valid content of one of the eight types."""

    __slots__: tuple[str, ...] = ()
    type: ClassVar[MessageType]

    def to_vendor(self) -> dict[str, object]:
        """The vendor's Content object."""
        return _given(**{name: getattr(self, name) for name in self.__slots__})

    def to_json(self) -> str:
        """The compact JSON text of the request's ``Content``."""
        return json.dumps(self.to_vendor(), ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Text(Content):
    """Free text. ``preview_url`` shows a preview of the first link in it."""

    body: str
    preview_url: bool | None = None
    type: ClassVar[MessageType] = MessageType.TEXT


class Media(Content):
    """A file that was uploaded (``id``) or that the vendor fetches (``link``): exactly one of them."""

    __slots__ = ()
    id: str | None
    link: str | None


@dataclass(frozen=True, slots=True)
class Image(Media):
    """JPEG or PNG, at most 5 MB."""

    id: str | None = None
    link: str | None = None
    caption: str | None = None
    type: ClassVar[MessageType] = MessageType.IMAGE


@dataclass(frozen=True, slots=True)
class Video(Media):
    """MP4 or 3GP, at most 16 MB."""

    id: str | None = None
    link: str | None = None
    caption: str | None = None
    type: ClassVar[MessageType] = MessageType.VIDEO


@dataclass(frozen=True, slots=True)
class Audio(Media):
    """AAC, AMR, MP3, M4A or OGG with Opus, at most 16 MB. Has no caption."""

    id: str | None = None
    link: str | None = None
    type: ClassVar[MessageType] = MessageType.AUDIO


@dataclass(frozen=True, slots=True)
class Document(Media):
    """A file of at most 100 MB. It has a filename and no caption."""

    id: str | None = None
    link: str | None = None
    filename: str | None = None
    type: ClassVar[MessageType] = MessageType.DOCUMENT


@dataclass(frozen=True, slots=True)
class Sticker(Media):
    """WebP of 512 x 512, at most 100 KB, animated 500 KB. Has no caption."""

    id: str | None = None
    link: str | None = None
    type: ClassVar[MessageType] = MessageType.STICKER


@dataclass(frozen=True, slots=True)
class Location(Content):
    """A place, in degrees."""

    latitude: float
    longitude: float
    name: str | None = None
    address: str | None = None
    type: ClassVar[MessageType] = MessageType.LOCATION


@dataclass(frozen=True, slots=True)
class Language:
    """Which translation of a template. ``policy`` is always ``deterministic``."""

    code: str
    policy: str = "deterministic"

    def to_vendor(self) -> dict[str, object]:
        """The vendor's language object."""
        return {"code": self.code, "policy": self.policy}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a template: ``value`` is text for the types ``text`` and ``payload``, else a file."""

    type: str
    value: str | Media

    def to_vendor(self) -> dict[str, object]:
        """The vendor's parameter object. The key of its value is the type."""
        value = self.value.to_vendor() if isinstance(self.value, Media) else self.value
        return {"type": self.type, self.type: value}


@dataclass(frozen=True, slots=True)
class Header:
    """A template's header: at most one parameter."""

    parameters: tuple[Parameter, ...] | None = None

    def to_vendor(self) -> dict[str, object]:
        """The vendor's component object."""
        return _given(type="header", parameters=_to_vendor(self.parameters))


@dataclass(frozen=True, slots=True)
class Body:
    """A template's body: its parameters, in the order of its variables."""

    parameters: tuple[Parameter, ...] | None = None

    def to_vendor(self) -> dict[str, object]:
        """The vendor's component object."""
        return _given(type="body", parameters=_to_vendor(self.parameters))


@dataclass(frozen=True, slots=True)
class Button:
    """A button with a variable: the end of its URL, or the payload of a quick reply."""

    sub_type: str
    index: str
    parameters: tuple[Parameter, ...]

    def to_vendor(self) -> dict[str, object]:
        """The vendor's component object."""
        return {
            "type": "button",
            "sub_type": self.sub_type,
            "index": self.index,
            "parameters": _to_vendor(self.parameters),
        }


@dataclass(frozen=True, slots=True)
class Template(Content):
    """A template that WhatsApp approved, with the values of its variables."""

    name: str
    language: Language
    components: tuple[Header | Body | Button, ...] | None = None
    type: ClassVar[MessageType] = MessageType.TEMPLATE

    def to_vendor(self) -> dict[str, object]:
        return _given(
            name=self.name, language=self.language.to_vendor(), components=_to_vendor(self.components)
        )


def _given(**fields: object) -> dict[str, object]:
    """The fields that have a value, in their order."""
    return {name: value for name, value in fields.items() if value is not None}


def _to_vendor(values: Sequence[Parameter | Header | Body | Button] | None) -> list[object] | None:
    return None if values is None else [value.to_vendor() for value in values]


# -- from the vendor's object --------------------------------------------------------------------------------------


def parse_content(type: MessageType, value: Mapping[str, object]) -> Content:
    """The content of a type from the vendor's object. Raises InvalidValue, with the path, when a field is wrong."""
    if not isinstance(value, Mapping):
        raise InvalidValue(
            "content", describe_type(value), "must be a JSON object, like the vendor's Content"
        )
    return _PARSERS[type](value)


def _text(value: Mapping[str, object]) -> Text:
    _only(value, ("body", "preview_url"))
    preview_url = value.get("preview_url")
    if preview_url is not None and not isinstance(preview_url, bool):
        raise InvalidValue(
            "preview_url", describe_type(_fixed(preview_url, "preview_url")), "must be true or false"
        )
    return Text(check_text(_required(value, "body"), "body", BODY_MAX), preview_url)


def _image(value: Mapping[str, object], path: str = "") -> Image:
    _only(value, ("id", "link", "caption"), path)
    return Image(*_file(value, path), _optional(value, "caption", path, CAPTION_MAX))


def _video(value: Mapping[str, object], path: str = "") -> Video:
    _only(value, ("id", "link", "caption"), path)
    return Video(*_file(value, path), _optional(value, "caption", path, CAPTION_MAX))


def _audio(value: Mapping[str, object], path: str = "") -> Audio:
    _no_caption(value, "an audio", path)
    _only(value, ("id", "link"), path)
    return Audio(*_file(value, path))


def _document(value: Mapping[str, object], path: str = "") -> Document:
    _no_caption(value, "a document", path)
    _only(value, ("id", "link", "filename"), path)
    return Document(*_file(value, path), _optional(value, "filename", path, FILENAME_MAX))


def _sticker(value: Mapping[str, object], path: str = "") -> Sticker:
    _no_caption(value, "a sticker", path)
    _only(value, ("id", "link"), path)
    return Sticker(*_file(value, path))


def _no_caption(value: Mapping[str, object], what: str, path: str) -> None:
    if "caption" in value:
        raise InvalidValue(f"{path}caption", "", f"is not a field of {what}; remove it")


def _file(value: Mapping[str, object], path: str) -> tuple[str | None, str | None]:
    """(id, link), exactly one of which is given."""
    id, link = value.get("id"), value.get("link")
    if (id is None) == (link is None):
        raise InvalidValue(
            f"{path}id",
            "",
            f"give exactly one of id and link, not {'none' if id is None else 'both'} of them",
        )
    if id is not None:
        return check_file_id(id, f"{path}id", ID_MAX), None
    return None, check_link(link, f"{path}link", LINK_MAX)


def _location(value: Mapping[str, object]) -> Location:
    _only(value, ("latitude", "longitude", "name", "address"))
    return Location(
        check_degrees(_required(value, "latitude"), "latitude", 90),
        check_degrees(_required(value, "longitude"), "longitude", 180),
        _optional(value, "name", "", PLACE_MAX),
        _optional(value, "address", "", PLACE_MAX),
    )


def _template(value: Mapping[str, object]) -> Template:
    _only(value, ("name", "language", "components"))
    name = check_text(_fixed(_required(value, "name"), "name"), "name", TEMPLATE_NAME_MAX)
    if not _TEMPLATE_NAME.fullmatch(name):
        raise InvalidValue(
            "name",
            name[:40],
            "may only have the characters a-z, 0-9 and _; check the name",
        )
    components = _list(value, "components", COMPONENTS_MAX)
    return Template(
        name,
        _language(_required(value, "language")),
        None if components is None else _no_two_alike(components),
    )


def _language(value: object) -> Language:
    if not isinstance(value, Mapping):
        raise InvalidValue(
            "language",
            describe_type(value),
            'must be an object, like {"code": "en_US", "policy": "deterministic"}',
        )
    _only(value, ("code", "policy"), "language.")
    code = check_text(_fixed(_required(value, "code", "language."), "language.code"), "language.code", 20)
    if not _LANGUAGE.fullmatch(code):
        raise InvalidValue("language.code", code, "is not a language code, like en, en_US or zh_CN")
    # The vendor's documentation prints a translation of this word; its samples and SDKs have the literal.
    policy = _required(value, "policy", "language.")
    if policy != "deterministic":
        raise InvalidValue("language.policy", str(policy)[:40], 'must be the word "deterministic"')
    return Language(code)


def _no_two_alike(values: Sequence[object]) -> tuple[Header | Body | Button, ...]:
    seen: dict[str, int] = {}
    components: list[Header | Body | Button] = []
    for n, value in enumerate(values):
        component = _component(value, f"components[{n}]")
        what = (
            f'button of index "{component.index}"'
            if isinstance(component, Button)
            else type(component).__name__.lower()
        )
        if what in seen:
            raise InvalidValue(
                f"components[{n}]",
                "",
                f"is a second {what}, after components[{seen[what]}]; remove one of them",
            )
        seen[what] = n
        components.append(component)
    return tuple(components)


def _component(value: object, path: str) -> Header | Body | Button:
    if not isinstance(value, Mapping):
        raise InvalidValue(
            path, describe_type(value), 'must be an object, like {"type": "body", "parameters": […]}'
        )
    kind = _choice(value, "type", ("header", "body", "button"), path)
    if kind == "button":
        return _button(value, path)
    for name in ("sub_type", "index"):
        if name in value:
            raise InvalidValue(f"{path}.{name}", "", f"is a field of buttons, not of a {kind}; remove it")
    _only(value, ("type", "parameters"), f"{path}.")
    if kind == "body":
        return Body(_parameters(value, ("text",), path, PARAMETERS_MAX, PARAMETER_MAX))
    return Header(_parameters(value, ("text", "image", "video", "document"), path, 1, HEADER_MAX))


def _button(value: Mapping[str, object], path: str) -> Button:
    _only(value, ("type", "sub_type", "index", "parameters"), f"{path}.")
    sub_type = _choice(value, "sub_type", ("url", "quick_reply"), path)
    index = _fixed(_required(value, "index", f"{path}."), f"{path}.index")
    if index not in ("0", "1", "2"):
        shown = str(index)[:40] if isinstance(index, (str, int)) else describe_type(index)
        raise InvalidValue(f"{path}.index", shown, 'must be one of the strings "0", "1" and "2"')
    kinds = ("text",) if sub_type == "url" else ("payload",)
    parameters = _parameters(value, kinds, path, 1, PARAMETER_MAX)
    if not parameters:
        raise InvalidValue(f"{path}.parameters", "", "is missing; a button needs exactly one parameter")
    return Button(sub_type, str(index), parameters)


def _parameters(
    value: Mapping[str, object], kinds: tuple[str, ...], path: str, most: int, longest: int
) -> tuple[Parameter, ...] | None:
    parameters = _list(value, "parameters", most, f"{path}.")
    if parameters is None:
        return None
    return tuple(_parameter(p, kinds, f"{path}.parameters[{n}]", longest) for n, p in enumerate(parameters))


def _parameter(value: object, kinds: tuple[str, ...], path: str, longest: int) -> Parameter:
    if not isinstance(value, Mapping):
        raise InvalidValue(path, describe_type(value), f'must be an object, like {{"type": "{kinds[0]}", …}}')
    kind = _choice(value, "type", kinds, path)
    _only(value, ("type", kind), f"{path}.")
    inner = _required(value, kind, f"{path}.")
    if kind == "text":
        return Parameter(kind, check_parameter(inner, f"{path}.text", longest))
    if kind == "payload":
        return Parameter(kind, check_text(inner, f"{path}.payload", PAYLOAD_MAX))
    if not isinstance(inner, Mapping):
        raise InvalidValue(f"{path}.{kind}", describe_type(inner), "must be an object with id or link")
    return Parameter(kind, _FILES[kind](inner, f"{path}.{kind}."))


_FILES: Mapping[str, Callable[[Mapping[str, object], str], Media]] = {
    "image": _image,
    "video": _video,
    "document": _document,
}

_PARSERS: Mapping[MessageType, Callable[[Mapping[str, object]], Content]] = {
    MessageType.TEXT: _text,
    MessageType.IMAGE: _image,
    MessageType.VIDEO: _video,
    MessageType.AUDIO: _audio,
    MessageType.DOCUMENT: _document,
    MessageType.STICKER: _sticker,
    MessageType.LOCATION: _location,
    MessageType.TEMPLATE: _template,
}

# -- the shape of objects ------------------------------------------------------------------------------------------


def _fixed(value: T, path: str) -> T:
    """Refuse a placeholder in a value that is the same for all messages of a campaign."""
    if isinstance(value, PlaceholderText):
        raise InvalidValue(
            path, value.source[:40], "is the same for the whole campaign; no placeholder is allowed here"
        )
    return value


def _required(value: Mapping[str, object], name: str, path: str = "") -> object:
    found = value.get(name)
    if found is None:
        raise InvalidValue(f"{path}{name}", "", "is missing; add it")
    return found


def _optional(value: Mapping[str, object], name: str, path: str, most: int) -> str | None:
    found = value.get(name)
    return None if found is None else check_text(found, f"{path}{name}", most)


def _list(value: Mapping[str, object], name: str, most: int, path: str = "") -> Sequence[Any] | None:
    found = value.get(name)
    if found is None:
        return None
    if not isinstance(found, Sequence) or isinstance(found, (str, bytes)):
        raise InvalidValue(f"{path}{name}", describe_type(found), "must be a list")
    if len(found) > most:
        raise InvalidValue(
            f"{path}{name}", f"{len(found):,} of them", f"may have at most {most}; remove some"
        )
    return found


def _only(value: Mapping[str, object], allowed: tuple[str, ...], path: str = "") -> None:
    for name in value:
        if name not in allowed:
            near = difflib.get_close_matches(str(name)[:100].lower(), allowed, 1)
            hint = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(allowed)}"
            raise InvalidValue(f"{path}{str(name)[:40]}", "", f"is not a field here; {hint}")


def _choice(value: Mapping[str, object], name: str, allowed: tuple[str, ...], path: str) -> str:
    found = _fixed(value.get(name), f"{path}.{name}")
    if found is None:
        raise InvalidValue(f"{path}.{name}", "", f"is missing; it is {' or '.join(allowed)}")
    if not isinstance(found, str) or found not in allowed:
        shown = found[:40] if isinstance(found, str) else describe_type(found)
        raise InvalidValue(f"{path}.{name}", shown, f"must be {' or '.join(allowed)}")
    return found
