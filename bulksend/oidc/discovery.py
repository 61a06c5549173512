"""The document in which an issuer names its addresses (OpenID Connect Discovery)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bulksend.oidc.refusals import IssuerUnavailable
from bulksend.settings.proxy import host_of, is_loopback

PATH = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class Discovery:
    """The addresses of an issuer, and what it says of itself."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    takes_basic: bool
    """How it wants the client's secret: by HTTP Basic, else as a field of the form."""
    names_itself: bool
    """Whether its answers by the browser carry its name (RFC 9207)."""


def read(issuer: str, document: dict[str, Any]) -> Discovery:
    """The addresses of the issuer. Raises IssuerUnavailable where the document is another's or lacks one."""
    named = document.get("issuer")
    if named != issuer:
        raise IssuerUnavailable(
            f"it calls itself {str(named)[:200]!r}, which BULKSEND_OIDC_ISSUER must be, letter by letter"
        )
    methods = document.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    if not {"client_secret_basic", "client_secret_post"} & set(map(str, methods)):
        raise IssuerUnavailable("it takes no client secret, neither by HTTP Basic nor in a form")
    return Discovery(
        authorization_endpoint=_address(issuer, document, "authorization_endpoint"),
        token_endpoint=_address(issuer, document, "token_endpoint"),
        jwks_uri=_address(issuer, document, "jwks_uri"),
        userinfo_endpoint=_address(issuer, document, "userinfo_endpoint")
        if document.get("userinfo_endpoint")
        else None,
        takes_basic="client_secret_basic" in methods,
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
    )


def _address(issuer: str, document: dict[str, Any], name: str) -> str:
    """Over TLS, except on this machine where the issuer is on it too."""
    url = document.get(name)
    if not isinstance(url, str) or not (
        url.startswith("https://")
        or (url.startswith("http://") and issuer.startswith("http://") and is_loopback(host_of(url)))
    ):
        raise IssuerUnavailable(f"its {name} is not an https:// address")
    return url
