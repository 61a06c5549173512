"""Forms of other sites are refused: by the origin that the browser names, and by a token of the session."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from bulksend.errors import AccessDenied

#: The field of a form with the token.
FIELD = "csrf"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def token_of(session_token: str) -> str:
    """The token of the forms of a session. It tells nothing of the session's own, which stays in its cookie."""
    return hmac.new(session_token.encode(), b"csrf", hashlib.sha256).hexdigest()


def check_token(given: str, session_token: str) -> None:
    """Raises AccessDenied."""
    if not hmac.compare_digest(given.encode("utf-8", "replace"), token_of(session_token).encode()):
        raise AccessDenied("this form belongs to another session; open its page again")


def is_of_another_site(request: HTTPConnection) -> bool:
    """Whether the browser says that a page of another site asks. An old browser says nothing."""
    return request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none")


def check_origin(request: HTTPConnection) -> None:
    """Check that a request that may change something comes from a page of ours. Raises AccessDenied."""
    headers = request.headers
    origin = headers.get("origin")
    if is_of_another_site(request) or (origin is None and "sec-fetch-site" not in headers):
        raise AccessDenied("this request comes from a page of another site")
    if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
        raise AccessDenied("this request comes from a page of another address")
