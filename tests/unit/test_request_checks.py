"""What no request may have, whichever its endpoint."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import Depends, Query
from fastapi.routing import APIRoute

from bulksend.errors import InvalidValue
from ops.http.request_checks import check_request


def page(limit: int = 1, after: str | None = None) -> None: ...


def find(
    phone: str,
    page: Annotated[None, Depends(page)],
    since: Annotated[str, Query(alias="from")] = "",
    trace: Annotated[list[str] | None, Query()] = None,
) -> None: ...


def asked(
    query: bytes = b"", *headers: tuple[bytes, bytes], path: str = "/v1/things", method: str = "POST"
) -> Any:
    """The scope of a request."""
    route = APIRoute(path, find, methods=[method])
    return {"query_string": query, "headers": headers, "method": method, "route": route}


@pytest.mark.parametrize("query", [b"", b"phone=1&from=2&limit=3&after=", b"trace=a&trace=b", b"%70hone=1"])
def test_parameters_of_the_endpoint_and_what_it_depends_on_are_known(query: bytes) -> None:
    check_request(asked(query))


@pytest.mark.parametrize(
    ("query", "field", "why"),
    [
        (b"phne=1", "phne", "is not a parameter of this address; it has after, from, limit, phone, trace"),
        (b"since=1", "since", "is not a parameter"),
        (b"=1", "", "is not a parameter"),
        (b"phone=1&phone=2", "phone", "is given twice"),
        (b"phone=1&%70hone=2", "phone", "is given twice"),
    ],
)
def test_another_parameter_or_one_that_comes_twice_is_refused_by_name(
    query: bytes, field: str, why: str
) -> None:
    with pytest.raises(InvalidValue, match=why) as caught:
        check_request(asked(query))
    assert caught.value.field == field


@pytest.mark.parametrize("name", [b"authorization", b"idempotency-key", b"content-type", b"last-event-id"])
def test_a_header_that_decides_what_is_done_comes_once(name: bytes) -> None:
    with pytest.raises(InvalidValue, match="twice") as caught:
        check_request(asked(b"", (name, b"a"), (b"accept", b"*/*"), (name, b"b")))
    assert caught.value.field.lower().encode() == name
    check_request(asked(b"", (b"accept", b"a"), (b"accept", b"b"), (name, b"a")))
