"""A user's own account: the sessions, and the password."""

from __future__ import annotations

from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool

from bulksend.errors import BulksendError, InvalidValue, NotSignedIn, TooManyRequests
from bulksend.operations import sessions, users
from ops.web.forms import Form, ViewerForm
from ops.web.pages import Page, ViewerPage
from ops.web.problems import problem_of

router = APIRouter(prefix="/account")


@router.get("")
def account(page: ViewerPage) -> Response:
    """Who is signed in, where else, and the form of another password."""
    return _show(page)


@router.post("/password")
async def change_password(form: ViewerForm) -> Response:
    """Set another password; the sessions elsewhere end."""
    page = form.page
    rate, ip = page.console.sign_in_rate, page.origin.ip
    try:
        if form.raw("again") != form.raw("new"):
            raise InvalidValue("again", "", "is not the same password")
        rate.check(ip)
        async with page.console.hashing:
            await run_in_threadpool(_change, form)
    except (InvalidValue, NotSignedIn, TooManyRequests) as error:
        return await run_in_threadpool(_show, page, error)
    rate.forgive(ip)
    return page.redirect("/account", "account.password_changed")


def _change(form: Form) -> None:
    page = form.page
    with page.database.translated_errors():
        users.change_password(
            page.database,
            page.user,
            form.raw("old"),
            form.raw("new"),
            session=sessions.hash_of(page.token),
            passwords=page.console.passwords,
        )


@router.post("/sign-out-elsewhere")
def sign_out_elsewhere(form: ViewerForm) -> Response:
    """End the user's other sessions."""
    page = form.page
    count = sessions.sign_out_elsewhere(page.database, page.token, user=page.user.name, actor=page.user.actor)
    return page.redirect("/account", "account.signed_out_elsewhere", count=count)


def _show(page: Page, error: BulksendError | None = None) -> Response:
    problem = None if error is None else problem_of(error)
    with page.database.read() as tx:
        found = sessions.list_own(tx, page.user.name, page.token)
        user = users.show_user(tx, page.user.name)
    return page.render(
        "account.html",
        # 401 would have the browser sent to the sign-in: the session is good, the password typed is not.
        status=200 if problem is None else 422 if problem.status == 401 else problem.status,
        problem=problem,
        is_old_wrong=isinstance(error, NotSignedIn),
        sessions=found,
        own=user,
    )
