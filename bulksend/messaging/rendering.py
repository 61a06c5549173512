"""A campaign's content with ``{{column}}`` or ``{{column|default}}`` in it: compiled once, rendered a message.

Only names are looked up; no code runs in it, and what a variable holds is never read for placeholders again. At
compile time the fixed parts are checked and laid out as JSON; a message only checks and fills in its own strings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bulksend.messaging.content import Dynamic, check_otp_code, load_content_json, parse_content
from bulksend.messaging.errors import InvalidValue
from bulksend.messaging.states import MessageType

_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}", re.S)
_NAME = re.compile(r"[^\W\d][\w .\-]{0,99}")
_OTP_PLACE = re.compile(r"components\[\d+\]\.parameters\[0\]\.text")


def normal_name(name: str) -> str:
    """A column's or variable's name as it is compared: case and blanks around do not matter."""
    return " ".join(name.split()).casefold()


@dataclass(frozen=True, slots=True)
class _Variable:
    name: str
    shown: str
    default: str | None


@dataclass(frozen=True, slots=True)
class _Slot:
    """A string that differs by message: its parts, and the checks of its place."""

    parts: tuple[str | _Variable, ...]
    checks: tuple[tuple[Any, str, int], ...]
    is_code: bool

    @property
    def variables(self) -> list[_Variable]:
        return [part for part in self.parts if isinstance(part, _Variable)]


@dataclass(frozen=True)
class ContentTemplate:
    """A compiled content. ``render`` gives the vendor's ``Content`` text of one message."""

    type: MessageType
    source: str
    _pieces: tuple[str, ...]
    _slots: tuple[_Slot, ...]

    @cached_property
    def variables(self) -> frozenset[str]:
        """The names it uses, as ``normal_name`` writes them."""
        return frozenset(v.name for slot in self._slots for v in slot.variables)

    @cached_property
    def required(self) -> frozenset[str]:
        """Those without a default."""
        return frozenset(v.name for slot in self._slots for v in slot.variables if v.default is None)

    def render(self, variables: Mapping[str, str], *, otp: bool = False) -> str:
        """The compact JSON of a message's content, valid by every rule of the content's type.

        Raises InvalidValue naming the variable that is missing or wrong, never showing what it holds.
        """
        made = [self._pieces[0]]
        for slot, piece in zip(self._slots, self._pieces[1:], strict=True):
            made.append(_fill(slot, variables, otp))
            made.append(piece)
        return "".join(made)

    def to_json(self) -> str:
        """The content as it was given, for the ledger."""
        return self.source

    @classmethod
    def from_json(cls, type: MessageType, text: str) -> ContentTemplate:
        """The inverse of ``to_json``."""
        return compile_content(type, load_content_json(text))


def _fill(slot: _Slot, variables: Mapping[str, str], otp: bool) -> str:
    text = "".join([part if isinstance(part, str) else _value(part, variables) for part in slot.parts])
    result: str | float = text
    try:
        for check, path, most in slot.checks:
            result = check(text, path, most)
        if otp and slot.is_code:
            check_otp_code(text, slot.checks[0][1])
    except InvalidValue as error:
        names = {v.shown for v in slot.variables}
        field = names.pop() if len(names) == 1 else error.field
        shown = error.value if error.value.endswith("characters") else ""
        raise InvalidValue(field, shown, f"{error.why} ({error.field} of the content)") from None
    return json.dumps(result, ensure_ascii=False)


def _value(variable: _Variable, variables: Mapping[str, str]) -> str:
    value = variables.get(variable.name)
    if value is not None and value.strip():
        return value
    if variable.default is None:
        raise InvalidValue(
            variable.shown,
            "",
            f"is empty, and the content needs it; fill the column, or give a default: {{{{{variable.shown}|…}}}}",
        )
    return variable.default


def compile_content(type: MessageType, content: Mapping[str, object]) -> ContentTemplate:
    """Check a content's fixed parts and lay it out. Raises InvalidValue with the path of what is wrong."""
    if not isinstance(content, Mapping):
        raise InvalidValue("content", "", "must be a JSON object")
    slots: list[_Slot] = []
    dynamic: list[tuple[Dynamic, tuple[str | _Variable, ...]]] = []
    prepared = _prepare(content, "", dynamic)
    vendor = parse_content(type, prepared).to_vendor()
    for value, parts in dynamic:
        is_code = type is MessageType.TEMPLATE and any(
            _is_code_place(path, content) for _, path, _ in value.checks
        )
        slots.append(_Slot(parts, tuple(value.checks), is_code))
    marks = {id(value): n for n, (value, _) in enumerate(dynamic)}
    laid_out = json.dumps(_marked(vendor, marks), ensure_ascii=False, separators=(",", ":"))
    order: list[_Slot] = []
    pieces: list[str] = []
    for n, piece in enumerate(re.split('"\ue000(\\d+)\ue001"', laid_out)):
        if n % 2:
            order.append(slots[int(piece)])
        else:
            pieces.append(piece)
    source = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return ContentTemplate(type, source, tuple(pieces), tuple(order))


def _is_code_place(path: str, content: Mapping[str, object]) -> bool:
    """Whether this is where an authentication template has its code: the parameter of a url button."""
    if not _OTP_PLACE.fullmatch(path):
        return False
    components = content.get("components")
    index = int(path[len("components[") : path.index("]")])
    component = components[index] if isinstance(components, Sequence) else {}
    return isinstance(component, Mapping) and component.get("sub_type") == "url"


def _prepare(value: object, path: str, found: list[tuple[Dynamic, tuple[str | _Variable, ...]]]) -> Any:
    """The content with every string that has placeholders replaced by a Dynamic."""
    if isinstance(value, str):
        parts = _parts(value, path)
        if all(isinstance(part, str) for part in parts):
            return "".join(str(part) for part in parts)
        dynamic = Dynamic(value)
        found.append((dynamic, parts))
        return dynamic
    if isinstance(value, Mapping):
        return {
            key: _prepare(inner, f"{path}.{key}" if path else str(key), found) for key, inner in value.items()
        }
    if isinstance(value, Sequence):
        return [_prepare(inner, f"{path}[{n}]", found) for n, inner in enumerate(value)]
    return value


def _parts(text: str, path: str) -> tuple[str | _Variable, ...]:
    parts: list[str | _Variable] = []
    at = 0
    for match in _PLACEHOLDER.finditer(text):
        _no_braces(text[at : match.start()], path)
        parts.append(text[at : match.start()])
        parts.append(_variable(match, path))
        at = match.end()
    _no_braces(text[at:], path)
    parts.append(text[at:])
    return tuple(part for part in parts if part != "" or len(parts) == 1)


def _variable(match: re.Match[str], path: str) -> _Variable:
    name, bar, default = match[1].partition("|")
    shown = " ".join(name.split())
    if not _NAME.fullmatch(shown):
        raise InvalidValue(
            path,
            match[0][:40],
            f"at character {match.start() + 1} is no column's name; only {{{{column}}}} or {{{{column|default}}}} can "
            "stand there, nothing is computed",
        )
    return _Variable(normal_name(shown), shown, default.strip() if bar else None)


def _no_braces(text: str, path: str) -> None:
    for braces in ("{{", "}}"):
        if braces in text:
            raise InvalidValue(path, "", f"has {braces} without its counterpart; write {{{{column}}}}")


def _marked(value: object, marks: Mapping[int, int]) -> object:
    if isinstance(value, Dynamic):
        return f"\ue000{marks[id(value)]}\ue001"
    if isinstance(value, Mapping):
        return {key: _marked(inner, marks) for key, inner in value.items()}
    if isinstance(value, list):
        return [_marked(inner, marks) for inner in value]
    return value
