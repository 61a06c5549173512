"""The address of receipts, in front of all else of the application: no dependencies, no thread for each request.

Any content type and any body is taken, since the vendor documents none; what it means is found out later, by the relay.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import parse_qs

import structlog
from starlette.types import Receive, Scope, Send

from bulksend.ledger.driver_errors import log_text
from bulksend.ledger.raw_receipts import Callback
from bulksend.operations.receipt_tokens import TokenRing
from ops.http.body_limits import BodyReader, BodyTooSlow
from ops.http.receipt_group_commit import ReceiptGroupCommit

log = structlog.get_logger(__name__)

PREFIX = "/v1/receipts/"
#: Below the same address, and not a token.
_OTHERS = (f"{PREFIX}reparse",)
MOST_BYTES = 3 * 1024 * 1024
#: A revoked token is refused, and a new one known, within this time.
REMEMBERED_S = 0.5
#: Tokens in use are read again after this time, so that no request waits for that.
_READ_AGAIN_S = REMEMBERED_S / 2
#: A request waits this long for the ledger to read the tokens; after that the ones in memory count.
_TOKENS_S = 0.5
#: A request waits this long while no tokens are in memory: without them no receipt can be taken.
_FIRST_TOKENS_S = 10.0
#: Headers that may help to read a body, or to prove its sender later.
_KEPT = frozenset({b"content-type", b"content-encoding", b"user-agent"})

_STORED = b'{"code":0,"message":"ok"}'


def is_callback(scope: Scope) -> bool:
    """Whether a request is for the address of receipts, with whatever token."""
    if scope["type"] != "http":
        return False
    path: str = scope["path"]
    return path.startswith(PREFIX) and path not in _OTHERS


class ReceiptsIn:
    """ASGI application. ``read_tokens`` reads the ledger and may block; ``steady`` never goes back, in seconds."""

    def __init__(
        self,
        commit: ReceiptGroupCommit,
        read_tokens: Callable[[], TokenRing],
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._commit = commit
        self._tokens = _Tokens(read_tokens, steady)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = scope["path"][len(PREFIX) :]
        ring = await self._tokens.current()
        if ring is None:
            await _answer(send, 503, _problem(503, "the tokens could not be read yet; repeat it"))
            return
        id = ring.id_of(token, (scope.get("client") or ("",))[0])
        if id is None:
            await _answer(send, 404, _problem(404, "no such address"))
        elif scope["method"] == "POST":
            await self._take(id, scope, receive, send)
        elif scope["method"] == "GET":
            await _answer(send, *_verified(scope["query_string"], token))
        else:
            await _answer(send, 405, _problem(405, "POST a receipt here"))

    async def _take(self, token: str, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            if name in _KEPT or b"signature" in name:
                headers[name.decode("latin-1")] = value.decode("latin-1")
            elif name == b"content-length" and int(value) > MOST_BYTES:
                await _answer(send, 413, _problem(413, f"a receipt has at most {MOST_BYTES} bytes"))
                return
        body, receive = b"", BodyReader(receive)
        while True:
            try:
                message = await receive()
            except BodyTooSlow as error:
                await _answer(send, 408, _problem(408, error.detail))
                return
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > MOST_BYTES:
                await _answer(send, 413, _problem(413, f"a receipt has at most {MOST_BYTES} bytes"))
                return
            if not message.get("more_body", False):
                break
        if await self._commit.add(Callback(token, headers, body)):
            await _answer(send, 200, _STORED)
        else:
            await _answer(send, 503, _problem(503, "neither the ledger nor the disk takes it; repeat it"))


class _Tokens:
    """The tokens in the ledger, read again when they are older than REMEMBERED_S. Belongs to one event loop."""

    def __init__(self, read: Callable[[], TokenRing], steady: Callable[[], float]) -> None:
        self._read = read
        self._steady = steady
        self._known: TokenRing | None = None
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._is_slow = False

    async def current(self) -> TokenRing | None:
        """Those of now; the ones in memory while the ledger does not answer; None until a first read has succeeded."""
        age = self._steady() - self._read_at
        if age >= _READ_AGAIN_S:
            if self._reading is None:
                self._reading = asyncio.create_task(self._read_again())
            if self._known is None:
                await asyncio.wait({self._reading}, timeout=_FIRST_TOKENS_S)
            elif age >= REMEMBERED_S and not self._is_slow:
                _, pending = await asyncio.wait({self._reading}, timeout=_TOKENS_S)
                self._is_slow = bool(pending)
        return self._known

    async def _read_again(self) -> None:
        began = self._steady()
        try:
            self._known = await asyncio.get_running_loop().run_in_executor(None, self._read)
            # What is revoked during a long read is refused by the next one.
            self._read_at = began
        except Exception as error:  # noqa: BLE001 - the tokens in memory still count
            log.warning("receipt_tokens_not_read", error=log_text(error))
            self._read_at = self._steady()
        self._is_slow = False
        self._reading = None


def _verified(query: bytes, token: str) -> tuple[int, bytes]:
    """Meta's check of the address: it sends the verify token of its console, which is the token of the address."""
    asked = parse_qs(query.decode("latin-1"))
    challenge, verify = asked.get("hub.challenge"), asked.get("hub.verify_token")
    if challenge is None:
        return 200, _STORED
    if verify != [token]:
        return 403, _problem(403, "hub.verify_token is not the token of this address")
    return 200, challenge[0][:1000].encode()


def _problem(status: int, detail: str) -> bytes:
    title = HTTPStatus(status).phrase
    return json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}).encode()


async def _answer(send: Send, status: int, body: bytes) -> None:
    kind = b"application/json" if status == 200 else b"application/problem+json"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    elif status in (408, 413):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
