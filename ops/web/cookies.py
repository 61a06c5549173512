"""The cookies of the console. That of the session is for this address alone; behind TLS browsers see to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class OwnCookie:
    """A cookie for this address alone, which no script reads.

    Lax: a browser brings it also when a link, or an issuer's answer, leads here.
    """

    secure_name: str
    plain_name: str
    life_s: int

    def _name(self, request: HTTPConnection) -> str:
        # Without TLS there is no __Host-. Browsers share cookies between the ports of a machine: each server has its
        # own.
        return self.secure_name if is_secure(request) else f"{self.plain_name}_{request.url.port or 80}"

    def read(self, request: HTTPConnection) -> str | None:
        """What a request brings."""
        return request.cookies.get(self._name(request))

    def keep(self, request: HTTPConnection, response: Response, value: str) -> None:
        """Have the browser keep this."""
        response.set_cookie(
            self._name(request),
            value,
            max_age=self.life_s,
            path="/",
            secure=is_secure(request),
            httponly=True,
            samesite="lax",
        )

    def drop(self, request: HTTPConnection, response: Response) -> None:
        """Have the browser forget it."""
        response.delete_cookie(
            self._name(request), path="/", secure=is_secure(request), httponly=True, samesite="lax"
        )


#: The token of a session.
SESSION = OwnCookie("__Host-bulksend", "bulksend_session", LIFE_S)
#: The sign-in at an issuer that a browser began, sealed. It is good for one answer.
BEGUN = OwnCookie("__Host-bulksend_oidc", "bulksend_oidc", BEGUN_S)


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
