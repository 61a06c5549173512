"""The eight content types of SendMessage, as values that are right or not made at all.

Rules: the vendor's page (reference 1.3) and WhatsApp's limits (reference 3). Lengths are counted in characters
(code points). An error names the place as a path, ``components[1].parameters[0].text``.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import urlsplit

from bulksend.messaging.errors import InvalidInput, InvalidValue
from bulksend.messaging.states import MessageType

BODY_MAX = 4096  # 360dialog, api-evangelist schema
CAPTION_MAX = 1024  # Meta, image messages, 2026-06-24
HEADER_MAX = 60  # Meta, template components
OTP_CODE_MAX = 15  # uSpeedo template.md
PARAMETER_MAX = 1024  # a template's whole body, so no parameter can be longer (YCloud, Bird)
PAYLOAD_MAX = 128  # quick-reply payload; memory, no source found
FILENAME_MAX = 240
ID_MAX = 256
LINK_MAX = 2048
TEMPLATE_NAME_MAX = 512
DEEPEST = 32

_TEMPLATE_NAME = re.compile(r"[a-z0-9_]+")
_LANGUAGE = re.compile(r"[a-z]{2,3}(_[A-Za-z]{2,4})?")
_FIVE_SPACES = re.compile(" {5,}")
_NUMERIC_HOST = re.compile(r"(0x[0-9a-f]+|\d+)(\.(0x[0-9a-f]+|\d+)){0,3}", re.I)


class Dynamic(str):
    """Text that is only known per message, while a template is compiled: records the checks its place asks for.

    ``checks`` are (check, path, limit), to be run on the text of each message.
    """

    __slots__ = ("checks", "source")

    def __new__(cls, source: str) -> Dynamic:
        made = super().__new__(cls, "x")
        made.source = source
        made.checks = []
        return made

    source: str
    checks: list[tuple[Any, str, int]]


@dataclass(frozen=True, slots=True)
class Content:
    """A valid content: its type and the vendor's object."""

    type: MessageType
    fields: Mapping[str, object]

    def to_vendor(self) -> dict[str, object]:
        """The vendor's Content object."""
        return dict(self.fields)

    def to_json(self) -> str:
        """The compact JSON text that goes into ``Content``."""
        return json.dumps(self.fields, ensure_ascii=False, separators=(",", ":"))


def parse_content(type: MessageType, value: Mapping[str, object]) -> Content:
    """Check a content object of a type. Raises InvalidValue."""
    if not isinstance(value, Mapping):
        raise InvalidValue("content", "", "must be a JSON object")
    return Content(type, _PARSERS[type](value))


def load_content_json(text: str | bytes) -> dict[str, Any]:
    """A content object from JSON, stricter than JSON itself. Raises InvalidInput saying what and where."""
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"content: is not UTF-8 (byte {error.start + 1}); save the file as UTF-8"
            ) from None
    if _depth(text) > DEEPEST:
        raise InvalidInput(f"content: is nested more than {DEEPEST} deep")
    try:
        value = json.loads(
            text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_float
        )
    except json.JSONDecodeError as error:
        raise InvalidInput(
            f"content: is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    if not isinstance(value, dict):
        raise InvalidInput("content: must be a JSON object, like the vendor's Content")
    return value


def _depth(text: str) -> int:
    deepest = depth = 0
    quoted = escaped = False
    for char in text:
        if quoted:
            quoted = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            quoted = True
        elif char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made: dict[str, object] = {}
    for key, value in pairs:
        if key in made:
            raise InvalidInput(f"content: the key {key!r} stands there twice; which one is meant?")
        made[key] = value
    return made


def _no_constant(name: str) -> NoReturn:
    raise InvalidInput(f"content: {name} is not a number that JSON knows")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidInput(f"content: {text[:20]} is too large a number")
    return number


# -- the types ---------------------------------------------------------------------------------------------


def _text(value: Mapping[str, object]) -> dict[str, object]:
    _only(value, ("body", "preview_url"))
    made: dict[str, object] = {"body": check_text(_required(value, "body"), "body", BODY_MAX)}
    if value.get("preview_url") is not None:
        if not isinstance(value["preview_url"], bool):
            raise InvalidValue("preview_url", _shown(value["preview_url"]), "must be true or false")
        made["preview_url"] = value["preview_url"]
    return made


def _media(*extras: str) -> Any:
    def parse(value: Mapping[str, object], path: str = "") -> dict[str, object]:
        _only(value, ("id", "link", *extras), path)
        given = [name for name in ("id", "link") if value.get(name) is not None]
        if len(given) != 1:
            raise InvalidValue(
                f"{path}id", "", f"give exactly one of id and link, not {'both' if given else 'none of them'}"
            )
        made: dict[str, object] = {}
        if given == ["id"]:
            made["id"] = check_text(value["id"], f"{path}id", ID_MAX)
        else:
            made["link"] = check_link(value["link"], f"{path}link")
        for name, most in (("caption", CAPTION_MAX), ("filename", FILENAME_MAX)):
            if name in extras and value.get(name) is not None:
                made[name] = check_text(value[name], path + name, most)
        return made

    return parse


_IMAGE, _VIDEO, _DOCUMENT, _PLAIN = _media("caption"), _media("caption"), _media("filename"), _media()


def _location(value: Mapping[str, object]) -> dict[str, object]:
    _only(value, ("latitude", "longitude", "name", "address"))
    made: dict[str, object] = {
        "latitude": check_degrees(_required(value, "latitude"), "latitude", 90),
        "longitude": check_degrees(_required(value, "longitude"), "longitude", 180),
    }
    for name in ("name", "address"):
        if value.get(name) is not None:
            made[name] = check_text(value[name], name, 1000)
    return made


def _template(value: Mapping[str, object]) -> dict[str, object]:
    _only(value, ("name", "language", "components"))
    name = check_text(_fixed(_required(value, "name"), "name"), "name", TEMPLATE_NAME_MAX)
    if not _TEMPLATE_NAME.fullmatch(name):
        raise InvalidValue("name", name[:40], "a template's name has only a-z, 0-9 and _")
    made: dict[str, object] = {"name": name, "language": _language(_required(value, "language"))}
    if value.get("components") is not None:
        components = value["components"]
        if not isinstance(components, Sequence) or isinstance(components, str):
            raise InvalidValue("components", "", "must be a list")
        made["components"] = [_component(c, f"components[{n}]") for n, c in enumerate(components)]
        _no_two_alike(components)
    return made


def _language(value: object) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise InvalidValue(
            "language", _shown(value), 'must be an object, like {"code": "en_US", "policy": "deterministic"}'
        )
    _only(value, ("code", "policy"), "language.")
    code = check_text(_fixed(_required(value, "code", "language."), "language.code"), "language.code", 20)
    if not _LANGUAGE.fullmatch(code):
        raise InvalidValue("language.code", code[:20], "is not a language code, like en_US or zh_CN")
    # The page prints a machine translation of the word; samples and SDKs have the literal.
    policy = value.get("policy", "deterministic")
    if policy != "deterministic":
        raise InvalidValue("language.policy", _shown(policy), "must be deterministic")
    return {"code": code, "policy": "deterministic"}


_PARAMETER_TYPES = {
    "header": ("text", "image", "video", "document"),
    "body": ("text",),
    "url": ("text",),
    "quick_reply": ("payload",),
}


def _component(value: object, path: str) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise InvalidValue(path, _shown(value), "must be an object")
    kind = _choice(value.get("type"), ("header", "body", "button"), f"{path}.type")
    made: dict[str, object] = {"type": kind}
    if kind == "button":
        _only(value, ("type", "sub_type", "index", "parameters"), f"{path}.")
        made["sub_type"] = _choice(value.get("sub_type"), ("url", "quick_reply"), f"{path}.sub_type")
        index = value.get("index")
        if index not in ("0", "1", "2"):
            raise InvalidValue(f"{path}.index", _shown(index), 'must be the string "0", "1" or "2"')
        made["index"] = index
    else:
        for name in ("sub_type", "index"):
            if name in value:
                raise InvalidValue(
                    f"{path}.{name}", _shown(value[name]), "only a button has one; take it out"
                )
        _only(value, ("type", "parameters"), f"{path}.")
    parameters = value.get("parameters")
    if parameters is not None:
        if not isinstance(parameters, Sequence) or isinstance(parameters, str):
            raise InvalidValue(f"{path}.parameters", "", "must be a list")
        place = str(made.get("sub_type", kind))
        if kind == "header" and len(parameters) > 1:
            raise InvalidValue(
                f"{path}.parameters", str(len(parameters)), "a header has at most one parameter"
            )
        made["parameters"] = [
            _parameter(p, place, f"{path}.parameters[{n}]") for n, p in enumerate(parameters)
        ]
    return made


def _parameter(value: object, place: str, path: str) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise InvalidValue(path, _shown(value), "must be an object")
    kind = _choice(value.get("type"), _PARAMETER_TYPES[place], f"{path}.type")
    _only(value, ("type", kind), f"{path}.")
    inner = _required(value, kind, f"{path}.")
    if kind in ("text", "payload"):
        most = PAYLOAD_MAX if kind == "payload" else HEADER_MAX if place == "header" else PARAMETER_MAX
        return {"type": kind, kind: check_parameter(inner, f"{path}.{kind}", most)}
    if not isinstance(inner, Mapping):
        raise InvalidValue(f"{path}.{kind}", _shown(inner), "must be an object with id or link")
    parse = {"image": _IMAGE, "video": _VIDEO, "document": _DOCUMENT}[kind]
    return {"type": kind, kind: parse(inner, f"{path}.{kind}.")}


def _no_two_alike(components: Sequence[Any]) -> None:
    seen: dict[tuple[object, ...], int] = {}
    for n, component in enumerate(components):
        key = ("button", component["index"]) if component["type"] == "button" else (component["type"],)
        if key in seen:
            what = f'button "{key[1]}"' if len(key) > 1 else str(key[0])
            raise InvalidValue(
                f"components[{n}]", "", f"is a second {what}; components[{seen[key]}] is one already"
            )
        seen[key] = n


_PARSERS: dict[MessageType, Any] = {
    MessageType.TEXT: _text,
    MessageType.IMAGE: _IMAGE,
    MessageType.VIDEO: _VIDEO,
    MessageType.AUDIO: _PLAIN,
    MessageType.DOCUMENT: _DOCUMENT,
    MessageType.STICKER: _PLAIN,
    MessageType.LOCATION: _location,
    MessageType.TEMPLATE: _template,
}

# -- the rules of single values ----------------------------------------------------------------------------


def check_text(value: object, path: str, most: int) -> str:
    """Text of 1 to ``most`` characters that JSON and a phone can carry. Raises InvalidValue."""
    if isinstance(value, Dynamic):
        value.checks.append((check_text, path, most))
        return value
    if not isinstance(value, str):
        raise InvalidValue(path, _shown(value), "must be a string")
    if not value.strip():
        raise InvalidValue(path, "", "is empty")
    if len(value) > most:
        raise InvalidValue(
            path, f"{len(value):,} characters", f"may have at most {most:,} characters; shorten it"
        )
    if "\0" in value:
        raise InvalidValue(path, "", "has a NUL character; take it out")
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise InvalidValue(
            path, "", "has half of a character (a lone surrogate); export the data as UTF-8 again"
        )
    return value


def check_parameter(value: object, path: str, most: int) -> str:
    """A template's variable: as ``check_text``, and no newline, tab or more than 4 spaces in a row (132018)."""
    if isinstance(value, Dynamic):
        value.checks.append((check_parameter, path, most))
        return value
    text = check_text(value, path, most)
    if "\n" in text or "\r" in text or "\t" in text:
        raise InvalidValue(
            path, "", "has a newline or tab, which WhatsApp refuses in a template's variable (132018)"
        )
    if "     " in text and _FIVE_SPACES.search(text):
        raise InvalidValue(
            path,
            "",
            "has more than 4 spaces in a row, which WhatsApp refuses in a template's variable (132018)",
        )
    return text


def check_otp_code(value: str, path: str) -> None:
    """A one-time code: at most 15 characters, no link (uSpeedo template.md). Raises InvalidValue."""
    if len(value) > OTP_CODE_MAX:
        raise InvalidValue(
            path, f"{len(value):,} characters", f"a one-time code has at most {OTP_CODE_MAX} characters"
        )
    if "://" in value or value.lower().startswith("www."):
        raise InvalidValue(path, "", "a one-time code is not a link")


def check_link(value: object, path: str, most: int = LINK_MAX) -> str:
    """An http(s) link to a public host name; the vendor fetches it, so an address of our own net must not be one."""
    if isinstance(value, Dynamic):
        value.checks.append((check_link, path, most))
        return value
    text = check_text(value, path, most)
    if any(c.isspace() or not c.isprintable() for c in text):
        raise InvalidValue(path, "", "has a blank or control character; percent-encode it")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InvalidValue(path, "", "is not a link; write it like https://example.com/picture.jpg") from None
    if parts.scheme.lower() not in ("http", "https"):
        raise InvalidValue(path, parts.scheme[:20], "must begin with http:// or https://")
    if parts.username is not None or parts.password is not None:
        raise InvalidValue(path, "", "must not carry a user name or password")
    if not host:
        raise InvalidValue(path, "", "names no host")
    if _is_address(host):
        raise InvalidValue(
            path, "", "names its host by an IP address; use a host name, WhatsApp ignores addresses"
        )
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")) or "." not in host:
        raise InvalidValue(path, host[:40], "is a name that only our own network knows; use a public host")
    return text


def _is_address(host: str) -> bool:
    if _NUMERIC_HOST.fullmatch(host):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def check_degrees(value: object, path: str, most: int) -> float:
    """A latitude or longitude. Raises InvalidValue."""
    if isinstance(value, Dynamic):
        value.checks.append((check_degrees_text, path, most))
        return value  # type: ignore[return-value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidValue(path, _shown(value), "must be a number of degrees")
    if not math.isfinite(value) or not -most <= value <= most:
        raise InvalidValue(path, str(value)[:20], f"must be between -{most} and {most}")
    return float(value)


def check_degrees_text(text: str, path: str, most: int) -> float:
    """Degrees that came as a variable's text. Raises InvalidValue."""
    try:
        number = float(text.strip().replace(",", ".")) if text.count(",") <= 1 else float("nan")
    except ValueError:
        raise InvalidValue(path, "", "is not a number of degrees, like 51.5072") from None
    return check_degrees(number, path, most)


def _fixed(value: object, path: str) -> object:
    if isinstance(value, Dynamic):
        raise InvalidValue(
            path, value.source[:40], "is the same for a whole campaign; no variable may stand here"
        )
    return value


def _required(value: Mapping[str, object], name: str, path: str = "") -> object:
    if value.get(name) is None:
        raise InvalidValue(path + name, "", "is missing")
    return value[name]


def _only(value: Mapping[str, object], allowed: Iterable[str], path: str = "") -> None:
    allowed = tuple(allowed)
    for name in value:
        if name not in allowed:
            near = difflib.get_close_matches(str(name), allowed, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are only {', '.join(allowed)}"
            raise InvalidValue(f"{path}{str(name)[:40]}", "", f"is not a field here; {hint}")


def _choice(value: object, allowed: Sequence[str], path: str) -> str:
    if value is None:
        raise InvalidValue(path, "", f"is missing; it is one of {', '.join(allowed)}")
    if not isinstance(value, str) or value not in allowed:
        raise InvalidValue(path, _shown(value), f"must be {' or '.join(allowed)}")
    return value


def _shown(value: object) -> str:
    return f"a {type(value).__name__}" if not isinstance(value, str) else value[:40]
