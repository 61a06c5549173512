"""Headers of every answer that tell a browser what it may do with it."""

from __future__ import annotations

from bulksend.operations.report.style import POLICY

#: Files of this address only, and no script or style inside a page. The pictures of swagger-ui's own style are data:.
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: Answers below it may hold numbers, names and secrets.
_PRIVATE = "/v1/"

Headers = tuple[tuple[bytes, bytes], ...]
_POLICY: Headers = ((b"content-security-policy", CONTENT_POLICY.encode()),)
#: A report has its style in the page, and nothing else.
_REPORT_POLICY: Headers = ((b"content-security-policy", f"{POLICY}; frame-ancestors 'none'".encode()),)
_ALWAYS: Headers = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
_KEPT_NOWHERE: Headers = ((b"cache-control", b"no-store"),)
#: A browser that came once by https comes only by https for a year.
_HSTS: Headers = ((b"strict-transport-security", b"max-age=31536000"),)


def response_headers(path: str, scheme: str) -> Headers:
    """The headers of an answer to a request for this path."""
    found = (_REPORT_POLICY if path.endswith("/report") else _POLICY) + _ALWAYS
    if path.startswith(_PRIVATE):
        found += _KEPT_NOWHERE
    return found + _HSTS if scheme == "https" else found
