"""Sign in by password or by a link, set a first password by its token, sign out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from bulksend.errors import BulksendError, InvalidValue, NotSignedIn, TooManyRequests
from bulksend.operations import sessions, users
from bulksend.operations.access import Principal
from ops.web import cookies
from ops.web.forms import Fields, ViewerForm, read_fields
from ops.web.local import local_path
from ops.web.pages import AnyVisit, Visit, a_visit
from ops.web.problems import problem_of

router = APIRouter()


@router.get("/sign-in")
def sign_in_page(visit: AnyVisit, next: str = "/") -> Response:
    """The form. A link's token stands behind the # of its address, so that no log and no server before us has it.

    Where a user is signed in, a link asks first: it may be another's, who wants this person to act in that name.
    """
    token = cookies.session_token(visit.request)
    return _form(visit, next, present=None if token is None else _user_of(visit, token))


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Sign in by name and password."""
    visit = await a_visit(request)
    fields = await read_fields(request)

    def session() -> str:
        return sessions.sign_in(
            visit.database,
            fields.text("name"),
            fields.raw("password"),
            passwords=visit.console.passwords,
            origin=visit.origin,
        )

    return await _begun(visit, fields, session)


@router.post("/sign-in/link")
async def sign_in_by_link(request: Request) -> Response:
    """Sign in by the token of a link."""
    visit = await a_visit(request)
    fields = await read_fields(request)
    token = fields.text("token").rpartition("#")[2]
    return await _begun(visit, fields, lambda: sessions.use_link(visit.database, token, origin=visit.origin))


@router.post("/sign-in/password")
async def set_password(request: Request) -> Response:
    """Set the first password by a setup token, and sign in with it."""
    visit = await a_visit(request)
    fields = await read_fields(request)
    token, password = fields.text("token").rpartition("#")[2], fields.raw("password")

    def session() -> str:
        if fields.raw("again") != password:
            raise InvalidValue("again", "", "is not the same password")
        passwords = visit.console.passwords
        name = users.set_password(visit.database, token, password, passwords=passwords)
        return sessions.sign_in(visit.database, name, password, passwords=passwords, origin=visit.origin)

    return await _begun(visit, fields, session)


async def _begun(visit: Visit, fields: Fields, begin: Callable[[], str]) -> Response:
    """Begin a session. Whatever session the browser had before ends: the new one has another token."""
    rate, ip = visit.console.sign_in_rate, visit.origin.ip
    try:
        rate.check(ip)
        async with visit.console.hashing:
            token = await run_in_threadpool(begin)
    except (NotSignedIn, TooManyRequests, InvalidValue) as error:
        return _form(visit, fields.text("next"), error, fields)
    rate.forgive(ip)
    old = cookies.session_token(visit.request)
    if old is not None:
        await run_in_threadpool(_end, visit, old)
    response = visit.redirect(local_path(fields.text("next")))
    cookies.set_session(visit.request, response, token)
    return response


def _end(visit: Visit, token: str) -> None:
    user = _user_of(visit, token)
    if user is not None:
        sessions.sign_out(visit.database, token, actor=user.actor)


def _user_of(visit: Visit, token: str) -> Principal | None:
    """Whose session it is; None where it has ended."""
    with visit.database.read() as tx:
        try:
            return sessions.find(tx, token, visit.origin).principal
        except NotSignedIn:
            return None


def _form(
    visit: Visit,
    next: str,
    error: BulksendError | None = None,
    fields: Fields | None = None,
    *,
    present: Principal | None = None,
) -> Response:
    problem = None if error is None else problem_of(error)
    shown: dict[str, Any] = {
        "next": local_path(next),
        "present": present,
        "problem": problem,
        "name": "" if fields is None else fields.text("name")[:100],
        "which": "" if fields is None else visit.request.url.path.rpartition("/")[2],
    }
    return visit.render("sign_in.html", status=200 if problem is None else problem.status, **shown)


@router.post("/sign-out")
def sign_out(form: ViewerForm) -> Response:
    """End the session."""
    page = form.page
    sessions.sign_out(page.database, page.token, actor=page.user.actor)
    response = page.redirect("/sign-in", "base.signed_out")
    cookies.drop_session(page.request, response)
    return response
