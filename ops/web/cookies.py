"""The cookies of the console. That of the session is for this address alone; behind TLS browsers see to it."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import Response

from bulksend.oidc import LIFE_S as BEGUN_S
from bulksend.operations.sessions import LIFE_S

#: What a person likes, kept for a year.
LANGUAGE, ZONE, THEME = "bulksend_language", "bulksend_zone", "bulksend_theme"
_SAID = "bulksend_said"
_YEAR_S, _SAID_S = 31_536_000, 30
_LONGEST = 2_000


def is_secure(request: HTTPConnection) -> bool:
    """Whether the browser speaks TLS, to us or to a proxy that we trust."""
    return request.url.scheme in ("https", "wss")


def _session_name(request: HTTPConnection) -> str:
    # Without TLS there is no __Host-. Browsers share cookies between the ports of a machine: each server has its own.
    return "__Host-bulksend" if is_secure(request) else f"bulksend_session_{request.url.port or 80}"


def session_token(request: HTTPConnection) -> str | None:
    """The token of the session that a request brings."""
    return request.cookies.get(_session_name(request))


def set_session(request: HTTPConnection, response: Response, token: str) -> None:
    """Have the browser keep the token of a session."""
    response.set_cookie(
        _session_name(request),
        token,
        max_age=LIFE_S,
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="lax",
    )


def drop_session(request: HTTPConnection, response: Response) -> None:
    """Have the browser forget it."""
    response.delete_cookie(
        _session_name(request), path="/", secure=is_secure(request), httponly=True, samesite="lax"
    )


def begun_sign_in(request: HTTPConnection) -> str | None:
    """The sign-in at an issuer that this browser began, sealed."""
    return request.cookies.get(_begun_name(request))


def set_begun_sign_in(request: HTTPConnection, response: Response, sealed: str) -> None:
    """Have the browser keep a sign-in until the issuer sends it back: Lax, since it comes from there."""
    response.set_cookie(
        _begun_name(request),
        sealed,
        max_age=BEGUN_S,
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="lax",
    )


def drop_begun_sign_in(request: HTTPConnection, response: Response) -> None:
    """Have the browser forget it: it is good for one answer."""
    response.delete_cookie(
        _begun_name(request), path="/", secure=is_secure(request), httponly=True, samesite="lax"
    )


def _begun_name(request: HTTPConnection) -> str:
    return "__Host-bulksend_oidc" if is_secure(request) else f"bulksend_oidc_{request.url.port or 80}"


def set_liked(request: HTTPConnection, response: Response, name: str, value: str) -> None:
    """Keep what a person likes."""
    response.set_cookie(
        name, value, max_age=_YEAR_S, path="/", secure=is_secure(request), httponly=True, samesite="lax"
    )


def say_next(request: HTTPConnection, response: Response, key: str, values: dict[str, Any]) -> None:
    """Have the next page say this text of the catalogues. The values are never private."""
    value = json.dumps([key, values])
    if len(value) <= _LONGEST:
        response.set_cookie(
            _SAID,
            value.encode().hex(),
            max_age=_SAID_S,
            path="/",
            secure=is_secure(request),
            httponly=True,
            samesite="strict",
        )


def said(request: HTTPConnection) -> tuple[str, dict[str, Any]] | None:
    """What the page before wants said."""
    try:
        key, values = json.loads(bytes.fromhex(request.cookies[_SAID]))
        return str(key), dict(values)
    except (KeyError, ValueError, TypeError):
        return None


def forget_said(request: HTTPConnection, response: Response) -> None:
    """It was said."""
    response.delete_cookie(_SAID, path="/", secure=is_secure(request), httponly=True, samesite="strict")
