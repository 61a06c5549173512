"""Every way to sign in ends here: a session begins, and the one that the browser had before ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastapi import Response
from starlette.concurrency import run_in_threadpool

from bulksend.errors import NotSignedIn
from bulksend.operations import sessions
from bulksend.operations.access import Principal
from ops.web import cookies
from ops.web.local import local_path
from ops.web.pages import Visit


async def begin_session(
    visit: Visit, next: str, begin: Callable[[], str], at_once: asyncio.Semaphore
) -> Response:
    """Begin a session and go to ``next``; ``begin`` returns its token. Raises what it raises, and TooManyRequests.

    An attempt counts as a failure of its address until it has succeeded.
    """
    rate, ip = visit.console.sign_in_rate, visit.origin.ip
    rate.check(ip)
    async with at_once:
        token = await run_in_threadpool(begin)
    rate.forgive(ip)
    old = cookies.SESSION.read(visit.request)
    if old is not None:
        await run_in_threadpool(_end, visit, old)
    response = visit.redirect(local_path(next))
    cookies.SESSION.keep(visit.request, response, token)
    return response


def user_of(visit: Visit, token: str) -> Principal | None:
    """Whose session it is; None where it has ended."""
    with visit.database.read() as tx:
        try:
            return sessions.find(tx, token, visit.origin).principal
        except NotSignedIn:
            return None


def _end(visit: Visit, token: str) -> None:
    user = user_of(visit, token)
    if user is not None:
        sessions.sign_out(visit.database, token, actor=user.actor)
