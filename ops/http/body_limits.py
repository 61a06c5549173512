"""What the body of a request may be, how large, and how slow. Another one is refused before more of it is read.

Receipts have a size of their own, in ``receipts_in``, and so have uploads, by a setting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ops.http.access_log import route_of

MB = 1024 * 1024
DEFAULT = 1 * MB
#: By the template of the route.
LARGER: Mapping[str, int] = {"/v1/messages": 8 * MB}
#: Routes that check the size themselves: of every body, or of a form with a file.
UPLOADS = frozenset({"/v1/campaigns", "/v1/campaigns/{id}/clone", "/v1/plans"})
FORMS = frozenset({"/v1/suppressions/import", "/v1/media"})
_READ = frozenset({b"content-encoding", b"content-length", b"content-type", b"transfer-encoding"})
#: Each further part of a body of this many bytes, and the last one, must come within this many seconds of waiting.
PART_BYTES, PART_S = 32 * 1024, 30.0


class UnsupportedType(HTTPException):
    """A body is of a type that its address does not take."""

    def __init__(self, why: str) -> None:
        super().__init__(415, why, {"Accept": "application/json"})


class BodyTooSlow(HTTPException):
    """A body comes so slowly that it would hold what was made for it, such as a file, for hours."""

    def __init__(self) -> None:
        super().__init__(
            408,
            f"the body came too slowly: less than {PART_BYTES:,} bytes in {PART_S:g} s; nothing was kept. Repeat the "
            "request, with the same Idempotency-Key if it has one",
            {"Connection": "close"},
        )


class BodyReader:
    """Receives a body. Only the time in which the caller is waited for counts: a slow disk of ours is not its fault."""

    def __init__(self, receive: Receive, part_s: float = PART_S) -> None:
        self._receive = receive
        self._part_s = part_s
        self._left_s = part_s
        self._bytes = 0
        self._is_whole = False

    async def __call__(self) -> Message:
        """The next message of the server. Raises BodyTooSlow."""
        if self._is_whole:
            return await self._receive()
        time = asyncio.get_running_loop().time
        began = time()
        try:
            async with asyncio.timeout(self._left_s):
                message = await self._receive()
        except TimeoutError:
            raise BodyTooSlow from None
        self._is_whole = not message.get("more_body", False)
        self._left_s -= time() - began
        self._bytes += len(message.get("body", b""))
        if self._bytes >= PART_BYTES:
            self._bytes, self._left_s = 0, self._part_s
        return message


class BodyTooLarge(HTTPException):
    """A body is larger than its route takes. It is no error of ours, which FastAPI would answer with 400."""

    code = "too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(
            413,
            f"the body is larger than this address takes, {limit:,} bytes; send it in parts",
            # The rest of the body is not read, so nothing else can come by this connection.
            {"Connection": "close"},
        )


class BodyLimits:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, part_s: float = PART_S) -> None:
        self._app = app
        self._part_s = part_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        read = 0
        limit: int | None = None
        receive = BodyReader(receive, self._part_s)

        async def receive_limited() -> Message:
            nonlocal read, limit
            if limit is None:
                # The route is known once the body is read.
                headers = {name: value for name, value in scope["headers"] if name in _READ}
                route = route_of(scope)
                _check_type(route, headers)
                limit = _limit(route, headers)
                length = headers.get(b"content-length", b"")
                if limit and length.isdigit() and int(length) > limit:
                    raise BodyTooLarge(limit)
            message = await receive()
            read += len(message.get("body", b""))
            if limit and read > limit:
                raise BodyTooLarge(limit)
            return message

        await self._app(scope, receive_limited, send)


def _check_type(route: str, headers: Mapping[bytes, bytes]) -> None:
    """Raises UnsupportedType where the headers say that there is a body, and that it is encoded or no JSON."""
    if headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers:
        return
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedType("the body is encoded; send it without Content-Encoding")
    # What takes a form says itself which one.
    if route not in FORMS and route not in UPLOADS and not _is_json(headers.get(b"content-type", b"")):
        raise UnsupportedType("the body is no JSON by its header; send Content-Type: application/json")


def _is_json(content_type: bytes) -> bool:
    media_type = content_type.partition(b";")[0].strip().lower()
    return media_type == b"application/json" or (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    )


def _limit(route: str, headers: Mapping[bytes, bytes]) -> int:
    """The most bytes of this request's body; 0 where its route checks that itself."""
    if route in UPLOADS or (route in FORMS and is_form(headers.get(b"content-type", b"").decode("latin-1"))):
        return 0
    return LARGER.get(route, DEFAULT)


def is_form(content_type: str) -> bool:
    """Whether a body of this type may hold a file, and so be too large to be read at once."""
    return content_type.partition(";")[0].strip().lower() == "multipart/form-data"
