"""Collects the settings from the environment, ``.env`` and secret files; turns what is wrong into one sentence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from bulksend.errors import InvalidInput, InvalidValue
from bulksend.messaging.surrogates import replace_surrogates
from bulksend.settings.dotenv import read_dotenv

PREFIX = "BULKSEND_"
_PLAIN = ("DATABASE_URL", "REDIS_URL", "OTEL_EXPORTER_OTLP_ENDPOINT")


def environment_name(field: str) -> str:
    """The name of a setting in the environment."""
    name = field.upper()
    return name if name in _PLAIN or name.startswith("USPEEDO_") else PREFIX + name


@dataclass(frozen=True, slots=True)
class Entry:
    """A setting as it was given: its name, its text and its source."""

    name: str
    value: str
    source: str
    is_secret: bool


def gather(
    fields: Mapping[str, FieldInfo], environ: Mapping[str, str], dotenv: Path | None
) -> dict[str, Entry]:
    """The given settings by field; the environment wins over the file. Raises InvalidInput."""
    return dict(_entries(fields, read_dotenv(dotenv), ".env")) | dict(
        _entries(fields, environ, "environment")
    )


def _entries(
    infos: Mapping[str, FieldInfo], values: Mapping[str, str], source: str
) -> Iterator[tuple[str, Entry]]:
    fields = {environment_name(field): field for field in infos}
    secrets = {name for name, field in fields.items() if "SecretStr" in str(infos[field].annotation)}
    files = {f"{name}_FILE": name for name in secrets}
    # An empty variable counts as not set: docker compose writes those.
    for name, value in ((name, value.strip()) for name, value in values.items() if value.strip()):
        if name in fields or name in files:
            value = _text(name, value)
            if name in _URLS and _REFERENCE.search(value):
                where = f"{name} in .env" if source == ".env" else name
                raise InvalidInput(
                    f"{where}: refers to another variable, which is not replaced; write its value"
                )
        if name in fields:
            yield fields[name], Entry(name, value, source, name in secrets)
        elif name in files:
            if values.get(files[name], "").strip():
                raise InvalidInput(f"{name} and {files[name]} are both set; leave one of them out")
            yield fields[files[name]], Entry(name, _read_secret(name, value), name, True)
        else:
            _refuse_if_ours(name, [*fields, *files], exactly=source != ".env")


#: A literal dollar sign in a URL is written %24, so ``${HOST}`` and ``/$HOME`` are references.
_URLS = frozenset({"DATABASE_URL", "REDIS_URL", "USPEEDO_BASE_URL"})
_REFERENCE = re.compile(r"\$\{\w|/\$[A-Za-z_]")


def _text(name: str, value: str) -> str:
    """The value as text. Raises InvalidInput for bytes that are not UTF-8, except in the operator's name."""
    whole = replace_surrogates(value)
    if whole != value and name != environment_name("actor"):
        raise InvalidInput(f"{name}: is not UTF-8 text")
    return whole


def _refuse_if_ours(name: str, known: list[str], *, exactly: bool) -> None:
    """Raises InvalidInput for an unknown name with our prefix, and for one with the vendor's that resembles a setting.

    In ``.env`` also for a known name in small letters or with hyphens, and for one that resembles DATABASE_URL or
    REDIS_URL: in an environment such a name may belong to another program.
    """
    if not exactly:
        plain = name.upper().replace("-", "_").replace(".", "_")
        if plain in known:
            raise InvalidInput(
                f"{name} in .env: names of settings have capital letters and underscores; write {plain}"
            )
        if near := difflib.get_close_matches(plain, _PLAIN, 1, 0.88):
            raise InvalidInput(f"{name} in .env: there is no such setting; did you mean {near[0]}?")
    for prefix, likeness in ((PREFIX, 0.5), ("USPEEDO_", 0.8)):
        if not name.startswith(prefix):
            continue
        # Compared without the prefix, which would make all names similar.
        rests = [other.removeprefix(prefix) for other in known if other.startswith(prefix)]
        near = difflib.get_close_matches(name.removeprefix(prefix), rests, 1, likeness)
        if near:
            raise InvalidInput(f"{name}: there is no such setting; did you mean {prefix}{near[0]}?")
        if prefix == PREFIX:
            raise InvalidInput(f"{name}: there is no such setting; `bulksend settings` lists them")


def _read_secret(name: str, path: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InvalidInput(f"{name}: {path} cannot be read: {why}") from None
    if not text:
        raise InvalidInput(f"{name}: {path} is empty")
    return text


def one_sentence(error: ValidationError, given: Mapping[str, Entry]) -> InvalidInput:
    """The first thing that is wrong, with the name under which it was given."""
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InvalidInput):
        return cause
    entry = given[str(first["loc"][0])]
    name = entry.name + (" in .env" if entry.source == ".env" else "")
    return InvalidValue(name, "" if entry.is_secret else entry.value[:40], _why(first["type"], first))


def _why(kind: str, problem: Mapping[str, Any]) -> str:
    context: Mapping[str, Any] = problem.get("ctx", {})
    limits = {"greater_than": "gt", "greater_than_equal": "ge", "less_than_equal": "le"}
    if kind in limits:
        words = {"gt": "more than", "ge": "at least", "le": "at most"}[limits[kind]]
        return f"must be {words} {context[limits[kind]]:g}"
    if kind == "literal_error":
        return f"must be one of {context['expected']}".replace("'", "")
    if kind == "value_error":
        return str(context["error"])
    if kind.startswith("bool_"):
        return "is neither yes nor no; write 1 or 0"
    if kind.startswith("int_"):
        return "is not a whole number"
    return "is not a number" if kind.startswith(("float_", "finite_")) else str(problem["msg"]).lower()
