"""A campaign's content with ``{{column}}`` or ``{{column|default}}`` in it: compiled once, rendered per message.

A placeholder can only name a column: no code runs, and the values are not searched for placeholders. Compilation checks
the fixed parts and writes them as JSON. Rendering checks and fills in the strings of one message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bulksend.errors import InvalidValue
from bulksend.messaging.column_names import clean_name, normal_name
from bulksend.messaging.content import Button, Content, Template, parse_content
from bulksend.messaging.content_json import DEEPEST, load_content_json
from bulksend.messaging.json_encoding import encode_json_string, make_json_encoder
from bulksend.messaging.states import MessageType
from bulksend.messaging.value_checks import (
    HAS_REPLACEMENT_CHARACTER,
    REPLACEMENT_CHARACTER,
    PlaceholderText,
    Rule,
    check_code,
    check_link,
    check_parameter,
    check_text,
    describe_length,
    describe_type,
)

#: Characters of a column's name in a content.
_NAME_MAX = 100
_compact = make_json_encoder(separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True)
class _Variable:
    name: str
    """In the form of ``normal_name``."""
    shown: str
    """As written in the content."""
    default: str | None


@dataclass(frozen=True, slots=True)
class _Placeholder:
    """A string of the content with variables in it: its parts, and the rule of its field with path and limit."""

    parts: tuple[str | _Variable, ...]
    rule: Rule
    path: str
    most: int

    def text(self, variables: Mapping[str, str]) -> str:
        """The string for a message. Raises InvalidValue when a variable is missing."""
        return "".join([part if type(part) is str else _value(part, variables) for part in self.parts])  # type: ignore[arg-type]

    def json(self, variables: Mapping[str, str]) -> str:
        """``value`` as JSON. Raises InvalidValue as ``value``."""
        value = self.value(variables)
        return encode_json_string(value) if type(value) is str else _compact(value)

    def value(self, variables: Mapping[str, str]) -> str | float:
        """The string, or the number of degrees, for a message. Raises InvalidValue when it breaks the field's rule."""
        text = self.text(variables)
        try:
            return self.rule(text, self.path, self.most)
        except InvalidValue as error:
            raise self.attribute(error, variables) from None

    def is_certainly_valid(self, variables: Mapping[str, str]) -> bool:
        """Whether the rule is certainly kept: printable ASCII that is not too long. A fast check for most messages."""
        if self.rule is not check_text:
            return False
        length = 0
        for part in self.parts:
            if type(part) is str:
                length += len(part)
                continue
            value = variables.get(part.name)  # type: ignore[union-attr]
            if not value or not value.isascii() or not value.isprintable() or value.isspace():
                return False
            length += len(value)
        return length <= self.most

    def attribute(self, error: InvalidValue, variables: Mapping[str, str]) -> InvalidValue:
        """The field's error as an error of the one variable that causes it, with only the length of its value.

        Without a single cause it stays an error of the field.
        """
        held = {part.shown: _value(part, variables) for part in self.parts if isinstance(part, _Variable)}
        field, value = self.path, error.value
        for name in sorted(held, key=lambda name: -len(held[name])):
            if len(held) == 1 or self._is_valid_without(name, variables):
                field, value = name, describe_length(held[name])
                break
        return InvalidValue(field, value, f"{error.why} (it fills {self.path} of the content)")

    def _is_valid_without(self, name: str, variables: Mapping[str, str]) -> bool:
        kept = ["x" if not isinstance(p, str) and p.shown == name else p for p in self.parts]
        text = "".join(part if isinstance(part, str) else _value(part, variables) for part in kept)
        try:
            self.rule(text, self.path, self.most)
        except InvalidValue:
            return False
        return True


@dataclass(frozen=True, slots=True)
class ContentTemplate:
    """A compiled content."""

    type: MessageType
    source: str
    """The content as it was given, in JSON."""
    variables: frozenset[str]
    """The names of the columns it uses, in the form of ``normal_name``."""
    required: frozenset[str]
    """Those without a default in at least one place."""
    _pieces: tuple[str, ...]
    """The JSON around the placeholders: one piece more than placeholders."""
    _placeholders: tuple[_Placeholder, ...]
    _codes: tuple[tuple[_Placeholder | str, str], ...]
    """The code in an authentication template's button: a placeholder or fixed text, and the path."""

    def render(self, variables: Mapping[str, str], *, otp: bool = False) -> str:
        """The vendor's ``Content`` text for one message: compact JSON, valid for the content's type.

        ``variables`` by ``normal_name``; ``otp`` also applies the rules of one-time codes. Raises InvalidValue when a
        variable is missing or wrong; the error never shows its value.
        """
        if otp:
            self._check_codes(variables)
        pieces = self._pieces
        made = [pieces[0]]
        for n, placeholder in enumerate(self._placeholders, 1):
            made.append(placeholder.json(variables))
            made.append(pieces[n])
        return "".join(made)

    def check(self, variables: Mapping[str, str], *, otp: bool = False) -> None:
        """Raises InvalidValue when ``render`` would, without rendering."""
        if otp:
            self._check_codes(variables)
        for placeholder in self._placeholders:
            if not placeholder.is_certainly_valid(variables):
                placeholder.value(variables)

    def to_json(self) -> str:
        """The content as it was given, for the ledger."""
        return self.source

    @classmethod
    def from_json(cls, type: MessageType, text: str) -> ContentTemplate:
        """The inverse of ``to_json``. Raises InvalidValue as ``compile_content``."""
        return compile_content(type, load_content_json(text))

    def _check_codes(self, variables: Mapping[str, str]) -> None:
        for code, path in self._codes:
            if isinstance(code, str):
                check_code(code, path)
                continue
            text = code.text(variables)
            try:
                check_code(text, path)
            except InvalidValue as error:
                raise code.attribute(error, variables) from None


def _value(variable: _Variable, variables: Mapping[str, str]) -> str:
    value = variables.get(variable.name)
    if value and not value.isspace():
        return value
    if variable.default is not None:
        return variable.default
    raise InvalidValue(
        variable.shown,
        "",
        f"is empty, but the content needs it; fill the column, or give a default: {{{{{variable.shown}|…}}}}",
    )


# -- compiling -----------------------------------------------------------------------------------------------------


def compile_content(type: MessageType, content: Mapping[str, object]) -> ContentTemplate:
    """Compile a content with placeholders. Raises InvalidValue, with the path, when a field of it is wrong."""
    if not isinstance(content, Mapping):
        raise InvalidValue(
            "content", describe_type(content), "must be a JSON object, like the vendor's Content"
        )
    parts: dict[int, tuple[str | _Variable, ...]] = {}
    prepared = _prepared(content, "", parts, 1)
    assert isinstance(prepared, dict)
    parsed = parse_content(type, prepared)
    if not parts:
        fixed = _compact(parsed.to_vendor())
        none: frozenset[str] = frozenset()
        return ContentTemplate(type, _compact(prepared), none, none, (fixed,), (), tuple(_codes(parsed, {})))
    pieces: list[str] = [""]
    placeholders: dict[int, _Placeholder] = {}
    for token in _tokens(parsed.to_vendor()):
        if isinstance(token, PlaceholderText):
            placeholders[id(token)] = _placeholder(token, parts[id(token)])
            pieces.append("")
        else:
            pieces[-1] += token
    used = [
        part
        for placeholder in placeholders.values()
        for part in placeholder.parts
        if isinstance(part, _Variable)
    ]
    return ContentTemplate(
        type,
        _compact(prepared),
        frozenset(variable.name for variable in used),
        frozenset(variable.name for variable in used if variable.default is None),
        tuple(pieces),
        tuple(placeholders.values()),
        tuple(_codes(parsed, placeholders)),
    )


def _prepared(value: object, path: str, found: dict[int, tuple[str | _Variable, ...]], depth: int) -> object:
    """The content as plain lists and dictionaries, with a PlaceholderText for each string with placeholders."""
    if isinstance(value, str):
        parts = _parts(value, path)
        if all(type(part) is str for part in parts):
            return str(value)
        dynamic = PlaceholderText(value)
        found[id(dynamic)] = parts
        return dynamic
    if isinstance(value, (Mapping, Sequence)) and not isinstance(value, (bytes, bytearray)):
        if depth > DEEPEST:
            raise InvalidValue(
                path[:40], "", f"is nested more than {DEEPEST} levels deep; a Content has at most 6"
            )
        if isinstance(value, Mapping):
            return {
                key: _prepared(inner, f"{path}.{key}" if path else str(key), found, depth + 1)
                for key, inner in value.items()
            }
        return [_prepared(inner, f"{path}[{n}]", found, depth + 1) for n, inner in enumerate(value)]
    return value


def _parts(text: str, path: str) -> tuple[str | _Variable, ...]:
    parts: list[str | _Variable] = []
    at = 0
    # By find, not by a pattern: with "{{{{{{…" a pattern would scan the whole rest from each brace.
    while (start := text.find("{{", at)) >= 0 and (end := text.find("}}", start + 2)) >= 0:
        parts += [_fixed_part(text, at, start, path), _variable(text[start + 2 : end], path)]
        at = end + 2
    parts.append(_fixed_part(text, at, len(text), path))
    return tuple(part for part in parts if part != "")


def _fixed_part(text: str, start: int, end: int, path: str) -> str:
    part = text[start:end]
    for braces in ("{{", "}}"):
        if braces in part:
            raise InvalidValue(
                path,
                braces,
                f"at character {start + part.index(braces) + 1} has no matching braces; write {{{{column}}}}",
            )
    return part


def is_name(text: str) -> bool:
    """Whether a placeholder can use this column name: ``Rabatt in %`` and ``Mobile (work)``, too.

    It has a letter, so ``{{1}}`` of a vendor's template and ``{{7*7}}`` are none, and begins with no quote.
    """
    return (
        len(text) <= _NAME_MAX
        and text[:1] not in ("'", '"')
        and any(c.isalpha() for c in text)
        and not any(c in "{}|" or not c.isprintable() for c in text)
    )


def _variable(inner: str, path: str) -> _Variable:
    """The variable between the braces."""
    name, bar, default = inner.partition("|")
    shown = clean_name(name)
    if REPLACEMENT_CHARACTER in default:
        raise InvalidValue(path, f"{{{{{inner}}}}}"[:40], HAS_REPLACEMENT_CHARACTER)
    if not is_name(shown) or "{{" in default:
        raise InvalidValue(
            path,
            f"{{{{{inner}}}}}"[:40],
            "has a placeholder that is not a column name; use {{column}} or {{column|default}}",
        )
    return _Variable(normal_name(shown), shown, default.strip() if bar else None)


def _placeholder(dynamic: PlaceholderText, parts: tuple[str | _Variable, ...]) -> _Placeholder:
    assert dynamic.rule is not None, "every field has a rule"
    rule, path, most = dynamic.rule
    if rule is check_text or rule is check_parameter:
        # A rule that the fixed parts break would be broken by every message.
        fixed = sum(len(part) for part in parts if isinstance(part, str))
        sample = "".join(part if isinstance(part, str) else "x" for part in parts)
        rule(sample, path, len(sample) if fixed <= most else most)
    elif rule is check_link:
        _check_fixed_beginning(parts, path)
    return _Placeholder(parts, rule, path, most)


def _check_fixed_beginning(parts: tuple[str | _Variable, ...], path: str) -> None:
    """Check a link's host when it has no variable."""
    beginning = parts[0]
    if isinstance(beginning, str) and re.match(r"[^/?#]*//[^/?#]+[/?#]", beginning):
        check_link(beginning, path, len(beginning))


def _tokens(value: object) -> Iterable[str]:
    """The JSON of a value in pieces; a PlaceholderText is a piece of its own."""
    if isinstance(value, dict):
        for n, (key, inner) in enumerate(value.items()):
            yield f"{',' if n else '{'}{_compact(key)}:"
            yield from _tokens(inner)
        yield "}" if value else "{}"
    elif isinstance(value, list):
        yield "["
        for n, inner in enumerate(value):
            if n:
                yield ","
            yield from _tokens(inner)
        yield "]"
    elif isinstance(value, PlaceholderText):
        yield value
    else:
        yield _compact(value)


def _codes(
    content: Content, placeholders: Mapping[int, _Placeholder]
) -> Iterable[tuple[_Placeholder | str, str]]:
    """The code of an authentication template in its url buttons, with the path."""
    if not isinstance(content, Template):
        return
    for n, component in enumerate(content.components or ()):
        if isinstance(component, Button) and component.sub_type == "url":
            code = component.parameters[0].value
            assert isinstance(code, str)
            yield placeholders.get(id(code), code), f"components[{n}].parameters[0].text"
