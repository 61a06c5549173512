"""The OpenAPI description: what FastAPI makes of the endpoints, without what a request cannot be."""

from __future__ import annotations

import re
from typing import Any

from ops.http.problems import PROBLEMS

#: What FastAPI adds to a description, each time as the answer 422: ours are problems.
_FASTAPIS_ERRORS = ("HTTPValidationError", "ValidationError")
_SENTENCE_END = re.compile(r"(?<!e\.g)\. ")
_LONG = 60
_DEFINED = "#/$defs/"
_COMPONENTS = "#/components/schemas/"


def described(made: dict[str, Any]) -> dict[str, Any]:
    """The description, put right in place."""
    schemas: dict[str, Any] = made.setdefault("components", {}).setdefault("schemas", {})
    for name in _FASTAPIS_ERRORS:
        schemas.pop(name, None)
    for operations in made["paths"].values():
        for operation in operations.values():
            # Of itself it is the name of a function, such as "Get".
            operation["summary"] = _summary(operation["description"])
            for parameter in operation.get("parameters", []):
                parameter["schema"] = _without_null(parameter["schema"])
            operation["responses"].pop("422", None)
            operation["responses"] |= PROBLEMS
            _move_definitions(operation, schemas)
    return made


def _summary(description: str) -> str:
    """The first sentence, or what stands in it before a colon or semicolon, where it is long."""
    sentence = _SENTENCE_END.split(" ".join(description.split()), maxsplit=1)[0].removesuffix(".")
    if len(sentence) > _LONG:
        sentence = re.split('(?<!")[:;] ', sentence, maxsplit=1)[0]
    return sentence.replace("`", "")


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter of an address or a header may be left out, but it cannot be null."""
    choices = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    if len(choices) == 1:
        return {**{name: value for name, value in schema.items() if name != "anyOf"}, **choices[0]}
    return schema


def _move_definitions(part: Any, schemas: dict[str, Any]) -> None:
    """A body that an endpoint describes itself has its definitions inside; references mean those of the document."""
    if isinstance(part, dict):
        for name, schema in part.pop("$defs", {}).items():
            _move_definitions(schema, schemas)
            schemas[name] = schema
        if str(part.get("$ref", "")).startswith(_DEFINED):
            part["$ref"] = _COMPONENTS + part["$ref"].removeprefix(_DEFINED)
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _move_definitions(each, schemas)
