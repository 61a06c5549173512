"""Errors as problem details (RFC 9457): one table from the error tree to HTTP statuses."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bulksend import errors
from bulksend.errors import BulksendError, InvalidInput, InvalidValue, code_of
from bulksend.messaging.masking import mask_phone
from producer.intake_report import IntakeInterrupted, SamePeople

log = structlog.get_logger(__name__)

_FRAMES = 8
_LONGEST_FIELD = 100
MEDIA_TYPE = "application/problem+json"
#: Digits as of a phone number, and what has as many and is none: an id, and the example of errors about numbers.
_NUMBER_OR_ID = re.compile(
    r"(?P<kept>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\+44 7700 900123)|\d(?:[ ()]{0,2}\d){6,}",
    re.IGNORECASE,
)
#: In the path of a field: one of the ways in which it may be right.
_A_WAY = re.compile(
    r"(constrained-)?(str|int|float|bool)|(literal|list|dict|function-\w+|nullable)\[.*\]", re.DOTALL
)
_AWAY = "a server that this needs does not answer; repeat the request, with the same Idempotency-Key if it has one"
_UNFIT = "a server cannot be used as it is set up; the log has the cause under this request_id"
#: The first row whose class an error has decides.
STATUSES: Sequence[tuple[type[BulksendError], int, str]] = (
    (errors.NotSignedIn, 401, "Not signed in"),
    (errors.AccessDenied, 403, "Access denied"),
    (errors.NotFound, 404, "Not found"),
    (errors.RequestRunning, 409, "Still running"),
    (errors.PlanChanged, 409, "The plan does not hold any more"),
    (errors.WrongState, 409, "Not possible now"),
    (errors.EventsGone, 410, "Events were deleted"),
    (errors.TooManyRequests, 429, "Too many requests"),
    (IntakeInterrupted, 409, "Intake interrupted"),
    (SamePeople, 409, "Already sent to some recipients"),
    (errors.TooLarge, 413, "Too large"),
    (errors.Unfit, 500, "A server cannot be used as it is set up"),
    (errors.TooLate, 422, "It would be late"),
    (errors.InvalidInput, 422, "Invalid input"),
    (errors.DiskFull, 507, "Insufficient storage"),
    (errors.Unavailable, 503, "A server is away"),
    (BulksendError, 500, "Internal error"),
)

#: The endpoint that does what a command of the terminal does, which errors name as the remedy.
ENDPOINTS: Mapping[str, str] = {
    "campaigns cancel": "POST /v1/campaigns/{id}/cancel",
    "campaigns list": "GET /v1/campaigns",
    "campaigns resume": "POST /v1/campaigns/{id}/resume",
    "campaigns show": "GET /v1/campaigns/{id}",
    "keys add": "POST /v1/keys",
    "keys list": "GET /v1/keys",
    "media delete": "DELETE /v1/media/{id}",
    "media list": "GET /v1/media",
    "media upload": "POST /v1/media",
    "messages find": "GET /v1/messages",
    "messages resolve": "POST /v1/messages/{id}/resolve",
    "receipts reparse": "POST /v1/receipts/reparse",
    "senders pause": "POST /v1/senders/{phone}/pause",
    "senders resume": "POST /v1/senders/{phone}/resume",
    "senders set": "PATCH /v1/senders/{phone}",
    "suppressions add": "POST /v1/suppressions",
    "templates list": "GET /v1/templates",
    "templates preview": "POST /v1/templates/{name}/preview",
    "templates show": "GET /v1/templates/{name}",
    "templates sync": "POST /v1/templates/sync",
    "tokens list": "GET /v1/receipt-tokens",
    "users add": "POST /v1/users",
    "users enable": "POST /v1/users/{name}/enable",
    "users list": "GET /v1/users",
    "users reset": "POST /v1/users/{name}/reset",
    "webhooks deliveries": "GET /v1/webhooks/{id}/deliveries",
    "webhooks enable": "PATCH /v1/webhooks/{id}",
    "webhooks list": "GET /v1/webhooks",
}
#: What the framework says of an address or a method that there is not, and the remedy.
_ELSEWHERE = {
    "Not Found": "there is no such address; /docs lists every endpoint",
    "Method Not Allowed": "this address has other methods (Allow); /docs lists every endpoint",
}
_COMMAND = re.compile(r"`bulksend (?P<command>[a-z]+ [a-z]+)[^`]*`")

#: The answers of every endpoint that are problems, for the documentation.
_DESCRIBED: dict[str, Any] = {
    "description": "A problem (RFC 9457)",
    "content": {
        MEDIA_TYPE: {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail", "code", "request_id", "errors"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "code": {"type": "string"},
                    "request_id": {"type": ["string", "null"]},
                    "errors": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["field", "row", "why"],
                            "properties": {
                                "field": {"type": "string"},
                                "row": {"type": ["integer", "null"]},
                                "value": {"type": ["string", "null"]},
                                "why": {"type": "string"},
                            },
                        },
                    },
                },
            }
        }
    },
}
PROBLEMS: dict[int | str, dict[str, Any]] = {"4XX": _DESCRIBED, "5XX": _DESCRIBED}


def problem(
    request: Request,
    status: int,
    title: str,
    detail: str,
    *,
    code: str,
    errors: Sequence[Mapping[str, Any]] = (),
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """An answer of problem details. ``errors`` are ``{field, row, why}``; ``more`` are further fields."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": getattr(request.state, "request_id", None),
        "errors": list(errors),
        **(more or {}),
    }
    return _Problem(body, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


class _Problem(JSONResponse):
    """JSON in which half of a character, which a wrong value may quote, is a question mark."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def of_error(request: Request, error: BulksendError) -> JSONResponse:
    """The problem of an error of ours."""
    status, title = next((s, t) for kind, s, t in STATUSES if isinstance(error, kind))
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}.get(status)
    if isinstance(error, errors.RequestRunning | errors.TooManyRequests):
        headers = {"Retry-After": "1"}
    listed = [field_error(error)] if isinstance(error, InvalidValue) else []
    if isinstance(error, errors.PlanChanged):
        listed = [_change_error(each) for each in error.changes]
    if status >= 500:
        log.error("request_failed", error=str(error), code=code_of(type(error)))
    detail, code = _with_endpoints(detail_of(error, status)), code_of(type(error))
    more = {"wait_seconds": error.wait_seconds} if isinstance(error, errors.TooLate) else None
    return problem(request, status, title, detail, code=code, errors=listed, headers=headers, more=more)


def detail_of(error: BulksendError, status: int) -> str:
    """What a caller is told of an error of ours, without numbers."""
    if isinstance(error, errors.Unavailable | errors.Unfit) and not isinstance(error, errors.DiskFull):
        # It need not know the address of a server of ours; the log has it.
        return _AWAY if status == 503 else _UNFIT
    return without_numbers(str(error))


def field_error(error: InvalidValue, row: int | None = None) -> dict[str, Any]:
    """One entry of ``errors``. The value is left out where the error has none; it is safe to show."""
    field, value, why = map(without_numbers, (error.field, error.value, error.why))
    return {"field": field, "row": row, "value": value or None, "why": _with_endpoints(why)}


def _change_error(change: tuple[str, object, object]) -> dict[str, Any]:
    """A fact of a plan that changed, as an entry of ``errors``."""
    field, before, after = change
    return {
        "field": without_numbers(field),
        "row": None,
        "value": None if after is None else without_numbers(str(after)),
        "why": f"was {'none' if before is None else without_numbers(str(before))} when the plan was made",
    }


def _with_endpoints(text: str) -> str:
    """The text, with the endpoint beside each command that has one."""

    def both(found: re.Match[str]) -> str:
        endpoint = ENDPOINTS.get(found["command"])
        return found[0] if endpoint is None else f"{found[0]} or {endpoint}"

    return _COMMAND.sub(both, text)


def without_numbers(text: str) -> str:
    """The text with all masked that may be a phone number: one can stand where an id or a field is expected."""
    return _NUMBER_OR_ID.sub(lambda found: found[0] if found["kept"] else mask_phone(found[0]), text)


def _of_the_database(request: Request, error: DBAPIError) -> JSONResponse:
    return of_error(request, request.app.state.services.database.translated(error))


def _of_a_text(request: Request, _: UnicodeEncodeError) -> JSONResponse:
    return of_error(request, InvalidInput("a text has half of a character (a lone surrogate); correct it"))


def _of_the_request(request: Request, error: RequestValidationError) -> JSONResponse:
    # Without the input, which may be private. What a field may be in several ways is wrong in each of them.
    whys: dict[str, list[str]] = {}
    for each in error.errors():
        whys.setdefault(_field(each["loc"]), []).append(str(each["msg"]))
    found = [{"field": field, "row": None, "why": "; or: ".join(why)} for field, why in whys.items()]
    detail = f"{found[0]['field']}: {found[0]['why']}" if found else "the request is malformed"
    return problem(request, 422, "Invalid input", detail, code="invalid_input", errors=found)


def _of_the_framework(request: Request, error: HTTPException) -> JSONResponse:
    if error.status_code == HTTPStatus.BAD_REQUEST:
        # The framework's only one.
        why = "cannot be read as JSON: it is not UTF-8, or a number has too many digits"
        return of_error(request, InvalidValue("body", "", why))
    title = HTTPStatus(error.status_code).phrase
    code = getattr(error, "code", title.lower().replace(" ", "_"))
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed_methods(request.app.routes, request.url.path) or headers.get("Allow", "")
    detail = _ELSEWHERE.get(str(error.detail), str(error.detail))
    return problem(request, error.status_code, title, detail, code=code, headers=headers)


_ANSWERS: Mapping[type[Exception], Callable[[Request, Any], JSONResponse]] = {
    BulksendError: of_error,
    DBAPIError: _of_the_database,
    UnicodeEncodeError: _of_a_text,
    RequestValidationError: _of_the_request,
    HTTPException: _of_the_framework,
}


def answer_to(request: Request, error: Exception) -> JSONResponse:
    """The problem of an error that endpoints may raise. Raises the error itself when it is none of these."""
    for kind, answer in _ANSWERS.items():
        if isinstance(error, kind):
            return answer(request, error)
    raise error


def install(app: FastAPI) -> None:
    """Have the application answer every error with a problem."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        return answer_to(request, error)

    for kind in _ANSWERS:
        app.add_exception_handler(kind, answer)


def _allowed_methods(routes: Sequence[BaseRoute], path: str) -> str:
    """The value of ``Allow``: Starlette names the methods of one route only. Empty where no route has the path."""
    found = [
        (route.path.count("{"), route.methods)
        for route in iter_route_contexts(routes)
        if route.path and route.methods and route.path_regex.match(path)
    ]
    # `/v1/messages/resolve` is a path of its own, and no message's.
    nearest = min((parameters for parameters, _ in found), default=0)
    return ", ".join(sorted({name for parameters, names in found if parameters == nearest for name in names}))


def _field(place: Sequence[object]) -> str:
    """A field of a request by its path in it. The name may be the caller's."""
    names = [str(each) for each in place[1:] if not _A_WAY.fullmatch(str(each))]
    return without_numbers(".".join(names))[:_LONGEST_FIELD] or "body"


class Crashes:
    """ASGI middleware: an error that nothing expects is a problem too.

    It does not reach the server, which would log its text: that may hold private data.
    """

    def __init__(self, app: ASGIApp, answer: Callable[[Request], Response] | None = None) -> None:
        self._app = app
        self._answer = answer or _crashed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except ClientDisconnect:
            # No caller waits for an answer; the access log says that it left.
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer
            log.error("request_crashed", error=type(error).__name__, at=_place(error))
            if scope["type"] == "http" and not begun:
                await self._answer(Request(scope))(scope, receive, send)


def _crashed(request: Request) -> Response:
    return problem(request, 500, "Internal error", "the error is in the log", code="internal_error")


def _place(error: BaseException) -> str:
    """Where an error was raised: the innermost functions, without values."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return " < ".join(
        f"{Path(frame.filename).stem}.{frame.name}:{frame.lineno}" for frame in reversed(frames)
    )
