"""What no request may have, whichever its endpoint: a parameter that the endpoint does not know or that comes twice,
and twice a header that decides what is done.

A filter with a typing error would find everything, and of two keys a proxy and we could each take another one.
"""

from __future__ import annotations

from collections import Counter
from typing import get_args, get_origin
from urllib.parse import parse_qsl

from fastapi.dependencies.models import Dependant
from starlette.types import Scope

from bulksend.errors import InvalidValue

_ONCE = frozenset({b"authorization", b"content-type", b"host", b"idempotency-key", b"last-event-id"})
_LONGEST_NAME = 40


def check_request(scope: Scope) -> None:
    """Raises InvalidValue. The route of the request is known by now."""
    if scope["query_string"]:
        _check_query(scope)
    found: set[bytes] = set()
    for name, _ in scope["headers"]:
        if name in _ONCE:
            if name in found:
                raise InvalidValue(name.decode().title(), "", "is given twice; send this header once")
            found.add(name)


def _check_query(scope: Scope) -> None:
    lists = _lists_by_name(getattr(scope["route"], "dependant", None))
    given = Counter(name for name, _ in parse_qsl(scope["query_string"].decode("latin-1"), True))
    for name, count in given.items():
        if name not in lists:
            remedy = f"it has {', '.join(sorted(lists))}" if lists else "it has none"
            raise InvalidValue(name[:_LONGEST_NAME], "", f"is not a parameter of this address; {remedy}")
        if count > 1 and not lists[name]:
            raise InvalidValue(name, "", "is given twice; give it once")


def _lists_by_name(dependant: Dependant | None) -> dict[str, bool]:
    """The parameters in the query that an endpoint and what it depends on take; true: it may come several times."""
    if dependant is None:
        return {}
    found = {each.alias: _is_list(each.field_info.annotation) for each in dependant.query_params}
    for each in dependant.dependencies:
        found |= _lists_by_name(each)
    return found


def _is_list(type_: object) -> bool:
    return get_origin(type_) is list or any(map(_is_list, get_args(type_)))
