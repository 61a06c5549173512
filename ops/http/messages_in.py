"""``POST /v1/messages`` in front of the framework, whose steps for any endpoint take longer than all the rest.

It does the same as the endpoint ``send`` of ``routes.messages``, which describes it.
"""

from __future__ import annotations

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from bulksend.operations.access import Role
from ops.http.body_limits import BodyLimits
from ops.http.idempotency import HEADER, REPLAYED
from ops.http.problems import Crashes, answer_to
from ops.http.sending import Sending
from ops.http.services import Services, presented_key, signed_in

PATH = "/v1/messages"
_JSON = (b"content-type", b"application/json")
_REPLAYED = [(name.lower().encode(), value.encode()) for name, value in REPLAYED.items()]


class MessagesIn:
    """ASGI application: takes messages, and hands every other request to ``others``."""

    def __init__(self, services: Services, sending: Sending, others: ASGIApp) -> None:
        self._services = services
        self._sending = sending
        self._others = others
        self._send = Crashes(BodyLimits(self._answer))
        self._route = Route(PATH, self._answer, methods=["POST"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == PATH and scope["method"] == "POST":
            scope["route"] = self._route
            await self._send(scope, receive, send)
        else:
            await self._others(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            principal = await signed_in(request, self._services, presented_key(request))
            principal.check_role(Role.SENDER)
            given = request.headers.get(HEADER)
            body, replayed = await self._sending.answer(scope, await _body(receive), given, principal)
        except Exception as error:  # noqa: BLE001 - one that is no problem is raised again
            await answer_to(request, error)(scope, receive, send)
            return
        headers = [_JSON, (b"content-length", b"%d" % len(body)), *(_REPLAYED if replayed else ())]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _body(receive: Receive) -> bytes:
    """The whole body, at a tenth of the cost of ``Request.body``. Raises ClientDisconnect."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
