"""Calls to an issuer: bounded in time and size, without redirects. Errors name its address, never what was sent."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from bulksend.oidc.refusals import IssuerUnavailable

#: Of a whole call. A person waits for it.
CALL_S = 10.0
_STEP_S = 5.0
_MOST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """What an issuer answered: a JSON object."""

    status: int
    body: dict[str, Any]
    date: str | None
    """Its clock, as a header of HTTP has it."""


class Calls:
    """The connections to an issuer. Thread-safe. Every method raises IssuerUnavailable."""

    def __init__(self) -> None:
        # No cookies are kept: one user's must not go along with another's call.
        self._client = httpx.Client(timeout=_STEP_S, follow_redirects=False)

    def get(self, url: str, *, bearer: str | None = None) -> Reply:
        """What is at this address."""
        headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        return self._call("GET", url, headers, None)

    def post(self, url: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
        """The answer to a form."""
        return self._call("POST", url, headers, fields)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _call(
        self, method: str, url: str, headers: Mapping[str, str], fields: Mapping[str, str] | None
    ) -> Reply:
        self._client.cookies.clear()
        # Packed, a small answer could fill the memory.
        accept = {"Accept": "application/json", "Accept-Encoding": "identity", **headers}
        try:
            with self._client.stream(method, url, headers=accept, data=fields) as answer:
                body = _bounded(url, answer)
                return Reply(answer.status_code, _object(url, answer, body), answer.headers.get("date"))
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            # Without the error's text, which may quote what was sent.
            raise IssuerUnavailable(f"{url} cannot be reached ({type(error).__name__})") from None


def _bounded(url: str, answer: httpx.Response) -> bytes:
    until, body = time.monotonic() + CALL_S, bytearray()
    for part in answer.iter_raw():
        body += part
        if len(body) > _MOST_BYTES:
            raise IssuerUnavailable(f"{url} answers with more than {_MOST_BYTES:,} bytes")
        if time.monotonic() > until:
            raise IssuerUnavailable(f"{url} does not end its answer within {CALL_S:g} s")
    return bytes(body)


def _object(url: str, answer: httpx.Response, body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise IssuerUnavailable(f"{url} answers {answer.status_code} without a JSON object")
    return found
