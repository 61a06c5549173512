"""What no request may have, whichever its endpoint: a parameter that the endpoint does not know or that comes twice, a
header twice that decides what is done, a body that is encoded or no JSON.

A filter with a typing error would find everything, and of two keys a proxy and we could each take another one.
"""

from __future__ import annotations

from collections import Counter
from typing import get_args, get_origin
from urllib.parse import parse_qsl

from fastapi.dependencies.models import Dependant
from starlette.exceptions import HTTPException
from starlette.types import Scope

from bulksend.errors import InvalidValue
from ops.http.access_log import route_of
from ops.http.body_limits import FORMS, UPLOADS

_ONCE = frozenset({b"authorization", b"content-type", b"idempotency-key", b"last-event-id"})
_OF_A_BODY = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})
_READ = _ONCE | _OF_A_BODY
_LONGEST_NAME = 40


class UnsupportedType(HTTPException):
    """A body is of a type that its address does not take."""

    def __init__(self, why: str) -> None:
        super().__init__(415, why, {"Accept": "application/json"})


def check_request(scope: Scope) -> None:
    """Raises InvalidValue, or UnsupportedType. The route of the request is known by now."""
    if scope["query_string"]:
        _check_query(scope)
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in _READ:
            if name in _ONCE and name in headers:
                raise InvalidValue(name.decode().title(), "", "is given twice; send this header once")
            headers[name] = value
    if scope["method"] not in ("GET", "HEAD") and _has_body(headers):
        _check_body(scope, headers)


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


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _check_body(scope: Scope, headers: dict[bytes, bytes]) -> None:
    encoding = headers.get(b"content-encoding", b"identity").lower()
    if encoding != b"identity":
        raise UnsupportedType("the body is encoded; send it without Content-Encoding")
    kind = headers.get(b"content-type", b"").decode("latin-1")
    # What takes a form says itself which one.
    if not _is_json(kind) and route_of(scope) not in FORMS | UPLOADS:
        raise UnsupportedType("the body is no JSON by its header; send Content-Type: application/json")


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )
