"""Errors as pages, and inside a page as fragments: the same statuses and texts as those of the HTTP API."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException

from bulksend.errors import BulksendError, InvalidInput, InvalidValue, NotSignedIn
from ops.http import problems as of_the_api
from ops.web import cookies
from ops.web.console import Console
from ops.web.pages import LIVE_HEADER, Page, Visit, locale_of, signed_in

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, for a page: ``whys`` by the field of the form that they are about.

    Title and detail are English: the operations say them.
    """

    status: int
    title: str
    detail: str
    whys: Mapping[str, str] = field(default_factory=dict)


def problem_of(error: BulksendError) -> Problem:
    """An error that an operation raised, to be shown in the page whose form it comes from."""
    status, title = next((s, t) for kind, s, t in of_the_api.STATUSES if isinstance(error, kind))
    whys = {error.field: of_the_api.without_numbers(error.why)} if isinstance(error, InvalidValue) else {}
    return Problem(status, title, of_the_api.detail_of(error, status), whys)


def install(app: FastAPI) -> None:
    """Have the console answer every error with a page."""

    async def of_ours(request: Request, error: BulksendError) -> Response:
        if isinstance(error, NotSignedIn):
            return _to_sign_in(request)
        return answer(request, error)

    async def of_the_database(request: Request, error: DBAPIError) -> Response:
        console: Console = request.app.state.console
        return await of_ours(request, console.services.database.translated(error))

    async def of_the_request(request: Request, error: RequestValidationError) -> Response:
        # Without the input, which may be private.
        names = ", ".join(sorted({str(each["loc"][-1])[:40] for each in error.errors()}))
        return await of_ours(request, InvalidInput(f"{of_the_api.without_numbers(names)}: not as expected"))

    async def of_the_framework(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        if wants_page(request):
            await _find_user(request)
        return _page(request, Problem(status.value, status.phrase, ""))

    for kind, handler in (
        (BulksendError, of_ours),
        (DBAPIError, of_the_database),
        (RequestValidationError, of_the_request),
        (HTTPException, of_the_framework),
    ):
        app.add_exception_handler(kind, handler)  # type: ignore[arg-type]


def answer(request: Request, error: BulksendError) -> Response:
    """The page of an error of ours."""
    return _page(request, problem_of(error))


def crashed(request: Request) -> Response:
    """The page of an error that nothing expects; the log has it under the request's id."""
    return _page(request, Problem(500, "Internal error", ""))


def _to_sign_in(request: Request) -> Response:
    if LIVE_HEADER in request.headers:
        return Response(status_code=401)
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    wanted = "" if request.method != "GET" or here == "/" else f"?next={quote(here)}"
    response = RedirectResponse(f"/sign-in{wanted}", 303)
    if cookies.SESSION.read(request):
        cookies.SESSION.drop(request, response)
    return response


async def _find_user(request: Request) -> None:
    """The user of an address that there is not, where no dependency looked for one: its page has the menu too."""
    console: Console = request.app.state.console
    with suppress(BulksendError):
        await signed_in(Visit(request, console, locale_of(request, console)))


def _page(request: Request, problem: Problem) -> Response:
    if not wants_page(request):
        return of_the_api.problem(
            request,
            problem.status,
            problem.title,
            problem.detail or "there is no such address; /docs lists every endpoint of the API",
            code=problem.title.lower().replace(" ", "_"),
        )
    console: Console = request.app.state.console
    visit = Visit(request, console, locale_of(request, console))
    user = getattr(request.state, "principal", None)
    token = cookies.SESSION.read(request)
    if user is not None and token is not None:
        visit = Page(request, console, visit.locale, user, token)
    # An address that there is not may hold anything: the page does not repeat it.
    return visit.render("problem.html", status=problem.status, problem=problem, here="/", path="/nothing")


def wants_page(request: Request) -> bool:
    """Whether a browser asks, and not a program that expects JSON."""
    return "text/html" in request.headers.get("accept", "")
