"""Parsed JSON to frozen values, with errors that name the field and show no private value."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from bulksend.errors import InvalidValue
from bulksend.messaging.masking import mask_digits

T = TypeVar("T")


def read_as(adapter: TypeAdapter[T], value: object, where: str) -> T:
    """``value`` as the adapter's type. Raises InvalidValue for its first error."""
    try:
        # JSON has no tuples and no enums: lax mode converts from what it has.
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidValue(
            _field(where, first["loc"]),
            _shown(first["loc"], first["input"]),
            _why(first["type"], first["msg"]),
        ) from None


def _field(where: str, loc: tuple[int | str, ...]) -> str:
    return where + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc)


def _shown(loc: tuple[int | str, ...], value: Any) -> str:
    """Scalars only, digits masked; a URL may carry a secret in its path and is never shown."""
    if not isinstance(value, str | int | float | bool) or (loc and loc[-1] in {"url", "secret"}):
        return ""
    return mask_digits(str(value))[:40]


def _why(kind: str, message: str) -> str:
    if kind == "unexpected_keyword_argument":
        return "is not a known field here; see simulator/README.md for the list"
    if kind == "missing":
        return "is required"
    if kind == "tuple_type":
        return "must be a list"
    if kind == "dataclass_type":
        return "must be an object"
    return message.removeprefix("Value error, ")
