"""Headers of every answer that tell a browser what it may do with it."""

from __future__ import annotations

from bulksend.operations.report.style import POLICY
from ops.http.faces import is_of_the_api

#: Files of this address only, and no script or style inside a page. The pictures of swagger-ui's own style are data:.
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: Answers below it may hold numbers, names and secrets.
_PRIVATE = "/v1/"
#: Files of the console, which browsers keep.
_ASSETS = "/assets/"
#: Scripts make no element of a text that did not come through our own policy (Trusted Types).
_PAGE_POLICY = f"{CONTENT_POLICY}; require-trusted-types-for 'script'; trusted-types bulksend"

Headers = tuple[tuple[bytes, bytes], ...]
_POLICY: Headers = ((b"content-security-policy", CONTENT_POLICY.encode()),)
#: A report has its style in the page, and nothing else.
_REPORT_POLICY: Headers = ((b"content-security-policy", f"{POLICY}; frame-ancestors 'none'".encode()),)
_NO_GUESS: Headers = ((b"x-content-type-options", b"nosniff"),)
_ALWAYS: Headers = (*_NO_GUESS, (b"referrer-policy", b"no-referrer"))
#: With no-referrer browsers send `Origin: null` with forms, and the console could not tell its own.
_PAGE: Headers = (
    (b"content-security-policy", _PAGE_POLICY.encode()),
    *_NO_GUESS,
    (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_KEPT_NOWHERE: Headers = ((b"cache-control", b"no-store"),)
#: A browser that came once by https comes only by https for a year.
_HSTS: Headers = ((b"strict-transport-security", b"max-age=31536000"),)


def response_headers(path: str, scheme: str) -> Headers:
    """The headers of an answer to a request for this path."""
    if not is_of_the_api(path):
        found = _PAGE if path.startswith(_ASSETS) else _PAGE + _KEPT_NOWHERE
        return found + _HSTS if scheme == "https" else found
    found = (_REPORT_POLICY if path.endswith("/report") else _POLICY) + _ALWAYS
    if path.startswith(_PRIVATE):
        found += _KEPT_NOWHERE
    return found + _HSTS if scheme == "https" else found
