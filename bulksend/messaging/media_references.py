"""The files that a content names, and ours among them: ``media:`` and an id of ours in place of the vendor's id.

The vendor's id of a file ends after 30 days and another upload has another one. A content that names the file by our id
gets the vendor's when a worker reads the campaign, so a renewed file reaches the messages that wait.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from bulksend.errors import InvalidValue
from bulksend.messaging.states import MessageType
from bulksend.messaging.value_checks import OUR_FILE

#: The types of message that are a file, and those of a template's header.
FILES = frozenset(
    [MessageType.IMAGE, MessageType.VIDEO, MessageType.AUDIO, MessageType.DOCUMENT, MessageType.STICKER]
)
IN_HEADER = frozenset([MessageType.IMAGE, MessageType.VIDEO, MessageType.DOCUMENT])


class FilePlace(NamedTuple):
    """Where a content names a file: its path, the type of the file, and the object with ``id`` or ``link``."""

    path: str
    type: MessageType
    object: dict[str, Any]


def file_places(type: MessageType, content: Mapping[str, Any]) -> Iterator[FilePlace]:
    """The places of files in a content, which may be wrong otherwise; the objects are the content's own."""
    if type in FILES and isinstance(content, dict):
        yield FilePlace("", type, content)
    for n, component in _objects(content.get("components")) if type is MessageType.TEMPLATE else ():
        if component.get("type") != "header":
            continue
        for m, parameter in _objects(component.get("parameters")):
            kind = parameter.get("type")
            if kind in IN_HEADER and isinstance(parameter.get(kind), dict):
                path = f"components[{n}].parameters[{m}].{kind}."
                yield FilePlace(path, MessageType(kind), parameter[kind])


def _objects(values: object) -> Iterator[tuple[int, dict[str, Any]]]:
    for n, value in enumerate(values if isinstance(values, list) else ()):
        if isinstance(value, dict):
            yield n, value


def reference(id: str) -> str:
    """What a content writes for a file of ours."""
    return OUR_FILE + id


def our_id(text: object) -> str | None:
    """The id of ours in the ``id`` of a content; None where it is the vendor's."""
    return text[len(OUR_FILE) :] if isinstance(text, str) and text.startswith(OUR_FILE) else None


def our_files(type: MessageType, content: Mapping[str, Any]) -> frozenset[str]:
    """The ids of ours in a checked content."""
    found = (our_id(place.object.get("id")) for place in file_places(type, content))
    return frozenset(id for id in found if id is not None)


def with_vendor_ids(type: MessageType, content: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    """The content with the vendor's ids: ``ids`` has them by ours. Raises KeyError for a file that it has not."""
    made = copy.deepcopy(dict(content))
    for place in file_places(type, made):
        id = our_id(place.object.get("id"))
        if id is not None:
            place.object["id"] = ids[id]
    return made


def with_file(
    type: MessageType, content: Mapping[str, Any], file: MessageType, id: str, *, field: str
) -> dict[str, Any]:
    """The content with a file of ours in its only place. ``file`` is the type of the file, ``field`` what gives it.

    A template without a header gets one. Raises InvalidValue, which names ``field``, when the content has no place for
    the file, has another one there, or takes another type.
    """
    made = copy.deepcopy(dict(content))
    places = list(file_places(type, made))
    if not places and type is MessageType.TEMPLATE:
        places = [_new_header(made, file, field)]
    if not places:
        raise InvalidValue(
            field,
            "",
            f"has no place in a content of type {type}: send it as {file}, or leave it out",
        )
    place = places[0]
    if place.type is not file:
        raise InvalidValue(
            field, str(file), f"does not fit: the content takes {place.type} here; use another file or type"
        )
    for name in ("id", "link"):
        if place.object.get(name) is not None:
            raise InvalidValue(
                field, "", f"is given beside {place.path}{name} of the content: remove one of them"
            )
        place.object.pop(name, None)
    place.object["id"] = reference(id)
    return made


def _new_header(content: dict[str, Any], file: MessageType, field: str) -> FilePlace:
    components = content.setdefault("components", [])
    taken = [each for _, each in _objects(components) if each.get("type") == "header"]
    if file not in IN_HEADER:
        raise InvalidValue(
            field, str(file), "does not fit: the header of a template takes image, video or document"
        )
    if taken or not isinstance(components, list):
        raise InvalidValue(
            field,
            "",
            "has no place: the header of the content has something else; remove it, or leave it out",
        )
    made: dict[str, Any] = {}
    components.insert(0, {"type": "header", "parameters": [{"type": str(file), str(file): made}]})
    return FilePlace(f"components[0].parameters[0].{file}.", file, made)
