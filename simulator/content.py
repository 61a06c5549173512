"""The Content that the vendor accepts, by its documentation (docs/vendor.md#content).

``bulksend.messaging.content`` is not used here: a mistake there would pass its own check. Unknown fields are ignored,
because the documentation does not forbid them. Error texts never repeat a value that was sent.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

_NAME = re.compile(r"[a-z0-9_]{1,512}")
#: docs/vendor.md#limits; the error is 132018.
_BAD_PARAMETER = re.compile(r"[\n\t\r]| {5}")
_MEDIA = frozenset({"image", "video", "audio", "document", "sticker"})
TYPES = frozenset({"text", "location", "template"}) | _MEDIA


class ContentError(Exception):
    """Refused. ``code`` is WhatsApp's error number, the text is what the vendor's Message says after it."""

    def __init__(self, why: str, code: int = 100) -> None:
        super().__init__(why)
        self.code = code

    @property
    def message(self) -> str:
        """The Message of a RetCode 17115. Its form is Meta's own, by inference (docs/vendor.md#reply)."""
        return f"(#{self.code}) {self}"


def _no_constant(name: str) -> Any:
    raise ValueError(name)


#: JSON has no NaN and no Infinity, though Python's reader takes both.
decoder = json.JSONDecoder(parse_constant=_no_constant)


def check_content(kind: str, text: object) -> dict[str, Any]:
    """The decoded Content of a message of type ``kind``. Raises ContentError."""
    if not isinstance(text, str):
        raise ContentError("Invalid parameter: Content must be a string that holds JSON")
    try:
        content = decoder.decode(text)
    except (ValueError, RecursionError):
        raise ContentError("Invalid parameter: Content is not valid JSON") from None
    if not isinstance(content, dict):
        raise ContentError("Invalid parameter: Content must hold a JSON object")
    if kind == "text":
        _check_text(content)
    elif kind == "location":
        _check_location(content)
    elif kind == "template":
        _check_template(content)
    elif kind in _MEDIA:
        _check_media(kind, content, kind)
    else:
        raise ContentError("Invalid parameter: Type is not one of " + ", ".join(sorted(TYPES)))
    return content


def _check_text(content: dict[str, Any]) -> None:
    _need_string(content, "body", "body", 4096)
    if not isinstance(content.get("preview_url", False), bool):
        raise ContentError("Invalid parameter: preview_url must be a boolean")


def _check_media(kind: str, media: dict[str, Any], where: str) -> None:
    given = [name for name in ("id", "link") if media.get(name) is not None]
    if len(given) != 1:
        raise ContentError(f"Invalid parameter: {where} needs exactly one of id and link")
    _need_string(media, given[0], f"{where}.{given[0]}", 4096)
    if given[0] == "link" and not _is_web_address(media["link"]):
        raise ContentError(f"Invalid parameter: {where}.link must be an HTTP or HTTPS URL")
    if kind in {"image", "video"}:
        _may_string(media, "caption", f"{where}.caption", 1024)
    if kind == "document":
        _may_string(media, "filename", f"{where}.filename", 1024)


def _is_web_address(link: str) -> bool:
    try:
        parts = urlsplit(link)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.netloc)


def _check_location(content: dict[str, Any]) -> None:
    for name, most in (("latitude", 90), ("longitude", 180)):
        value = content.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > most:
            raise ContentError(f"Invalid parameter: {name} must be a number from -{most} to {most}")
    _may_string(content, "name", "name", 1024)
    _may_string(content, "address", "address", 1024)


def _check_template(content: dict[str, Any]) -> None:
    name = content.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ContentError("Invalid parameter: name must be lower-case letters, digits and underscores")
    language = content.get("language")
    if not isinstance(language, dict):
        raise ContentError("Invalid parameter: language must be an object")
    _need_string(language, "code", "language.code", 64)
    if language.get("policy") != "deterministic":
        raise ContentError("Invalid parameter: language.policy must be deterministic")
    components = content.get("components", [])
    if not isinstance(components, list):
        raise ContentError("Invalid parameter: components must be an array")
    for place, component in enumerate(components):
        _check_component(component, f"components[{place}]")


def _check_component(component: object, where: str) -> None:
    if not isinstance(component, dict) or component.get("type") not in {"header", "body", "button"}:
        raise ContentError(f"Invalid parameter: {where}.type must be header, body or button")
    if component["type"] == "button":
        if component.get("sub_type") not in {"url", "quick_reply"}:
            raise ContentError(f"Invalid parameter: {where}.sub_type must be url or quick_reply")
        index = component.get("index")
        # The documentation allows "0" to "2", Meta by now "9"; it must be a string.
        if not isinstance(index, str) or not re.fullmatch("[0-9]", index):
            raise ContentError(f'Invalid parameter: {where}.index must be a string, "0" to "9"')
    elif component.get("sub_type") is not None or component.get("index") is not None:
        raise ContentError(f"Invalid parameter: {where} is no button: sub_type and index do not apply")
    parameters = component.get("parameters", [])
    if not isinstance(parameters, list):
        raise ContentError(f"Invalid parameter: {where}.parameters must be an array")
    allowed = _allowed_parameters(component)
    for place, parameter in enumerate(parameters):
        _check_parameter(parameter, allowed, f"{where}.parameters[{place}]")


def _allowed_parameters(component: dict[str, Any]) -> frozenset[str]:
    if component["type"] == "header":
        return frozenset({"text", "image", "video", "document"})
    if component["type"] == "button" and component["sub_type"] == "quick_reply":
        return frozenset({"payload"})
    return frozenset({"text"})


def _check_parameter(parameter: object, allowed: frozenset[str], where: str) -> None:
    if not isinstance(parameter, dict):
        raise ContentError(f"Invalid parameter: {where} must be an object")
    kind = parameter.get("type")
    if not isinstance(kind, str) or kind not in allowed:
        raise ContentError(f"Invalid parameter: {where}.type must be one of " + ", ".join(sorted(allowed)))
    if kind in _MEDIA:
        media = parameter.get(kind)
        if not isinstance(media, dict):
            raise ContentError(f"Invalid parameter: {where}.{kind} must be an object")
        _check_media(kind, media, f"{where}.{kind}")
        return
    _need_string(parameter, kind, f"{where}.{kind}", 32_768)
    if kind == "text" and _BAD_PARAMETER.search(parameter["text"]):
        raise ContentError(
            f"{where}: Param text cannot have new-line/tab characters or more than 4 consecutive spaces",
            132018,
        )


def _need_string(holder: dict[str, Any], name: str, where: str, most: int) -> None:
    value = holder.get(name)
    if not isinstance(value, str) or not value or len(value) > most:
        raise ContentError(f"Invalid parameter: {where} must be a string of 1 to {most} characters")


def _may_string(holder: dict[str, Any], name: str, where: str, most: int) -> None:
    value = holder.get(name)
    if value is not None and (not isinstance(value, str) or len(value) > most):
        raise ContentError(f"Invalid parameter: {where} must be a string of at most {most} characters")


def parameter_counts(content: dict[str, Any]) -> dict[str, Any]:
    """How many parameters header, body and url buttons of a checked template Content have, and the header's type."""
    counts: dict[str, Any] = {"header": 0, "body": 0, "url": 0, "header_type": None}
    for component in content.get("components", []):
        parameters = component.get("parameters", [])
        if component["type"] == "button":
            counts["url"] += component["sub_type"] == "url" and bool(parameters)
        else:
            counts[component["type"]] += len(parameters)
            if component["type"] == "header" and parameters:
                counts["header_type"] = parameters[0]["type"]
    return counts
