"""The form of a new campaign: its fields as they are typed, and the options of ``bulksend send`` that they mean.

Fields have the JSON names of the options. Of its own the form has ``use.N``, what column N of the file is for;
``template``, language and name; and ``p.PLACE``, the values of a template.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from bulksend.errors import InvalidValue
from bulksend.messaging.column_names import RESERVED, letters_and_digits
from bulksend.messaging.content_json import load_content_json
from bulksend.messaging.rendering import compile_content, is_name
from bulksend.messaging.states import Kind, MessageType
from bulksend.messaging.template_content import TemplateValue, file_of, template_content, texts_of
from bulksend.messaging.units import parse_duration_ms, zone_of
from ops.http.routes.campaigns import CampaignBody
from producer.reading.file_columns import Column, FileHead

Values = Mapping[str, Any]
#: Options that the form takes as they are typed; an empty one is not given.
_TEXTS = (
    *("sender", "kind", "type", "name", "local_time", "rate", "on_unknown", "cap", "timezone", "region"),
    *("encoding", "sheet", "canary", "max_failed", "into"),
)
_PEOPLE = ("exclude", "only")
#: Types with a file, and the fields that they have beside it.
FILE_TYPES: Mapping[str, Sequence[str]] = {
    "image": ("caption",),
    "video": ("caption",),
    "document": ("filename",),
    "audio": (),
    "sticker": (),
}
TYPES = ("template", "text", *FILE_TYPES, "location")
KINDS = tuple(str(each) for each in (Kind.MARKETING, Kind.UTILITY, Kind.OTP))
USES = ("to", *RESERVED)
#: The longest text of a field that is kept.
_LONGEST = 20_000


class WrongFields(InvalidValue):
    """More than one field may be wrong: ``whys`` by the field of the form."""

    def __init__(self, whys: Mapping[str, str]) -> None:
        self.whys = dict(whys)
        field, why = next(iter(whys.items()))
        super().__init__(field, "", why)


def fields_of(names: Sequence[str], form: Any) -> dict[str, Any]:
    """The fields of the form that was sent, by their names; those of a list have several values."""
    kept: dict[str, Any] = {}
    for name in names:
        if name in _PEOPLE:
            kept[name] = [value[:220] for value in form.every(name) if value]
        elif name not in ("csrf", "act", "row"):
            kept[name[:60]] = form.text(name)[:_LONGEST]
    return kept


def options_of(fields: Values, head: FileHead, values: Sequence[TemplateValue]) -> CampaignBody:
    """The options that the fields mean. Raises WrongFields, InvalidValue."""
    whys: dict[str, str] = {}
    options: dict[str, Any] = {name: text for name in _TEXTS if (text := fields.get(name))}
    for name in ("sender", "kind", "type"):
        if name not in options:
            whys[name] = "is missing; choose one"
    if fields.get("send_at"):
        options["send_at"] = str(fields["send_at"]).replace("T", " ")
    try:
        options |= _numbers(fields)
    except InvalidValue as error:
        whys[error.field] = error.why
    options |= {name: people for name in _PEOPLE if (people := _people(fields, name))}
    options["require_consent"] = fields.get("require_consent") == "1"
    options["again"] = fields.get("again") == "1"
    options["map"] = _map(fields, head, whys)
    if "type" in options:
        try:
            options["content"] = _content(fields, options["type"], values)
        except WrongFields as error:
            whys |= error.whys
        except InvalidValue as error:
            whys[error.field] = error.why
    if whys:
        raise WrongFields(whys)
    try:
        return CampaignBody.model_validate(options)
    except ValidationError as error:
        raise WrongFields(
            {str(each["loc"][0]) if each["loc"] else "file": each["msg"] for each in error.errors()}
        ) from None


def _numbers(fields: Values) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if fields.get("weight"):
        text = str(fields["weight"])
        if not text.isascii() or not text.isdigit():
            raise InvalidValue("weight", "", "must be a whole number from 1 to 100")
        found["weight"] = int(text)
    if fields.get("ttl"):
        found["ttl_seconds"] = parse_duration_ms(str(fields["ttl"]), field="ttl") / 1000
    return found


def _people(fields: Values, name: str) -> list[str]:
    chosen = fields.get(name) or []
    typed = str(fields.get(f"{name}_other", "")).replace("\n", ",").split(",")
    return list(dict.fromkeys(text for each in (*chosen, *typed) if (text := each.strip())))


def use_of(fields: Values, n: int, column: Column) -> str:
    """What column N is for: what was chosen, else what its name or its values say."""
    return str(fields.get(f"use.{n}", column.use or column.guess))


def _map(fields: Values, head: FileHead, whys: dict[str, str]) -> dict[str, str]:
    """What the columns are called; only where that is not what their names say."""
    found: dict[str, str] = {}
    for n, column in enumerate(head.columns):
        use = use_of(fields, n, column)
        if use == column.use:
            continue
        if use in USES:
            if use in found:
                whys[f"use.{n}"] = "another column is chosen for the same; choose one of them"
            found[use] = column.name
        elif column.use in RESERVED:
            # Its name alone would make it one.
            found[f"{column.use}_"] = column.name
    return found


def _content(fields: Values, type: str, values: Sequence[TemplateValue]) -> dict[str, Any]:
    if fields.get("as_json") == "1" or type == MessageType.LOCATION:
        return load_content_json(str(fields.get("content") or "{}"))
    if type == MessageType.TEXT:
        if not fields.get("body"):
            raise InvalidValue("body", "", "is missing; write the text of the message")
        content: dict[str, Any] = {"body": fields["body"]}
        return content | ({"preview_url": True} if fields.get("preview_url") == "1" else {})
    if type in FILE_TYPES:
        if not fields.get("media_file"):
            raise InvalidValue(
                "media_file", "", "is missing; choose an uploaded file, or give the link of one"
            )
        more = {name: fields[name] for name in FILE_TYPES[type] if fields.get(name)}
        return file_of(fields["media_file"]) | more
    language, _, name = str(fields.get("template", "")).partition(" ")
    if not name:
        raise InvalidValue("template", "", "is missing; choose one")
    texts = {key[2:]: str(text) for key, text in fields.items() if key.startswith("p.") and text}
    whys = {
        f"p.{each.place}": why for each in values if (why := _wrong_text(each, texts.get(each.place, "")))
    }
    if whys:
        raise WrongFields(whys)
    return template_content(name, language, values, texts)


def _wrong_text(value: TemplateValue, text: str) -> str:
    """What is wrong with the text of a template's value; empty where nothing is."""
    if not text:
        return "" if value.kind == "payload" else "is missing; write a text, or a column's name as {{name}}"
    try:
        compile_content(MessageType.TEXT, {"body": text})
    except InvalidValue as error:
        return error.why
    return ""


def usable_columns(head: FileHead, fields: Values) -> list[str]:
    """The columns that a message can use: they are for nothing else."""
    return [
        column.name
        for n, column in enumerate(head.columns)
        if not use_of(fields, n, column) and is_name(column.name)
    ]


def guessed_texts(values: Sequence[TemplateValue], head: FileHead, fields: Values) -> dict[str, str]:
    """A text for each value of a template: the column of its name.

    A value whose name is only a number, and a code, has the next column that is for no other use.
    """
    free = usable_columns(head, fields)
    by_name = {letters_and_digits(name): name for name in free}
    found: dict[str, str] = {}
    texts = [each for each in values if each.kind in ("text", "code")]
    for each in texts:
        column = by_name.get(letters_and_digits(each.name)) if letters_and_digits(each.name) else None
        if column is not None:
            found[each.place] = f"{{{{{column}}}}}"
    left = [name for name in free if f"{{{{{name}}}}}" not in found.values()]
    for each in texts:
        if each.place not in found and left and (each.kind == "code" or each.name.isdecimal()):
            found[each.place] = f"{{{{{left[0] if each.kind == 'code' else left.pop(0)}}}}}"
    return found


def fields_from(options: Values) -> dict[str, Any]:
    """The fields that stand for options, of an earlier campaign or a plan; without the columns of a file."""
    fields: dict[str, Any] = {name: str(options[name]) for name in _TEXTS if options.get(name) is not None}
    if options.get("rate") is not None:
        fields["rate"] = f"{float(options['rate']):g}"
    if options.get("weight") is not None:
        fields["weight"] = str(options["weight"])
    if options.get("send_at") is not None:
        fields |= _due(str(options["send_at"]), options.get("timezone"))
    if options.get("ttl_seconds"):
        fields["ttl"] = _duration(float(options["ttl_seconds"]))
    for name in _PEOPLE:
        fields[f"{name}_other"] = ", ".join(options.get(name) or ())
    for name in ("require_consent", "again"):
        if options.get(name):
            fields[name] = "1"
    content = options["content"]
    content = json.loads(content) if isinstance(content, str) else content
    fields["content"] = json.dumps(content, ensure_ascii=False, indent=2)
    return fields | _fields_of_content(str(options["type"]), content)


def _due(text: str, timezone: str | None) -> dict[str, str]:
    """A time as a field of a form has it, with its zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return {}
    if moment.tzinfo is not None:
        timezone = timezone or "UTC"
        moment = moment.astimezone(zone_of(timezone))
    return {"send_at": f"{moment:%Y-%m-%dT%H:%M}"} | ({"timezone": timezone} if timezone else {})


def _duration(seconds: float) -> str:
    """As it may be typed: ``2h``, ``90s``."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:g}s"


def _fields_of_content(type: str, content: Mapping[str, Any]) -> dict[str, Any]:
    if type == MessageType.TEXT:
        return {"body": content["body"]} | ({"preview_url": "1"} if content.get("preview_url") else {})
    if type in FILE_TYPES:
        more = {name: content[name] for name in FILE_TYPES[type] if content.get(name)}
        return {"media_file": content.get("link") or content.get("id") or "", **more}
    if type == MessageType.TEMPLATE:
        texts = {f"p.{place}": text for place, text in texts_of(content).items()}
        return {"template": f"{content['language']['code']} {content['name']}", **texts}
    return {"as_json": "1"}
