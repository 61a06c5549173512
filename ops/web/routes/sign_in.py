"""Sign in by password or by a link, set a first password by its token, sign out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response

from bulksend.errors import AccessDenied, BulksendError, InvalidValue, NotSignedIn, TooManyRequests
from bulksend.oidc import Refusal
from bulksend.operations import sessions, users
from bulksend.operations.access import Principal
from ops.web import cookies
from ops.web.forms import Fields, ViewerForm, read_fields
from ops.web.local import local_path
from ops.web.pages import AnyVisit, Visit, a_visit
from ops.web.problems import problem_of
from ops.web.sign_in import begin_session, user_of

router = APIRouter()


@router.get("/sign-in")
def sign_in_page(visit: AnyVisit, next: str = "/", refusal: str = "") -> Response:
    """The form. A link's token stands behind the # of its address, so that no log and no server before us has it.

    Where a user is signed in, a link asks first: it may be another's, who wants this person to act in that name.
    ``refusal`` says why a sign-in at the issuer failed.
    """
    token = cookies.SESSION.read(visit.request)
    known = refusal if refusal in list(Refusal) and visit.services.issuer is not None else None
    return _form(visit, next, refusal=known, present=None if token is None else user_of(visit, token))


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Sign in by name and password."""
    visit = await a_visit(request)
    _check_passwords(visit)
    fields = await read_fields(request)

    def session() -> str:
        return sessions.sign_in(
            visit.database,
            fields.text("name"),
            fields.raw("password"),
            passwords=visit.console.passwords,
            origin=visit.origin,
        )

    return await _begin(visit, fields, session)


@router.post("/sign-in/link")
async def sign_in_by_link(request: Request) -> Response:
    """Sign in by the token of a link."""
    visit = await a_visit(request)
    fields = await read_fields(request)
    token = fields.text("token").rpartition("#")[2]
    return await _begin(visit, fields, lambda: sessions.use_link(visit.database, token, origin=visit.origin))


@router.post("/sign-in/password")
async def set_password(request: Request) -> Response:
    """Set the first password by a setup token, and sign in with it."""
    visit = await a_visit(request)
    _check_passwords(visit)
    fields = await read_fields(request)
    token, password = fields.text("token").rpartition("#")[2], fields.raw("password")

    def session() -> str:
        if fields.raw("again") != password:
            raise InvalidValue("again", "", "is not the same password")
        passwords = visit.console.passwords
        name = users.set_password(visit.database, token, password, passwords=passwords)
        return sessions.sign_in(visit.database, name, password, passwords=passwords, origin=visit.origin)

    return await _begin(visit, fields, session)


def _check_passwords(visit: Visit) -> None:
    if visit.services.settings.oidc_only:
        raise AccessDenied("this console takes no passwords (BULKSEND_OIDC_ONLY)")


async def _begin(visit: Visit, fields: Fields, begin: Callable[[], str]) -> Response:
    """Begin a session, or show the form again with what is wrong."""
    next = fields.text("next")
    try:
        return await begin_session(visit, next, begin, visit.console.hashing)
    except (NotSignedIn, TooManyRequests, InvalidValue) as error:
        return _form(visit, next, error, fields)


def _form(
    visit: Visit,
    next: str,
    error: BulksendError | None = None,
    fields: Fields | None = None,
    *,
    refusal: str | None = None,
    present: Principal | None = None,
) -> Response:
    problem, issuer = None if error is None else problem_of(error), visit.services.issuer
    shown: dict[str, Any] = {
        "next": local_path(next),
        "present": present,
        "problem": problem,
        "refusal": refusal,
        "issuer": None if issuer is None else issuer.settings.label,
        "has_passwords": not visit.services.settings.oidc_only,
        "name": "" if fields is None else fields.text("name")[:100],
        "which": "" if fields is None else visit.request.url.path.rpartition("/")[2],
    }
    return visit.render("sign_in.html", **shown)


@router.post("/sign-out")
def sign_out(form: ViewerForm) -> Response:
    """End the session."""
    page = form.page
    sessions.sign_out(page.database, page.token, actor=page.user.actor)
    response = page.redirect("/sign-in", "base.signed_out")
    cookies.SESSION.drop(page.request, response)
    return response
